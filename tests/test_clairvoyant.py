"""Attempts to beat the clairvoyant bound: nothing may be faster, and the best should come near."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from tierenv.action import ActionCodec
from tierenv.bounds import clairvoyant_bound_s
from tierenv.daemon import load_daemon
from tierenv.scenario import load_scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.tunables import Setting
from tierenv.units import GIB, MIB

NUM_EPISODES = 4
INTERVAL_S = 1.0
NEVER_S = 1e9
Script = Callable[[LumpedSystem, NDArray[np.float64]], NDArray[np.float64]]
"""Tunables float64[n, len(TUNABLES)], from the system and the time to the next phase change [s]."""


def row(*values: float) -> tuple[float, ...]:
    """A setting of scan period, scan size and throttle as a row of an array of tunables."""
    return Setting(dict(zip(("scan_period", "scan_size", "throttle"), values, strict=True))).row


OFF = row(100.0, 16.0 * GIB, 0.0)
WIDE_OPEN = row(100.0, 16.0 * GIB, np.inf)


def static(*setting: float) -> Script:
    """The same setting throughout."""
    return lambda system, _to_change_s: np.tile(row(*setting), (system.num_machines, 1))


def bursts(before_s: float, after_s: float) -> Script:
    """Promote from some time before each phase change until some time after it; knows when phases change."""
    since = np.zeros(NUM_EPISODES)
    last_phase = np.full(NUM_EPISODES, -1)

    def script(system: LumpedSystem, to_change_s: NDArray[np.float64]) -> NDArray[np.float64]:
        nonlocal since, last_phase
        since = np.where(system.phase == last_phase, since + INTERVAL_S, 0.0)
        last_phase = system.phase
        is_open = (since < after_s) | (to_change_s < before_s)
        return np.where(is_open[:, None], WIDE_OPEN, OFF)

    return script


def random(seed: int) -> Script:
    """Uniform actions."""
    rng = np.random.default_rng(seed)
    codec = ActionCodec(load_scenario("skewed").daemon)
    return lambda system, _to_change_s: codec.decode(rng.uniform(-1, 1, (system.num_machines, 3)))


SCRIPTS = {
    "static: fast, unlimited": lambda: static(100.0, 16.0 * GIB, np.inf),
    "static: slow, unlimited": lambda: static(20_000.0, 16.0 * GIB, np.inf),
    "static: small chunks": lambda: static(800.0, 256.0 * MIB, np.inf),
    "static: 256 MiB/s": lambda: static(300.0, 16.0 * GIB, 256.0 * MIB),
    "bursts after changes": lambda: bursts(before_s=0, after_s=8),
    "bursts around changes": lambda: bursts(before_s=4, after_s=6),
    "random": lambda: random(1),
}


def run(
    scenario_name: str, script: Script, daemon: str = "kmmscand-tunable"
) -> tuple[NDArray[np.float64], list[float]]:
    """Completion times and bounds of the episodes, half of them with held-out phase orders."""
    system = LumpedSystem([load_scenario(scenario_name).under(load_daemon(daemon))] * NUM_EPISODES)
    orders = [("training", "held-out")[index % 2] for index in range(NUM_EPISODES)]
    system.reset(np.arange(NUM_EPISODES, dtype=np.uint64) + 900, orders)
    bounds = [clairvoyant_bound_s(system, index) for index in range(NUM_EPISODES)]
    ends = [np.append(np.cumsum(system.phase_work(index))[:-1], np.inf) for index in range(NUM_EPISODES)]
    total = [system.phase_work(index).sum() for index in range(NUM_EPISODES)]
    before = np.zeros(NUM_EPISODES)
    while not system.is_done.all():
        done = system.work_done * total
        rate = np.maximum(done - before, 1.0) / INTERVAL_S
        left = np.array([ends[index][phase] - done[index] for index, phase in enumerate(system.phase)])
        before = done
        system.apply(script(system, np.minimum(left / rate, NEVER_S)))
        system.advance(INTERVAL_S)
    return system.elapsed_s, bounds


@pytest.mark.parametrize("scenario_name", ["skewed", "moving-hot-set"])
@pytest.mark.parametrize("script_name", SCRIPTS)
def test_nothing_beats_the_clairvoyant(scenario_name: str, script_name: str) -> None:
    seconds, bounds = run(scenario_name, SCRIPTS[script_name]())
    assert np.all(seconds > bounds)


@pytest.mark.parametrize("scenario_name", ["abench-8g", "skewed", "moving-hot-set"])
@pytest.mark.parametrize("throttle", [256.0 * MIB, np.inf])
def test_nothing_beats_the_clairvoyant_at_hint_faults_either(scenario_name: str, throttle: float) -> None:
    values = {"scan_period": 3e3, "scan_size": 2.0 * GIB, "throttle": throttle, "hot_threshold": 100.0}
    always: Script = lambda system, _to_change_s: np.tile(Setting(values).row, (system.num_machines, 1))  # noqa: E731
    seconds, bounds = run(scenario_name, always, "numa-balancing")
    assert np.all(seconds > bounds)


def test_knowing_the_phases_comes_near() -> None:
    seconds, bounds = run("moving-hot-set", bursts(before_s=0, after_s=8))
    assert np.mean(seconds / np.array(bounds)) < 1.04  # a bound far below what can be reached says nothing
