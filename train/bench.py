"""How fast model and training are on this machine."""

import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.utils.performance import benchmark_vector_step

from tierenv.agents.policies import load_policy
from tierenv.agents.policy import scenario_for
from tierenv.errors import ConfigError, close_match
from tierenv.extras import require
from tierenv.progress import ReportProgress, unreported
from tierenv.scenario import load_scenario
from tierenv.shrink import shrink
from tierenv.sim import threads
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.pages.system import PagesSystem
from tierenv.train.config import load_training_config
from tierenv.train.provenance import git_revision, machine, versions
from tierenv.vector_env import TieredMemoryVectorEnv

log = logging.getLogger(__name__)

NUM_ENVS = 64
SCENARIOS = ("abench-64g", "skewed", "moving-hot-set")
PAIRS = 5
"""Rates of one thread and of all are measured in turn, this often each."""
SIZES_GIB = (8, 16, 32, 64)
TRAINING_PRESET = "ppo-moving-hot-set"
TRAINING_ROLLOUTS = 4
SEED = 0

PAGES = 4096
"""Pages of the scenario on which the two models are compared; the cost of the pages model grows with them."""

Measurement = tuple[str, float, str]
"""Name, value and unit."""


def bench(seconds: float, parts: Sequence[str] = (), report_progress: ReportProgress = unreported) -> dict[str, Any]:
    """Measure.

    Args:
        seconds: time for each measurement.
        parts: which of PARTS, all if none is named.
        report_progress: called with what is being measured.

    Returns:
        What `bench --json` writes.

    Raises:
        ConfigError: if there is no such part, or the time is not above 0 and at most 600 s.
    """
    if not 0 < seconds <= 600:
        raise ConfigError(f"--seconds={seconds:g}: must be above 0 and at most 600")
    for part in parts:
        if part not in PARTS:
            raise ConfigError(f"unknown part {part!r}{close_match(part, PARTS)}; there are {', '.join(PARTS)}")
    measurements = []
    for done, part in enumerate(parts or PARTS):
        report_progress(done, len(parts or PARTS), part)
        try:
            for name, value, unit in PARTS[part](seconds):
                report_progress(done, len(parts or PARTS), f"{part}: {name}")
                measurements.append({"name": name, "value": value, "unit": unit})
        except ConfigError as error:
            if parts:
                raise
            log.warning("not measured: %s", error)  # what an installation lacks leaves the rest to measure
    return {
        "schema": 1,
        "machine": machine(),
        "threads": {"simulator": threads.get_num_threads()},
        "versions": versions(),
        "git_revision": git_revision(),
        "measurements": measurements,
    }


def whole_runs(seconds: float) -> Iterator[Measurement]:
    """A whole run of either model."""
    abench = load_scenario("abench-64g")
    kernel = load_policy("kmmscand-v1", abench)
    whole_s = whole_run_s(LumpedSystem([scenario_for(kernel, abench)]), seconds)
    yield "abench-64g under kmmscand-v1, whole run", 1e3 * whole_s, "ms"
    small = shrink(scenario_for(kernel, load_scenario("abench-8g")), PAGES)
    ratio = whole_run_s(PagesSystem(small), seconds) / whole_run_s(LumpedSystem([small]), seconds)
    yield f"pages model over lumped model, {PAGES:,} pages, whole run", ratio, "x"


def whole_run_s(system: LumpedSystem | PagesSystem, seconds: float) -> float:
    """Median wall time of one simulated run from reset to completion, no control in between [s]."""
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - started < seconds:
        before = time.perf_counter()
        system.reset(np.array([len(times)], dtype=np.uint64), ["training"])
        system.run_to_end()
        times.append(time.perf_counter() - before)
    return statistics.median(times[1:])  # the first may compile


