"""Search for the best static setting of a scenario: what a learned policy has to beat."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.action import ActionCodec
from tierenv.agents.best_static import BestStatic, write_best_static
from tierenv.daemon import Bounds, DaemonVariant
from tierenv.errors import ConfigError
from tierenv.scenario import Scenario, load_scenario
from tierenv.task import TieredMemoryTask
from tierenv.train import seeds as seed_blocks
from tierenv.train.episodes import Episodes, HeldActions, run_episodes
from tierenv.train.provenance import git_revision
from tierenv.train.statistics import Estimate, mean_estimate
from tierenv.tunables import NUM_TUNABLES, TUNABLES, Tunable, TunableSetting

GRID_POINTS = {"scan_period_ms": 6, "scan_size_bytes": 4, "throttle_bytes_per_s": 6}
"""Points of the grid along each tunable, settings of its own (0, unlimited) included: 144 in all."""

RANDOM_SEED = 20_000
"""Seed of the random sampler."""

MAX_TIME_MULTIPLE = 4.0
"""Candidates are given up at this many times the all-fast time: none that slow can win."""

MACHINES_AT_ONCE = 512
"""Bounds the memory of a batch; a machine takes about a third of a MiB."""

MAX_SEEDS = 1000
"""Tuning episodes for each setting."""

Settings = NDArray[np.float64]
Sampler = Callable[[DaemonVariant, int], Settings]
"""Makes float64[candidates, tunables] for a daemon and a number of trials."""


def grid(daemon: DaemonVariant, _trials: int) -> Settings:
    """All combinations of `GRID_POINTS`, evenly spaced on the log scale of the daemon's ranges."""
    axes = [_axis(row, daemon.ranges.by_name[row.name], GRID_POINTS[row.name]) for row in TUNABLES]
    return np.array(list(itertools.product(*axes)))


def random(daemon: DaemonVariant, trials: int) -> Settings:
    """Uniform in the action space, as an untrained policy would explore."""
    actions = np.random.default_rng(RANDOM_SEED).uniform(-1, 1, (trials, NUM_TUNABLES))
    return ActionCodec(daemon).decode(actions)


SAMPLERS: dict[str, Sampler] = {"grid": grid, "random": random}

GRID_SIZE = int(np.prod(list(GRID_POINTS.values())))


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

    setting: TunableSetting
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
                    "setting": {
                        name: value if np.isfinite(value) else None
                        for name, value in finalist.setting._asdict().items()
                    },
                    "screening_s": finalist.screening_s,
                    "seconds": {"mean": finalist.seconds.value, "ci95": finalist.seconds.interval},
                }
                for finalist in self.finalists
            ],
        }


def search(
    scenario_name: str,
    sampler: str = "grid",
    trials: int = GRID_SIZE,
    num_seeds: int = 4,
    num_finalists: int = 5,
) -> SearchResult:
    """Try settings on common tuning seeds, then judge the best few on fresh ones. Raises `ConfigError`."""
    scenario = load_scenario(scenario_name)
    if not scenario.daemon.tunable_at_run_time:
        raise ConfigError(
            f"scenario {scenario.name}: daemon {scenario.daemon.name} cannot be tuned at run time; use kmmscand-tunable"
        )
    if sampler not in SAMPLERS:
        raise ConfigError(f"--sampler={sampler}: must be one of {', '.join(SAMPLERS)}")
    if sampler == "grid" and trials != GRID_SIZE:
        raise ConfigError(
            f"--trials={trials}: the grid has {GRID_SIZE} points; use --sampler random for another number"
        )
    if trials < 1:
        raise ConfigError(f"--trials={trials}: must be at least 1")
    if not 1 <= num_seeds <= MAX_SEEDS:
        raise ConfigError(f"--seeds={num_seeds}: must be 1 to {MAX_SEEDS}")
    seeds = seed_blocks.block(seed_blocks.TUNING, 3 * num_seeds, "--seeds")
    screening_seeds, fresh_seeds = seeds[:num_seeds], seeds[num_seeds:]

    started = time.perf_counter()
    settings = SAMPLERS[sampler](scenario.daemon, trials)
    screening = _run(scenario, settings, screening_seeds)
    means = _mean_by_setting(screening, len(settings))
    best = np.argsort(means, kind="stable")[:num_finalists]
    fresh = _run(scenario, settings[best], fresh_seeds)
    fresh_seconds = np.concatenate([batch.seconds for batch in fresh]).reshape(len(best), -1)
    finalists = [
        Finalist(TunableSetting(*settings[index].tolist()), float(means[index]), mean_estimate(seconds))
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


def _run(scenario: Scenario, settings: Settings, seeds: Sequence[int]) -> list[Episodes]:
    """Each setting on the same seeds, in batches; episodes of a setting are neighbours."""
    controlled = scenario.replace(control="tunables")
    actions = ActionCodec(scenario.daemon).encode(settings)
    at_once = max(1, MACHINES_AT_ONCE // len(seeds))
    batches = []
    for start in range(0, len(settings), at_once):
        part = actions[start : start + at_once]
        task = TieredMemoryTask([controlled] * (len(part) * len(seeds)), max_time_multiple=MAX_TIME_MULTIPLE)
        actor = HeldActions(np.repeat(part, len(seeds), axis=0))
        batches.append(run_episodes(task, actor, list(seeds) * len(part)))
    return batches


def _mean_by_setting(batches: Sequence[Episodes], num_settings: int) -> NDArray[np.float64]:
    seconds = np.concatenate([batch.seconds for batch in batches])
    return seconds.reshape(num_settings, -1).mean(axis=1)


def _axis(row: Tunable, bounds: Bounds, points: int) -> list[float]:
    inner = np.geomspace(bounds.min, bounds.max, points - row.has_zero - row.has_unlimited)
    return [0.0] * row.has_zero + inner.tolist() + [np.inf] * row.has_unlimited


def save_best_static(result: SearchResult, command: str) -> Path:
    """Store the winner as the scenario's best-static policy. Returns the file."""
    best = BestStatic(
        scenario=result.scenario.name,
        daemon=result.scenario.daemon.name,
        setting=BestStatic.stored(result.winner.setting),
        mean_s=result.winner.seconds.value,
        **vars(result.budget),
        seeds=tuple(result.fresh_seeds),
        command=command,
        git_revision=git_revision(),
    )
    return write_best_static(result.scenario, best)
