"""Searching a scenario, or all of a suite: coarsely on common seeds, then the best few again on fresh ones."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tierenv.bounds import clairvoyant_bound_s
from tierenv.daemon import tunable_daemons
from tierenv.errors import ConfigError
from tierenv.objective import objective_row
from tierenv.progress import ReportProgress, unreported
from tierenv.scenario import Scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.train import seeds as seed_blocks
from tierenv.train.config import Suite, load_suite
from tierenv.train.episodes import Episodes, episode_seeds
from tierenv.train.journal import Journal
from tierenv.train.limits import of_each
from tierenv.train.openings import check_opened, open_for_search
from tierenv.train.search.results import (
    Budget,
    CommonFinalist,
    Curve,
    Finalist,
    Incumbent,
    References,
    SearchedSet,
    SearchResult,
    SuiteSearchResult,
)
from tierenv.train.search.samplers import Sampler, find_sampler, num_trials
from tierenv.train.search.screening import (
    Tried,
    TrySettings,
    left_alone,
    run_settings,
    screen,
    settings_at_once,
    try_on,
    try_on_all,
)
from tierenv.train.search.storage import NOWHERE, SearchFile, StudyIdentity, maker, open_search_file
from tierenv.train.statistics import mean_estimate

MAX_SEEDS = 1000
"""Tuning episodes for each setting."""


@dataclass(frozen=True)
class Plan:
    """How many settings are tried on which seeds, and how one comes by them."""

    sampler_name: str
    sampler: Sampler
    sampler_seed: int
    trials: int
    screening_seeds: list[int]
    fresh_seeds: list[int]
    num_finalists: int


@dataclass(frozen=True)
class _Context:
    """Where work is kept and reported."""

    plan: Plan
    journal: Journal
    file: SearchFile | None

    def screen(
        self, scenarios: Sequence[Scenario], name: str, try_settings: TrySettings, report: Callable[[int], None]
    ) -> Tried:
        """Try settings of the scenarios' daemon as the plan says."""
        plan, daemon = self.plan, scenarios[0].daemon
        proposals = plan.sampler.start(daemon, plan.trials, plan.sampler_seed)
        store = NOWHERE
        if self.file is not None:
            identity = StudyIdentity(
                scenarios=tuple(scenario.identity for scenario in scenarios),
                sampler=plan.sampler_name,
                sampler_seed=plan.sampler_seed,
                seeds=tuple(plan.screening_seeds),
                made_by=maker(),
            )
            study = f"{name} {daemon.name} {plan.sampler_name} {plan.sampler_seed}"
            store = self.file.study(study, identity, daemon)
        at_once = settings_at_once(len(plan.screening_seeds))
        return screen(try_settings, proposals, plan.trials, at_once, store=store, report_progress=report)


def search_target(
    target: str,
    sampler: str = "grid",
    trials: int | None = None,
    num_seeds: int = 4,
    *,
    daemon: str | None = None,
    sampler_seed: int = 0,
    storage: Path | None = None,
    open_final: bool = False,
    journal: Journal | None = None,
    report_progress: ReportProgress = unreported,
) -> SearchResult | SuiteSearchResult:
    """`search_scenarios` of a suite, a scenario or a set of a family, by name or path. Raises `ConfigError`.

    On a family's final set, which `open_final` opens, that is logged.
    """
    suite = load_suite(target, daemon)
    check_search(suite, sampler, trials, num_seeds, sampler_seed)
    opened = check_opened(suite, open_final)
    searched = SearchedSet(suite.family, suite.split, open_for_search(opened, num_seeds) if opened else ())
    plan = sampler, trials, num_seeds, sampler_seed
    result = search_scenarios(suite, *plan, storage=storage, journal=journal, report_progress=report_progress)
    return replace(result, searched=searched)


def search_scenarios(
    suite: Suite,
    sampler: str = "grid",
    trials: int | None = None,
    num_seeds: int = 4,
    sampler_seed: int = 0,
    *,
    storage: Path | None = None,
    journal: Journal | None = None,
    report_progress: ReportProgress = unreported,
) -> SearchResult | SuiteSearchResult:
    """`search` of one scenario, `search_suite` of several. Raises `ConfigError`."""
    begin: Callable[..., SearchResult | SuiteSearchResult] = partial(search, suite.scenarios[0])
    if len(suite.scenarios) > 1:
        begin = partial(search_suite, suite)
    plan = {"sampler": sampler, "trials": trials, "num_seeds": num_seeds, "sampler_seed": sampler_seed}
    return begin(**plan, storage=storage, journal=journal, report_progress=report_progress)


