"""Search for the best static setting of a scenario, or of all of a suite: what a learned policy has to beat."""

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.action import ActionCodec
from tierenv.agents.best_static import BestStatic, OneStatic, write_best_static, write_one_static
from tierenv.daemon import Daemon, HintFaultDaemon, TunableRange, tunable_daemons
from tierenv.errors import ConfigError
from tierenv.objective import objective_name, objective_row
from tierenv.progress import ReportProgress, unreported
from tierenv.scenario import Scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.task import ModelledTask, simulated_task
from tierenv.train import seeds as seed_blocks
from tierenv.train.config import Suite, load_suite
from tierenv.train.episodes import Episodes, Stateless, holding, run_episodes
from tierenv.train.evaluate import MAX_TIME_MULTIPLE
from tierenv.train.journal import Journal
from tierenv.train.provenance import git_revision
from tierenv.train.statistics import Estimate, mean_estimate
from tierenv.tunables import TUNABLES, Setting, Tunable, setting_of

RANDOM_SEED = 20_000
"""Seed of the random sampler."""

GIVEN_UP_AT = 4.0
"""Candidates are given up at this many times the time without migration: none that slow can win. What the objective
has come to by then counts."""

COARSER = 8
"""Every setting is tried with so many times fewer regions, several times as fast; the best are judged at the full
resolution."""

MACHINES_AT_ONCE = 128
"""What a kill loses, at most, and the memory of a batch; a machine takes about a third of a MiB."""

MAX_SEEDS = 1000
"""Tuning episodes for each setting."""
MAX_TRIALS = 100_000
"""Settings; more would take days."""

Settings = NDArray[np.float64]
"""float64[candidates, len(TUNABLES)]."""
Sampler = Callable[[Daemon, int], Settings]
"""Makes candidates for a daemon and a number of trials."""


def grid(daemon: Daemon, _trials: int) -> Settings:
    """All combinations of the tunables' grid points, evenly spaced on the log scale of the daemon's ranges.

    A kernel's own defaults, where the daemon is one that kernels have, are a point more.
    """
    axes = [_axis(TUNABLES[name], bounds) for name, bounds in daemon.tunables.items()]
    names = list(daemon.tunables)
    points = [Setting(dict(zip(names, point, strict=True))).row for point in itertools.product(*axes)]
    return np.array(points + [daemon.start_setting.row] * _has_defaults(daemon))


def random(daemon: Daemon, trials: int) -> Settings:
    """Uniform in the action space, as an untrained policy would explore."""
    actions = np.random.default_rng(RANDOM_SEED).uniform(-1, 1, (trials, len(daemon.tunables)))
    return ActionCodec(daemon).decode(actions)


SAMPLERS: dict[str, Sampler] = {"grid": grid, "random": random}


def grid_size(daemon: Daemon) -> int:
    """Points of the daemon's grid."""
    return math.prod(TUNABLES[name].grid_points for name in daemon.tunables) + _has_defaults(daemon)


def _has_defaults(daemon: Daemon) -> bool:
    return isinstance(daemon, HintFaultDaemon)


@dataclass(frozen=True)
class Budget:
    """What a search cost."""

    trials: int
    """Settings tried."""
    episodes: int
    """Runs of the scenario, the second look at the best settings included."""
    env_steps: int
    """Control intervals of all runs."""
    wall_s: float


@dataclass(frozen=True)
class Finalist:
    """One of the best settings, judged on fresh seeds."""

    setting: Setting
    screening: float
    """Mean objective on the seeds that picked it, hence optimistic, and at less resolution."""
    objective: Estimate
    """Mean of what is judged, the scenario's objective, on fresh seeds."""
    seconds: Estimate
    """Mean completion time of these runs."""


@dataclass(frozen=True)
class SearchResult:
    """Finalists, best first, and the cost of finding them."""

    scenario: Scenario
    sampler: str
    finalists: list[Finalist]
    fresh_seeds: list[int]
    budget: Budget
    no_migration: Estimate
    """What no migration comes to on the fresh seeds."""

    @property
    def winner(self) -> Finalist:
        """The best setting."""
        return self.finalists[0]

    def to_json(self) -> dict[str, Any]:
        """What `tune --json` writes; an unlimited throttle is null."""
        row = objective_row(self.scenario.objective)
        return {
            "schema": 1,
            "scenario": self.scenario.name,
            "daemon": self.scenario.daemon.name,
            "sampler": self.sampler,
            "git_revision": git_revision(),
            "objective": {"name": objective_name(self.scenario.objective), "unit": row.unit},
            "budget": vars(self.budget),
            "no_migration": self.no_migration.to_json(),
            "finalists": [
                {
                    "policy": finalist.setting.policy_name,
                    "setting": finalist.setting.to_json(),
                    "screening": finalist.screening,
                    "screening_s": finalist.screening if row.judges_end_of else None,
                    "objective": finalist.objective.to_json(),
                    "seconds": finalist.seconds.to_json(),
                }
                for finalist in self.finalists
            ],
        }


