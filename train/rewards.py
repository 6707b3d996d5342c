"""Forms of the reward that a learner sees; evaluation and selection never do.

The reward of a step is what the environment gives (`tierenv.reward`, shaping included), in units of the time with every
page fast, and terms of the forms that a configuration asks for, all times the factor of the scenario and the scale:

    reward' = scale * factor * (reward - (F - 1) (E' - E) / reference - cost * pages / reference - overshoot * beyond)

* factor, with `normalise: gap`: 0.5 sqrt(reference / max(gap, 0.01 reference)), gap being the time of no migration less
  the clairvoyant bound. A scenario on which much can be won would otherwise drown those on which little can. A constant
  of the scenario, it leaves the best policy of each as it is and says how much the scenarios weigh against each other.
* F, `worse_than_no_migration`: E is how much later the present work was done than no migration would have done it,
  never below 0. It is 0 at the start, so without discounting the steps of an episode add up to -(F - 1) times what the
  whole run lost: the loss counts F times, and each step is told of it as it happens. Bias: of two policies of one
  mean time the one that seldom loses is preferred, and a policy gives up gains elsewhere for not losing; where no
  episode loses nothing changes. With gamma below 1 a loss made good later costs all the same.
* cost, `move_cost`: seconds for each page promoted or demoted. Bias: towards fewer moves than are best, by as much as
  the cost is above 0; what a move takes is in the time already.
* overshoot, `overshoot_cost`: beyond is the sum of max(|a| - 1, 0)^2 over the coordinates a of the action before it is
  clipped to its range; an action beyond `REACH` counts as there. Out there nothing that an algorithm tries makes a
  difference, and a mean that got there never learns to come back. Bias: noise pays it, too, so that a mean keeps away
  from the ends of the range, by about as much as the noise is wide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from gymnasium.spaces import Box, Space
from numpy.typing import NDArray
from pydantic import Field

from tierenv.objective import objective_name, objective_row
from tierenv.records import Record, Seconds
from tierenv.scenario import Scenario

Floats = NDArray[np.float64]

REACH = 2.0
"""How far an action may go before it is clipped, where it costs something: as far as exploration takes it."""
NUM_POINTS = 257
"""Of the curve of time over work done: half a percent of an episode apart."""


class RewardForm(Record):
    """What the learner sees of the reward; evaluation and selection see the time alone."""

    scale: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Factor on all rewards: what is to be learned is a few percent of an episode's time, too little for a value
    network whose weights start at random."""
    normalise: Literal["none", "gap"] = "none"
    """gap: divide by the root of what can be won on the scenario, so that those with much to win do not drown the
    others."""
    worse_than_no_migration: Annotated[float, Field(ge=1, le=100)] = 1.0
    """How often time counts that no migration would not have taken: 1 as any other."""
    move_cost: Seconds = 0.0
    """Cost of each page promoted or demoted, beside the time that moving takes."""
    overshoot_cost: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Cost of an action beyond its range, by the square of how far, up to 1: out there an algorithm learns nothing. For
    those whose actions are clipped."""

    @property
    def needs_baselines(self) -> bool:
        """Whether runs without migration have to be made first."""
        return self.normalise != "none" or self.worse_than_no_migration > 1

    def problem(self, scenario: Scenario) -> str:
        """Why a scenario does not take this form; "" where it does."""
        judged, name = objective_row(scenario.objective).judges_end_of, objective_name(scenario.objective)
        if self.normalise == "gap" and judged is None:
            return f"normalise='gap': scenario {scenario.name}: objective {name} is no time, and has no bounds"
        if self.worse_than_no_migration > 1 and judged != "all":
            return (
                f"worse_than_no_migration={self.worse_than_no_migration:g}: scenario {scenario.name}: objective "
                f"{name}: who is ahead is known on the way for last-end alone"
            )
        return ""


@dataclass(frozen=True)
class Baseline:
    """What a scenario comes to without migration."""

    factor: float
    """Of `normalise: gap`."""
    time_over_work_s: Floats
    """float64[NUM_POINTS]: time until so much of the work was done, in equal parts of it [s]."""


class Rewards:
    """Turns the rewards of n machines into those of a form.

    Args:
        form: what to make of them.
        baselines: of each machine, where `form.needs_baselines` (`tierenv.train.reward_baselines`).
    """

    def __init__(self, form: RewardForm, baselines: Sequence[Baseline] = ()) -> None:
        if form.needs_baselines and not baselines:
            raise ValueError("this form needs the baseline of every machine")
        self._form = form
        factors = [baseline.factor for baseline in baselines] if form.normalise == "gap" else [1.0]
        self._factor = form.scale * np.array(factors)
        self._curves = np.array([baseline.time_over_work_s for baseline in baselines])
        self._excess_s = np.zeros(len(baselines))
        self._moved = np.zeros(0)

    def reach(self, space: Space[Any]) -> Space[Any]:
        """What the learner may do on machines whose actions are of a space: more than that where it costs something."""
        if not self._form.overshoot_cost:
            return space
        return Box(-REACH, REACH, space.shape, np.float32)

    def within(self, actions: NDArray[np.float32]) -> NDArray[np.float32]:
        """What is done of what the learner wanted, float32[n, T]."""
        return np.clip(actions, -1, 1) if self._form.overshoot_cost else actions

    def restart(self, info: Mapping[str, Any]) -> None:
        """All episodes begin; info of the reset."""
        self._excess_s[:] = 0.0
        self._moved = _moved(info)

    def apply(
        self, rewards: Floats, actions: NDArray[np.float32], info: Mapping[str, Any], dones: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """float32[n]: what the learner sees for rewards float64[n] of a step.

        Args:
            rewards: of the environment.
            actions: float32[n, T], as the learner wanted them.
            info: of the step, in mode SAME_STEP.
            dones: bool[n]: machines whose episode ended in it.
        """
        form, extra = self._form, np.zeros_like(rewards)
        after = _last_of_episode(info, dones)
        if form.worse_than_no_migration > 1:
            excess_s = np.maximum(after["elapsed_s"] - self._no_migration_s(after["work_done"]), 0.0)
            extra -= (form.worse_than_no_migration - 1) * (excess_s - self._excess_s)
            self._excess_s = np.where(dones, 0.0, excess_s)
        if form.move_cost > 0:
            extra -= form.move_cost * (_moved(after) - self._moved)
            self._moved = _moved(info)
        seen = rewards + extra / after["reference_s"]
        if form.overshoot_cost > 0:
            seen = seen - form.overshoot_cost * np.square(np.maximum(np.abs(actions) - 1, 0)).sum(axis=1)
        return (self._factor * seen).astype(np.float32)

    def _no_migration_s(self, work_done: Floats) -> Floats:
        """float64[n]: time in which no migration does shares of the work float64[n] [s]."""
        place = np.clip(work_done, 0, 1) * (NUM_POINTS - 1)
        below = np.minimum(place.astype(np.intp), NUM_POINTS - 2)
        machines, rest = np.arange(len(work_done)), place - below
        seconds: Floats = (1 - rest) * self._curves[machines, below] + rest * self._curves[machines, below + 1]
        return seconds


def _last_of_episode(info: Mapping[str, Any], dones: NDArray[np.bool_]) -> dict[str, Floats]:
    """What the step led to, float64[n] each: of an episode that ended its last, not the first of the next."""
    keys = ("elapsed_s", "work_done", "promoted_pages", "demoted_pages", "reference_s")
    if not dones.any():
        return {key: np.asarray(info[key], np.float64) for key in keys}
    final = info["final_info"]
    return {key: np.where(dones, final[key], info[key]).astype(np.float64) for key in keys}


def _moved(info: Mapping[str, Any]) -> Floats:
    """float64[n]: pages moved in the episode."""
    moved: Floats = np.asarray(info["promoted_pages"], np.float64) + info["demoted_pages"]
    return moved