def shared_steps(seconds: float) -> Iterator[Measurement]:
    """Environment steps with all threads and with one, on an idle machine and beside a process that burns a core."""
    for scenario in SCENARIOS:
        env = TieredMemoryVectorEnv(num_envs=NUM_ENVS, scenario=scenario)
        name = f"{scenario}, {NUM_ENVS} environments, random actions"
        yield from _all_threads_over_one(name, env, seconds)
        with busy_process():
            yield from _all_threads_over_one(f"{scenario} beside a busy process", env, seconds)


def _all_threads_over_one(name: str, env: TieredMemoryVectorEnv, seconds: float) -> Iterator[Measurement]:
    """Medians over alternating pairs, as the speed of a machine that others use changes from second to second."""
    num_threads = threads.get_num_threads()
    pairs = []
    try:
        for _ in range(PAIRS):
            threads.set_num_threads(1)
            one = env_steps_per_s(env, seconds / 2)
            threads.set_num_threads(num_threads)
            pairs.append((env_steps_per_s(env, seconds / 2), one))
    finally:
        threads.set_num_threads(num_threads)
    yield name, statistics.median(together for together, _ in pairs), "env steps/s"
    yield f"{name}, one thread", statistics.median(one for _, one in pairs), "env steps/s"
    yield f"{name}, all threads over one", statistics.median(together / one for together, one in pairs), "x"


@contextmanager
def busy_process() -> Iterator[None]:
    """A process that burns one core."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def steps_by_size(seconds: float) -> Iterator[Measurement]:
    """What a step costs as the application grows."""
    abench = load_scenario("abench-64g")
    for size_gib in SIZES_GIB:
        env = TieredMemoryVectorEnv(num_envs=NUM_ENVS, scenario=abench.replace(size=f"{size_gib}GiB"))
        rate = env_steps_per_s(env, seconds)
        yield f"abench over {size_gib} GiB, {abench.regions} regions, one step", 1e6 / rate, "us"


def env_steps_per_s(env: TieredMemoryVectorEnv, seconds: float) -> float:
    """Environment steps per second of wall time, all environments together, with random actions."""
    # gymnasium compares whole and fractional seconds alike, whatever its annotation says
    return benchmark_vector_step(env, target_duration=seconds, seed=SEED)  # type: ignore[arg-type]


def training(_seconds: float) -> Iterator[Measurement]:
    """Steps per second of a short training with the full preset, what takes them, and the most there could be.

    That is what the learner comes to on an environment that costs nothing.
    """
    require("train", "training")
    from tierenv.train.costless import CostlessVecEnv
    from tierenv.train.learn import learn, make_adapter
    from tierenv.train.models import make_model
    from tierenv.train.run_dir import RunDirectory

    preset = load_training_config(TRAINING_PRESET)
    rollout = preset.num_envs * int(preset.hyperparameters["n_steps"])  # type: ignore[arg-type]
    config = preset.with_overrides(timesteps=TRAINING_ROLLOUTS * rollout)
    with (
        tempfile.TemporaryDirectory() as folder,
        RunDirectory.create(Path(folder) / "run", config, "tierenv bench") as run,
    ):
        spent = learn(config, run).time_spent
    busy_s = spent.model_s + spent.learner_s
    model = make_model(config, Path(preset.name), CostlessVecEnv(make_adapter(config)))
    model.learn(rollout)  # the first may compile
    before_s = time.perf_counter()
    model.learn(config.timesteps)
    learner_rate = config.timesteps / (time.perf_counter() - before_s)
    yield f"training {preset.name}", config.timesteps / busy_s, "env steps/s"
    yield "its learner on an environment that costs nothing", learner_rate, "env steps/s"
    yield "training over that", config.timesteps / busy_s / learner_rate, "1"
    yield "share of the model in it", spent.model_s / busy_s, "1"
    yield "share of the learner in it", spent.learner_s / busy_s, "1"


PARTS: dict[str, Callable[[float], Iterator[Measurement]]] = {
    "runs": whole_runs,
    "threads": shared_steps,
    "sizes": steps_by_size,
    "training": training,
}
"""What can be measured on its own."""