@dataclass(frozen=True)
class CommonFinalist:
    """One of the best settings for all scenarios of a suite, judged on fresh seeds."""

    setting: Setting
    screening: float
    """Mean over the scenarios of the objective over that without migration, on the seeds that picked it."""
    relative_time: float
    """The same on fresh seeds."""


@dataclass(frozen=True)
class SuiteSearchResult:
    """What a search found for each scenario of a suite, and the settings that are best for all of them together."""

    suite: str
    results: list[SearchResult]
    finalists: list[CommonFinalist]

    @property
    def winner(self) -> CommonFinalist:
        """The one setting for all."""
        return self.finalists[0]

    def to_json(self) -> dict[str, Any]:
        """What `tune --json` writes."""
        return {
            "schema": 1,
            "suite": self.suite,
            "git_revision": git_revision(),
            "scenarios": [result.to_json() for result in self.results],
            "for_all": [
                {
                    "policy": finalist.setting.policy_name,
                    "setting": finalist.setting.to_json(),
                    "screening": finalist.screening,
                    "relative_time": finalist.relative_time,
                }
                for finalist in self.finalists
            ],
        }


@dataclass(frozen=True)
class _Plan:
    """Which settings are tried on which seeds."""

    sampler: str
    settings: Settings
    screening_seeds: list[int]
    fresh_seeds: list[int]
    num_finalists: int

    def best_of(self, scores: NDArray[np.float64]) -> NDArray[np.intp]:
        """Indices of the settings with the least scores, best first."""
        return np.argsort(scores, kind="stable")[: self.num_finalists]


def search_target(
    target: str,
    sampler: str = "grid",
    trials: int | None = None,
    num_seeds: int = 4,
    *,
    daemon: str | None = None,
    journal: Journal | None = None,
    report_progress: ReportProgress = unreported,
) -> SearchResult | SuiteSearchResult:
    """`search_scenarios` of a suite or scenario, by name or path. Raises `ConfigError`."""
    plan = sampler, trials, num_seeds
    return search_scenarios(load_suite(target, daemon), *plan, journal=journal, report_progress=report_progress)


def search_scenarios(
    suite: Suite,
    sampler: str = "grid",
    trials: int | None = None,
    num_seeds: int = 4,
    *,
    journal: Journal | None = None,
    report_progress: ReportProgress = unreported,
) -> SearchResult | SuiteSearchResult:
    """`search` of one scenario, `search_suite` of several. Raises `ConfigError`."""
    plan = sampler, trials, num_seeds
    if len(suite.scenarios) > 1:
        return search_suite(suite, *plan, journal=journal, report_progress=report_progress)
    return search(suite.scenarios[0], *plan, journal=journal, report_progress=report_progress)


def check_search(suite: Suite, sampler: str, trials: int | None, num_seeds: int) -> None:
    """Raise `ConfigError` for what `search_scenarios` would refuse."""
    _check_one_daemon(suite)
    for scenario in suite.scenarios:
        _plan(scenario, sampler, trials, num_seeds, num_finalists=1)


def search(
    scenario: Scenario,
    sampler: str = "grid",
    trials: int | None = None,
    num_seeds: int = 4,
    num_finalists: int = 8,
    *,
    journal: Journal | None = None,
    report_progress: ReportProgress = unreported,
) -> SearchResult:
    """Try settings coarsely on common tuning seeds, then judge the best few on fresh ones. Raises `ConfigError`.

    Args:
        scenario: whose daemon can be tuned.
        sampler: a key of `SAMPLERS`.
        trials: settings to try; None for as many as the grid has.
        num_seeds: tuning episodes for each setting.
        num_finalists: settings that are judged on fresh seeds.
        journal: keeps what is done and knows what was done before.
        report_progress: told how many settings were run.
    """
    plan = _plan(scenario, sampler, trials, num_seeds, num_finalists)
    return _search(scenario, plan, journal or Journal(), report_progress)[0]