def search(
    scenario: Scenario,
    sampler: str = "grid",
    trials: int | None = None,
    num_seeds: int = 4,
    num_finalists: int = 8,
    *,
    sampler_seed: int = 0,
    storage: Path | None = None,
    journal: Journal | None = None,
    report_progress: ReportProgress = unreported,
) -> SearchResult:
    """Try settings coarsely on common tuning seeds, then judge the best few on fresh ones. Raises `ConfigError`.

    Args:
        scenario: whose daemon can be tuned.
        sampler: a key of `SAMPLERS`.
        trials: settings to try; None for as many as the grid has, or `DEFAULT_TRIALS` where they are proposed.
        num_seeds: tuning episodes for each setting.
        num_finalists: settings that are judged on fresh seeds.
        sampler_seed: of what the sampler draws.
        storage: journal of Optuna to write the trials to and to take those from that stand there.
        journal: keeps what is done and knows what was done before.
        report_progress: told how many settings were run.
    """
    plan = _plan(scenario, sampler, trials, num_seeds, num_finalists, sampler_seed)
    with open_search_file(storage) as file:
        return _search(scenario, _Context(plan, journal or Journal(), file), report_progress)[0]


def search_suite(
    suite: Suite,
    sampler: str = "grid",
    trials: int | None = None,
    num_seeds: int = 4,
    num_finalists: int = 8,
    *,
    sampler_seed: int = 0,
    storage: Path | None = None,
    journal: Journal | None = None,
    report_progress: ReportProgress = unreported,
) -> SuiteSearchResult:
    """Search each scenario of a suite, and the one setting for all. Raises `ConfigError`.

    That is the one with the least mean over the scenarios of the objective over that without migration. Where the
    settings are fixed beforehand it takes no runs of its own; a sampler that proposes searches it as one more scenario.

    Args:
        suite: scenarios under one daemon.
        sampler: as in `search`, and so the others.
        trials: settings to try, of each search.
        num_seeds: tuning episodes for each setting and scenario.
        num_finalists: settings that are judged on fresh seeds, for each scenario and for all.
        sampler_seed: of what the sampler draws.
        storage: as in `search`; each search is a study.
        journal: keeps what is done and knows what was done before.
        report_progress: told how many settings were run.
    """
    _check_one_daemon(suite)
    scenarios = suite.scenarios
    plan = _plan(scenarios[0], sampler, trials, num_seeds, num_finalists, sampler_seed)
    num_parts = len(scenarios) + plan.sampler.proposes
    started = time.perf_counter()
    results, tried = [], []
    with open_search_file(storage) as file:
        context = _Context(plan, journal or Journal(), file)
        for index, scenario in enumerate(scenarios):
            report = _part_of(report_progress, index, num_parts, scenario.name)
            result, on_this = _search(scenario, context, report)
            results.append(result)
            tried.append(on_this)
        if not plan.sampler.proposes:
            finalists, budget = _for_all(scenarios, Tried.averaged(tried), context, started)
            return SuiteSearchResult(suite.name, results, finalists, budget)
        started = time.perf_counter()
        report = _part_of(report_progress, num_parts - 1, num_parts, "all")
        try_settings = partial(try_on_all, scenarios, plan.screening_seeds, context.journal)
        on_all = context.screen(scenarios, f"all of {suite.name}", try_settings, _of_screening(report, plan))
        finalists, budget = _for_all(scenarios, on_all, context, started)
    return SuiteSearchResult(suite.name, results, finalists, budget)


def _for_all(
    scenarios: Sequence[Scenario], tried: Tried, context: _Context, started: float
) -> tuple[list[CommonFinalist], Budget]:
    """The best settings for all scenarios, of those tried, and what finding them cost."""
    plan, journal = context.plan, context.journal
    best = tried.best(plan.num_finalists)
    fresh, runs = [], []
    for scenario in scenarios:
        batches = run_settings(scenario, tried.settings[best], plan.fresh_seeds, journal)
        rest = left_alone(scenario, plan.fresh_seeds, journal).objective.mean()
        fresh.append(_by_setting(batches, "objective", len(best)).mean(axis=1) / rest)
        runs += batches
    finalists = [
        CommonFinalist(tried.setting(index), float(tried.objective[index]), float(relative_time))
        for index, relative_time in zip(best, np.mean(fresh, axis=0), strict=True)
    ]
    finalists.sort(key=lambda finalist: finalist.relative_time)
    return finalists, _budget(tried, len(scenarios) * len(plan.screening_seeds), runs, started)


def _part_of(report_progress: ReportProgress, index: int, parts: int, name: str) -> ReportProgress:
    """What reports on one of several parts of equal size."""

    def report(done: int, total: int, doing: str = "") -> None:
        report_progress(index * total + done, parts * total, f"{name}: {doing}")

    return report


def check_search(suite: Suite, sampler: str, trials: int | None, num_seeds: int, sampler_seed: int) -> None:
    """Raise `ConfigError` for what `search_scenarios` would refuse."""
    _check_one_daemon(suite)
    for scenario in suite.scenarios:
        _plan(scenario, sampler, trials, num_seeds, num_finalists=1, sampler_seed=sampler_seed)


def _check_one_daemon(suite: Suite) -> None:
    if len({scenario.daemon.identity for scenario in suite.scenarios}) > 1:
        names = ", ".join(dict.fromkeys(scenario.daemon.name for scenario in suite.scenarios))
        raise ConfigError(f"suite {suite.name}: one setting for all needs one daemon, got {names}; give --daemon")


def _of_screening(report_progress: ReportProgress, plan: Plan) -> Callable[[int], None]:
    return lambda done: report_progress(done, plan.trials + plan.num_finalists, "every setting")


