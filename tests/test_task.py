"""The task is handed its system: whatever it is, the loop of observation, action and reward is the same."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.tiny import tiny
from tierenv.errors import ConfigError
from tierenv.scenario import Scenario
from tierenv.shrink import shrink
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.pages.system import PagesSystem
from tierenv.system import System
from tierenv.task import INFO_KEYS, MODELLED_INFO_KEYS, ModelledTask, TieredMemoryTask
from tierenv.tunables import TUNABLES

SMALL = shrink(tiny(), 2048)
SYSTEMS: dict[str, Callable[[Scenario], System]] = {
    "lumped": lambda scenario: LumpedSystem([scenario]),
    "pages": PagesSystem,
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_an_episode_runs_on_any_system(name: str) -> None:
    task = TieredMemoryTask(SYSTEMS[name](SMALL), control_interval_s=SMALL.control_interval, max_time_multiple=100)
    observation, info = task.reset(np.array([1], np.uint64))
    rng = np.random.default_rng(1)
    total, is_done = 0.0, False
    while not is_done:
        assert task.encoder.space.contains(observation[0])
        assert set(info) - {"scan_period_ms", "scan_size_bytes", "throttle_bytes_per_s"} == set(INFO_KEYS)
        outcome = task.step(rng.uniform(-1, 1, (1, 3)))
        observation, info, is_done = outcome.observation, outcome.info, bool(outcome.terminated[0])
        total += outcome.reward[0]
        assert not outcome.truncated[0]
    assert info["promoted_pages"][0] > 0
    assert total == pytest.approx(-info["elapsed_s"][0] / info["reference_s"][0])


@pytest.mark.parametrize("name", SYSTEMS)
def test_compiled_code_is_never_handed_an_array_of_another_shape(name: str) -> None:
    system = SYSTEMS[name](SMALL)
    task = TieredMemoryTask(system, control_interval_s=SMALL.control_interval)
    for seeds, mask in ((np.zeros(2, np.uint64), None), (np.zeros(1, np.uint64), np.ones((1, 3), np.bool_))):
        with pytest.raises(ConfigError, match=r"^(seeds|mask): must have shape \(1,\), got "):
            task.reset(seeds, mask)
    task.reset(np.zeros(1, np.uint64))
    for shape in ((1, 1), (1, 2), (3,), (2, 3), (0, 3)):
        with pytest.raises(ConfigError, match=rf"^tunables: must have shape \(1, {len(TUNABLES)}\), got "):
            system.apply(np.full(shape, 1e6))
        with pytest.raises(ConfigError, match=r"^actions: must have shape \(1, 3\), got "):
            task.step(np.zeros(shape))


def test_what_only_a_model_knows_comes_with_a_modelled_task() -> None:
    task = ModelledTask(LumpedSystem([SMALL]), shaping_gamma=1.0)
    _, info = task.reset(np.array([1], np.uint64))
    assert set(info) >= set(INFO_KEYS) | set(MODELLED_INFO_KEYS)
    outcome = task.step(np.zeros((1, 3)))
    assert outcome.reward[0] == outcome.info["reward_time"][0] + outcome.info["reward_shaping"][0]


@pytest.mark.parametrize("limits", [{"max_time_multiple": 0.0}, {"max_episode_steps": 0}])
def test_limits_that_leave_no_episode_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(limits))):
        TieredMemoryTask(LumpedSystem([SMALL]), control_interval_s=0.2, **limits)