def search_suite(
    suite: Suite,
    sampler: str = "grid",
    trials: int | None = None,
    num_seeds: int = 4,
    num_finalists: int = 8,
    *,
    journal: Journal | None = None,
    report_progress: ReportProgress = unreported,
) -> SuiteSearchResult:
    """Search each scenario of a suite, and with the same runs the one setting for all. Raises `ConfigError`.

    That is the one with the least mean over the scenarios of the objective over that without migration.

    Args:
        suite: scenarios under one daemon.
        sampler: as in `search`, and so the others.
        trials: settings to try.
        num_seeds: tuning episodes for each setting and scenario.
        num_finalists: settings that are judged on fresh seeds, for each scenario and for all.
        journal: keeps what is done and knows what was done before.
        report_progress: told how many settings were run.
    """
    journal = journal or Journal()
    _check_one_daemon(suite)
    plan = _plan(suite.scenarios[0], sampler, trials, num_seeds, num_finalists)
    results, relative = [], []
    for index, scenario in enumerate(suite.scenarios):
        report = _part_of(report_progress, index, len(suite.scenarios), scenario.name)
        result, means = _search(scenario, plan, journal, report)
        results.append(result)
        relative.append(means / _left_alone(_coarser(scenario), plan.screening_seeds, journal).objective.mean())
    scores = np.mean(relative, axis=0)
    best = plan.best_of(scores)
    fresh = []
    for scenario in suite.scenarios:
        batches = _run(scenario, plan.settings[best], plan.fresh_seeds, journal)
        left_alone = _left_alone(scenario, plan.fresh_seeds, journal).objective.mean()
        fresh.append(_mean_by_setting(batches, len(best)) / left_alone)
    tunables = suite.scenarios[0].daemon.tunables
    finalists = [
        CommonFinalist(setting_of(plan.settings[index], tunables), float(scores[index]), float(relative_time))
        for index, relative_time in zip(best, np.mean(fresh, axis=0), strict=True)
    ]
    finalists.sort(key=lambda finalist: finalist.relative_time)
    return SuiteSearchResult(suite.name, results, finalists)


def _part_of(report_progress: ReportProgress, index: int, parts: int, name: str) -> ReportProgress:
    """What reports on one of several parts of equal size."""

    def report(done: int, total: int, doing: str = "") -> None:
        report_progress(index * total + done, parts * total, f"{name}: {doing}")

    return report


def _check_one_daemon(suite: Suite) -> None:
    if len({scenario.daemon.identity for scenario in suite.scenarios}) > 1:
        names = ", ".join(dict.fromkeys(scenario.daemon.name for scenario in suite.scenarios))
        raise ConfigError(f"suite {suite.name}: one setting for all needs one daemon, got {names}; give --daemon")


def _plan(scenario: Scenario, sampler: str, trials: int | None, num_seeds: int, num_finalists: int) -> _Plan:
    """Which settings of a scenario's daemon are tried. Raises `ConfigError`."""
    if not scenario.daemon.can_be_tuned:
        raise ConfigError(
            f"scenario {scenario.name}: daemon {scenario.daemon.name} cannot be tuned at run time; use "
            f"{tunable_daemons()}"
        )
    points = grid_size(scenario.daemon)
    trials = points if trials is None else trials
    if sampler not in SAMPLERS:
        raise ConfigError(f"--sampler={sampler}: must be one of {', '.join(SAMPLERS)}")
    if sampler == "grid" and trials != points:
        raise ConfigError(f"--trials={trials}: the grid has {points} points; use --sampler random for another number")
    if not 1 <= trials <= MAX_TRIALS:
        raise ConfigError(f"--trials={trials}: must be 1 to {MAX_TRIALS}")
    if not 1 <= num_seeds <= MAX_SEEDS:
        raise ConfigError(f"--seeds={num_seeds}: must be 1 to {MAX_SEEDS}")
    seeds = seed_blocks.block(seed_blocks.TUNING, 3 * num_seeds, "--seeds")
    settings = SAMPLERS[sampler](scenario.daemon, trials)
    return _Plan(sampler, settings, seeds[:num_seeds], seeds[num_seeds:], min(num_finalists, len(settings)))


def _search(
    scenario: Scenario, plan: _Plan, journal: Journal, report_progress: ReportProgress
) -> tuple[SearchResult, NDArray[np.float64]]:
    """The result for one scenario, and the mean objective of every setting on the screening seeds."""
    started = time.perf_counter()
    settings = plan.settings
    num_runs = len(settings) + plan.num_finalists
    progress = partial(report_progress, total=num_runs)
    screening = _run(_coarser(scenario), settings, plan.screening_seeds, journal, progress)
    means = _mean_by_setting(screening, len(settings))
    best = _with_one_that_rests(plan.best_of(means), means, settings)
    report_progress(len(settings), num_runs, "the best on fresh seeds")
    fresh = _run(scenario, settings[best], plan.fresh_seeds, journal)
    objectives, seconds = (
        np.concatenate(runs).reshape(len(best), -1)
        for runs in ([batch.objective for batch in fresh], [batch.seconds for batch in fresh])
    )
    finalists = [
        Finalist(
            setting=setting_of(settings[index], scenario.daemon.tunables),
            screening=float(means[index]),
            objective=mean_estimate(objectives[number]),
            seconds=mean_estimate(seconds[number]),
        )
        for number, index in enumerate(best)
    ]
    batches = [*screening, *fresh]
    budget = Budget(
        trials=len(settings),
        episodes=sum(len(batch.seconds) for batch in batches),
        env_steps=sum(batch.env_steps for batch in batches),
        wall_s=time.perf_counter() - started,
    )
    finalists.sort(key=lambda finalist: finalist.objective.value)
    left_alone = mean_estimate(_left_alone(scenario, plan.fresh_seeds, journal).objective)
    return SearchResult(scenario, plan.sampler, finalists, plan.fresh_seeds, budget, left_alone), means