def _plan(
    scenario: Scenario, sampler: str, trials: int | None, num_seeds: int, num_finalists: int, sampler_seed: int
) -> Plan:
    """What is tried of a scenario's daemon. Raises `ConfigError`."""
    if not scenario.daemon.can_be_tuned:
        raise ConfigError(
            f"scenario {scenario.name}: daemon {scenario.daemon.name} cannot be tuned at run time; use "
            f"{tunable_daemons()}"
        )
    row = find_sampler(sampler, sampler_seed)
    trials = num_trials(sampler, scenario.daemon, trials)
    if not 1 <= num_seeds <= MAX_SEEDS:
        raise ConfigError(f"--seeds={num_seeds}: must be 1 to {MAX_SEEDS}")
    seeds = seed_blocks.block(seed_blocks.TUNING, 3 * num_seeds, "--seeds")
    finalists = min(num_finalists, trials)
    return Plan(sampler, row, sampler_seed, trials, seeds[:num_seeds], seeds[num_seeds:], finalists)


def _search(scenario: Scenario, context: _Context, report_progress: ReportProgress) -> tuple[SearchResult, Tried]:
    """The result for one scenario, and what every setting came to on the screening seeds."""
    started = time.perf_counter()
    plan, journal = context.plan, context.journal
    try_settings = partial(try_on, scenario, plan.screening_seeds, journal)
    tried = context.screen([scenario], scenario.name, try_settings, _of_screening(report_progress, plan))
    best = tried.best(plan.num_finalists)
    report_progress(plan.trials, plan.trials + plan.num_finalists, "the best on fresh seeds")
    fresh = run_settings(scenario, tried.settings[best], plan.fresh_seeds, journal)
    objectives, seconds = (_by_setting(fresh, name, len(best)) for name in ("objective", "seconds"))
    finalists = [
        Finalist(
            setting=tried.setting(index),
            screening=float(tried.objective[index]),
            objective=mean_estimate(objectives[number]),
            seconds=mean_estimate(seconds[number]),
        )
        for number, index in enumerate(best)
    ]
    budget = _budget(tried, len(plan.screening_seeds), fresh, started)
    judged = {int(index): finalist for index, finalist in zip(best, finalists, strict=True)}
    result = SearchResult(
        scenario=scenario,
        sampler=plan.sampler_name,
        sampler_seed=plan.sampler_seed,
        finalists=sorted(finalists, key=lambda finalist: finalist.objective.value),
        fresh_seeds=plan.fresh_seeds,
        budget=budget,
        curve=_curve(scenario, tried, judged, context),
        references=_references(scenario, plan.fresh_seeds, journal),
    )
    return result, tried


def _curve(scenario: Scenario, tried: Tried, judged: dict[int, Finalist], context: _Context) -> Curve:
    """The incumbents in the order of the trials; those that are no finalists are run on the fresh seeds."""
    indices = tried.incumbents()
    others = [index for index in indices if index not in judged]
    runs = run_settings(scenario, tried.settings[others], context.plan.fresh_seeds, context.journal)
    means = map(mean_estimate, _by_setting(runs, "objective", len(others)) if others else [])
    objectives = {index: finalist.objective for index, finalist in judged.items()}
    objectives |= dict(zip(others, means, strict=True))
    env_steps, machine_s = tried.env_steps.cumsum(), tried.machine_s.cumsum()
    incumbents = [
        Incumbent(
            trials=index + 1,
            env_steps=int(env_steps[index]),
            machine_s=float(machine_s[index]),
            setting=tried.setting(index),
            screening=float(tried.objective[index]),
            objective=objectives[index],
        )
        for index in indices
    ]
    return Curve(incumbents, len(tried), int(env_steps[-1]), float(machine_s[-1]))


def _references(scenario: Scenario, seeds: list[int], journal: Journal) -> References:
    rest = left_alone(scenario, seeds, journal)
    clairvoyant = None
    if objective_row(scenario.objective).judges_end_of is not None:
        system = LumpedSystem([scenario] * len(seeds))
        system.reset(episode_seeds(seeds), ["training"] * len(seeds))
        clairvoyant = float(of_each(system, clairvoyant_bound_s).mean())
    return References(mean_estimate(rest.objective), float(rest.objective_all_fast.mean()), clairvoyant)


def _budget(tried: Tried, runs_of_each: int, fresh: Sequence[Episodes], started: float) -> Budget:
    return Budget(
        trials=len(tried),
        episodes=len(tried) * runs_of_each + sum(len(batch.seconds) for batch in fresh),
        env_steps=int(tried.env_steps.sum()) + sum(batch.env_steps for batch in fresh),
        wall_s=time.perf_counter() - started,
        machine_s=float(tried.machine_s.sum() + sum(batch.seconds.sum() for batch in fresh)),
    )


def _by_setting(batches: Sequence[Episodes], name: str, num_settings: int) -> NDArray[np.float64]:
    """float64[settings, seeds]: a figure of each run."""
    figures: NDArray[np.float64] = np.concatenate([getattr(batch, name) for batch in batches])
    return figures.reshape(num_settings, -1)
