"""Reward and shaping."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny import tiny
from tierenv.errors import ConfigError
from tierenv.reward import Shaping, time_reward
from tierenv.task import simulated_task

EVERY = np.ones(1, dtype=np.bool_)


class Script:
    """What of a score and its system shaping needs, with remaining times written down."""

    all_fast = np.array([100.0])

    def __init__(self, remaining_s: list[float], is_finished: bool) -> None:
        self.step = 0
        self._remaining_s = remaining_s
        self._is_finished = is_finished
        self.system = self

    def check_shaping(self) -> None:
        pass

    def remaining(self) -> np.ndarray:
        return np.array([self._remaining_s[self.step]]) / self.all_fast

    @property
    def is_done(self) -> np.ndarray:
        return np.array([self._is_finished and self.step == len(self._remaining_s) - 1])


def test_return_is_minus_the_normalised_completion_time() -> None:
    steps_s = [np.array([2.0, 1.0]), np.array([2.0, 0.5])]
    reference_s = np.array([4.0, 3.0])
    total = sum(time_reward(step_s, reference_s) for step_s in steps_s)
    np.testing.assert_allclose(total, [-1.0, -0.5])


@given(
    st.lists(st.floats(0, 1e4), min_size=1, max_size=20),
    st.floats(0.01, 1),
    st.booleans(),
)
def test_discounted_shaping_adds_up_to_the_difference_of_potentials(
    remaining_s: list[float], gamma: float, is_finished: bool
) -> None:
    system = Script(remaining_s, is_finished)
    shaping = Shaping(system, gamma)
    shaping.restart(EVERY)
    total = 0.0
    for step in range(len(remaining_s) - 1):
        system.step += 1
        total += gamma**step * shaping.reward()[0]
    steps = len(remaining_s) - 1
    last = 0.0 if is_finished and steps else -remaining_s[-1] / 100
    assert total == pytest.approx(gamma**steps * last + remaining_s[0] / 100, abs=1e-9)


@settings(max_examples=10)
@given(st.integers(0, 2**63 - 1), st.integers(0, 2**32 - 1))
def test_shaping_shifts_a_return_by_a_constant_of_the_start(seed: int, policy_seed: int) -> None:
    """With gamma = 1: by the potential at the start if the episode ends, whatever the actions."""
    task = simulated_task([tiny()], shaping_gamma=1.0, max_time_multiple=100)
    task.reset(np.array([seed], dtype=np.uint64))
    potential = -task.system.remaining_s()[0, 0] / task.system.reference_s[0]
    rng = np.random.default_rng(policy_seed)
    shaped = bare = 0.0
    is_done = False
    while not is_done:
        outcome = task.step(rng.uniform(-1, 1, (1, 3)))
        shaped += outcome.reward[0]
        bare += outcome.info["reward_time"][0]
        is_done = outcome.terminated[0]
    assert shaped - bare == pytest.approx(-potential, abs=1e-9)
    assert bare == pytest.approx(-outcome.info["elapsed_s"][0] / outcome.info["reference_s"][0])


def test_potential_is_kept_at_truncation() -> None:
    task = simulated_task([tiny()], shaping_gamma=1.0, max_time_multiple=0.5)
    task.reset(np.array([1], dtype=np.uint64))
    start = -task.system.remaining_s()[0, 0]
    total, is_over = 0.0, False
    while not is_over:
        outcome = task.step(np.zeros((1, 3)))
        total += outcome.info["reward_shaping"][0]
        is_over = outcome.truncated[0]
    assert task.system.remaining_s()[0, 0] > 0
    assert total * task.system.reference_s[0] == pytest.approx(-task.system.remaining_s()[0, 0] - start)


def test_shaping_is_off_by_default() -> None:
    task = simulated_task([tiny()])
    task.reset(np.array([1], dtype=np.uint64))
    outcome = task.step(np.zeros((1, 3)))
    assert outcome.info["reward_shaping"][0] == 0
    assert outcome.reward[0] == outcome.info["reward_time"][0]


@pytest.mark.parametrize("gamma", [0.0, -1.0, 1.01, float("nan")])
def test_gamma_outside_its_range_is_refused(gamma: float) -> None:
    with pytest.raises(ConfigError, match="shaping_gamma"):
        Shaping(Script([1.0], is_finished=False), gamma)
