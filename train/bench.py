"""How fast model and training are on this machine."""

import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from gymnasium.utils.performance import benchmark_vector_step

from tierenv.agents.policies import load_policy
from tierenv.agents.policy import scenario_for
from tierenv.errors import ConfigError
from tierenv.extras import require
from tierenv.scenario import Scenario, load_scenario
from tierenv.shrink import (
    shrink,
)
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.pages.system import (
    PagesSystem,
)
from tierenv.train.config import load_training_config
from tierenv.train.provenance import git_revision, machine, versions
from tierenv.vector_env import TieredMemoryVectorEnv

log = logging.getLogger(__name__)

NUM_ENVS = 64
SIZES_GIB = (8, 16, 32, 64)
TRAINING_PRESET = "ppo-moving-hot-set"
TRAINING_ROLLOUTS = 4
SEED = 0

REFERENCE_PAGES = 4096
"""Pages of the scenario on which the model is compared with its page-by-page twin; the twin's cost grows with them."""

WHOLE_RUN_S = 1e6
"""More model time than any run takes [s]."""


def bench(seconds: float, report_progress: Callable[[str], None] = lambda _line: None) -> dict[str, Any]:
    """Measure; `seconds` for each measurement. Returns what `bench --json` writes. Raises `ConfigError`."""
    if not 0 < seconds <= 600:
        raise ConfigError(f"--seconds={seconds:g}: must be above 0 and at most 600")
    measurements: list[dict[str, Any]] = []

    def add(name: str, value: float, unit: str) -> None:
        measurements.append({"name": name, "value": value, "unit": unit})

    report_progress("whole runs")
    abench = load_scenario("abench-64g")
    kernel = load_policy("kmmscand-v1", abench)
    small = shrink(scenario_for(kernel, load_scenario("abench-8g")), REFERENCE_PAGES)
    reference_s = whole_run_s(lambda: PagesSystem(small), seconds)
    ratio = reference_s / whole_run_s(lambda: LumpedSystem([small]), seconds)
    whole_s = whole_run_s(lambda: LumpedSystem([scenario_for(kernel, abench)]), seconds)
    add("abench-64g under kmmscand-v1, whole run", 1e3 * whole_s, "ms")
    add(f"page-by-page reference over model, {REFERENCE_PAGES:,} pages, whole run", ratio, "x")
    for name in ("abench-64g", "skewed", "moving-hot-set"):
        report_progress(f"{name}: environment steps")
        rate = env_steps_per_s(load_scenario(name), seconds)
        add(f"{name}, {NUM_ENVS} environments, random actions", rate, "env steps/s")
    for size_gib in SIZES_GIB:
        report_progress(f"{size_gib} GiB: environment steps")
        rate = env_steps_per_s(abench.replace(size=f"{size_gib}GiB"), seconds)
        add(f"abench over {size_gib} GiB, {abench.regions} regions, one step", 1e6 / rate, "us")
    try:
        require("train", "training")
    except ConfigError as error:
        log.warning("not measured: %s", error)
    else:
        report_progress("training")
        for name, value, unit in training_speed():
            add(name, value, unit)
    return {
        "schema": 1,
        "machine": machine(),
        "threads": {"simulator": numba.get_num_threads()},
        "versions": versions(),
        "git_revision": git_revision(),
        "measurements": measurements,
    }


def whole_run_s(make_system: Callable[[], LumpedSystem | PagesSystem], seconds: float) -> float:
    """Median wall time of one simulated run from reset to completion, no control in between [s]."""
    system = make_system()
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - started < seconds:
        before = time.perf_counter()
        system.reset(np.array([len(times)], dtype=np.uint64), ["training"])
        system.advance(WHOLE_RUN_S)
        times.append(time.perf_counter() - before)
    return statistics.median(times[1:])  # the first may compile


def env_steps_per_s(scenario: Scenario, seconds: float) -> float:
    """Environment steps per second of wall time, all environments together, with random actions."""
    env = TieredMemoryVectorEnv(num_envs=NUM_ENVS, scenario=scenario)
    # gymnasium compares whole and fractional seconds alike, whatever its annotation says
    return benchmark_vector_step(env, target_duration=seconds, seed=SEED)  # type: ignore[arg-type]


def training_speed() -> list[tuple[str, float, str]]:
    """Steps per second of a short training with the full preset, and the share the model takes of it."""
    from tierenv.train.learn import learn
    from tierenv.train.run_dir import RunDirectory

    preset = load_training_config(TRAINING_PRESET)
    rollout = preset.num_envs * int(preset.hyperparameters["n_steps"])  # type: ignore[arg-type]
    config = preset.with_overrides(timesteps=TRAINING_ROLLOUTS * rollout)
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory.create(Path(folder) / "run", config, "tierenv bench")
        spent = learn(config, run).time_spent
    busy_s = spent.model_s + spent.learner_s
    return [
        (f"training {preset.name}", config.timesteps / busy_s, "env steps/s"),
        ("share of the model in it", spent.model_s / busy_s, "1"),
        ("share of the learner in it", spent.learner_s / busy_s, "1"),
    ]
