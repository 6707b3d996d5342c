"""Search for the best static setting of a scenario: what a learned policy has to beat."""

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
from tierenv.agents.best_static import BestStatic, write_best_static
from tierenv.daemon import Daemon, HintFaultDaemon, TunableRange, load_daemon, tunable_daemons
from tierenv.errors import ConfigError
from tierenv.progress import ReportProgress, unreported
from tierenv.scenario import Scenario, load_scenario
from tierenv.task import simulated_task
from tierenv.train import seeds as seed_blocks
from tierenv.train.episodes import Episodes, holding, run_episodes
from tierenv.train.journal import Journal
from tierenv.train.provenance import git_revision
from tierenv.train.statistics import Estimate, mean_estimate
from tierenv.tunables import TUNABLES, Setting, Tunable, setting_of

RANDOM_SEED = 20_000
"""Seed of the random sampler."""

MAX_TIME_MULTIPLE = 4.0
"""Candidates are given up at this many times the all-fast time: none that slow can win."""

MACHINES_AT_ONCE = 128
"""What a kill loses, at most, and the memory of a batch; a machine takes about a third of a MiB."""

MAX_TRIALS = 100_000
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
    screening_s: float
    """Mean completion time on the seeds that picked it, hence optimistic."""
    seconds: Estimate
    """Mean completion time on fresh seeds."""


@dataclass(frozen=True)
class SearchResult:
    """Finalists, best first, and the cost of finding them."""

    scenario: Scenario
    sampler: str
    finalists: list[Finalist]
    fresh_seeds: list[int]
    budget: Budget

    @property
    def winner(self) -> Finalist:
        """The best setting."""
        return self.finalists[0]

    def to_json(self) -> dict[str, Any]:
        """What `tune --json` writes; an unlimited throttle is null."""
        return {
            "schema": 1,
            "scenario": self.scenario.name,
            "daemon": self.scenario.daemon.name,
            "sampler": self.sampler,
            "git_revision": git_revision(),
            "budget": vars(self.budget),
            "finalists": [
                {
                    "policy": finalist.setting.policy_name,
                    "setting": finalist.setting.to_json(),
                    "screening_s": finalist.screening_s,
                    "seconds": {"mean": finalist.seconds.value, "ci95": finalist.seconds.interval},
                }
                for finalist in self.finalists
            ],
        }


def search(
    scenario_name: str,
    sampler: str = "grid",
    trials: int | None = None,
    num_seeds: int = 4,
    num_finalists: int = 5,
    *,
    daemon: str | None = None,
    journal: Journal | None = None,
    report_progress: ReportProgress = unreported,
) -> SearchResult:
    """Try settings on common tuning seeds, then judge the best few on fresh ones. Raises `ConfigError`.

    Args:
        scenario_name: name or path.
        sampler: a key of `SAMPLERS`.
        trials: settings to try; None for as many as the grid has.
        num_seeds: tuning episodes for each setting.
        num_finalists: settings that are judged on fresh seeds.
        daemon: name or path of one that takes the place of the scenario's own.
        journal: keeps what is done and knows what was done before.
        report_progress: told how many settings were run.
    """
    journal = journal or Journal()
    scenario = load_scenario(scenario_name)
    if daemon is not None:
        scenario = scenario.under(load_daemon(daemon))
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
    screening_seeds, fresh_seeds = seeds[:num_seeds], seeds[num_seeds:]

    started = time.perf_counter()
    settings = SAMPLERS[sampler](scenario.daemon, trials)
    num_runs = len(settings) + min(num_finalists, len(settings))
    screening = _run(scenario, settings, screening_seeds, journal, partial(report_progress, total=num_runs))
    means = _mean_by_setting(screening, len(settings))
    best = np.argsort(means, kind="stable")[:num_finalists]
    report_progress(len(settings), num_runs, "the best on fresh seeds")
    fresh = _run(scenario, settings[best], fresh_seeds, journal)
    fresh_seconds = np.concatenate([batch.seconds for batch in fresh]).reshape(len(best), -1)
    finalists = [
        Finalist(setting_of(settings[index], scenario.daemon.tunables), float(means[index]), mean_estimate(seconds))
        for index, seconds in zip(best, fresh_seconds, strict=True)
    ]
    batches = [*screening, *fresh]
    budget = Budget(
        trials=len(settings),
        episodes=sum(len(batch.seconds) for batch in batches),
        env_steps=sum(batch.env_steps for batch in batches),
        wall_s=time.perf_counter() - started,
    )
    finalists.sort(key=lambda finalist: finalist.seconds.value)
    return SearchResult(scenario, sampler, finalists, fresh_seeds, budget)


def _run(
    scenario: Scenario,
    settings: Settings,
    seeds: Sequence[int],
    journal: Journal,
    report_progress: Callable[..., None] = lambda *_done, **_doing: None,
) -> list[Episodes]:
    """Each setting on the same seeds, in batches; episodes of a setting are neighbours."""
    controlled = scenario.replace(control="tunables")
    actions = ActionCodec(scenario.daemon).encode(settings)
    at_once = max(1, MACHINES_AT_ONCE // len(seeds))
    batches = []
    for start in range(0, len(settings), at_once):
        report_progress(start, doing="every setting")
        part = actions[start : start + at_once]
        decides = [controlled.identity, part.tolist(), list(seeds)]
        batches.append(journal.once(decides, partial(_play, controlled, part, seeds)))
    return batches


def _play(scenario: Scenario, actions: NDArray[np.float64], seeds: Sequence[int]) -> Episodes:
    task = simulated_task([scenario] * (len(actions) * len(seeds)), max_time_multiple=MAX_TIME_MULTIPLE)
    return run_episodes(task, holding(np.repeat(actions, len(seeds), axis=0)), list(seeds) * len(actions))


def _mean_by_setting(batches: Sequence[Episodes], num_settings: int) -> NDArray[np.float64]:
    seconds = np.concatenate([batch.seconds for batch in batches])
    return seconds.reshape(num_settings, -1).mean(axis=1)


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