def _with_one_that_rests(best: NDArray[np.intp], means: NDArray[np.float64], settings: Settings) -> NDArray[np.intp]:
    """The finalists, the last of them replaced by the best setting that promotes nothing, unless there is one.

    At the coarser resolution of the screening what promotes may look better than it is: where nothing can be gained,
    nothing that promotes should win for want of what does not.
    """
    resting = np.flatnonzero(settings[:, list(TUNABLES).index("throttle")] == 0.0)
    if not len(resting) or np.isin(best, resting).any():
        return best
    return np.append(best[:-1], resting[means[resting].argmin()])


def _coarser(scenario: Scenario) -> Scenario:
    return scenario.replace(regions=max(1, scenario.regions // COARSER))


def _run(
    scenario: Scenario,
    settings: Settings,
    seeds: Sequence[int],
    journal: Journal,
    report_progress: Callable[..., None] = lambda *_done, **_doing: None,
) -> list[Episodes]:
    """Each setting on the same seeds, in batches; episodes of a setting are neighbours."""
    controlled = scenario.replace(control="tunables")
    limit_s = GIVEN_UP_AT * float(_left_alone(scenario, seeds, journal).seconds.max())
    actions = ActionCodec(scenario.daemon).encode(settings)
    at_once = max(1, MACHINES_AT_ONCE // len(seeds))
    batches = []
    for start in range(0, len(settings), at_once):
        report_progress(start, doing="every setting")
        part = actions[start : start + at_once]
        decides = [controlled.identity, part.tolist(), list(seeds)]
        batches.append(journal.once(decides, partial(_play, controlled, part, seeds, limit_s)))
    return batches


def _left_alone(scenario: Scenario, seeds: Sequence[int], journal: Journal) -> Episodes:
    """The runs of these seeds without migration."""
    scenario = scenario.replace(control="off")
    task = partial(simulated_task, [scenario] * len(seeds), max_time_multiple=MAX_TIME_MULTIPLE)
    nothing = Stateless(lambda observation: np.zeros((len(observation), 0), np.float32))
    return journal.once([scenario.identity, list(seeds)], lambda: run_episodes(task(), nothing, seeds))


def _play(scenario: Scenario, actions: NDArray[np.float64], seeds: Sequence[int], limit_s: float) -> Episodes:
    system = LumpedSystem([scenario] * (len(actions) * len(seeds)))
    task = ModelledTask(system, max_time_multiple=limit_s / float(system.reference_s.min()))
    return run_episodes(task, holding(np.repeat(actions, len(seeds), axis=0)), list(seeds) * len(actions))


def _mean_by_setting(batches: Sequence[Episodes], num_settings: int) -> NDArray[np.float64]:
    objectives = np.concatenate([batch.objective for batch in batches])
    return objectives.reshape(num_settings, -1).mean(axis=1)


def _axis(row: Tunable, bounds: TunableRange) -> list[float]:
    inner = np.geomspace(bounds.min, bounds.max, row.grid_points - row.has_zero - row.has_unlimited)
    return [0.0] * row.has_zero + inner.tolist() + [np.inf] * row.has_unlimited


def save_best_static(result: SearchResult, command: str, path: Path) -> None:
    """Store the winner as the scenario's best-static policy in a file of such settings."""
    best = BestStatic(
        scenario=result.scenario.name,
        daemon=result.scenario.daemon.name,
        setting=result.winner.setting.to_json(),
        mean_s=result.winner.seconds.value,
        **vars(result.budget),
        seeds=tuple(result.fresh_seeds),
        command=command,
        git_revision=git_revision(),
    )
    write_best_static(result.scenario, best, path)


def save_search(result: SearchResult | SuiteSearchResult, command: str, path: Path) -> None:
    """Store the winner of every scenario, and of a suite the one setting for all as its one-static policy."""
    if isinstance(result, SearchResult):
        save_best_static(result, command, path)
        return
    for each in result.results:
        save_best_static(each, command, path)
    scenarios = [each.scenario for each in result.results]
    one = OneStatic(
        scenarios=tuple(scenario.name for scenario in scenarios),
        daemon=scenarios[0].daemon.name,
        setting=result.winner.setting.to_json(),
        relative_time=result.winner.relative_time,
        seeds=tuple(result.results[0].fresh_seeds),
        command=command,
        git_revision=git_revision(),
    )
    write_one_static(result.suite, one, path)
