"""System: a batch of machines that take tunables and give counters.

The environment, the evaluator and live control drive a `System` and never ask which one. Every array has a
leading axis of n machines; a single environment or a live kernel is n = 1. What a model knows beyond a
kernel's counters stands apart in `ModelledSystem`: rewards and reports may use it, an observation may not.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tierenv.scenario import PhaseOrders, Scenario


class System(Protocol):
    """n machines under a promotion daemon; later calls never change arrays returned before."""

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """What runs on each machine, length n; machines may differ in everything."""

    def reset(
        self,
        seeds: NDArray[np.uint64],
        phase_orders: Sequence[PhaseOrders],
        mask: NDArray[np.bool_] | None = None,
    ) -> None:
        """Start an episode on every machine, or on those under the mask.

        Args:
            seeds: uint64[n]; all that happens in an episode follows from its seed and what is applied.
            phase_orders: length n; which split each machine draws the order of its phases from.
            mask: bool[n]; None for all.
        """

    def apply(self, tunables: NDArray[np.float64]) -> None:
        """Put tunables in force: float64[n, 3], columns as `TUNABLES`; infinity is unlimited.

        A machine whose scenario leaves control to the kernel or to nobody ignores its row. On a daemon whose tunables
        only seed new processes it is the period, clamped, of processes that start later.
        """

    def advance(self, duration_s: float) -> None:
        """Let time pass on every machine whose work is not done; one that finishes stops there."""

    @property
    def counters(self) -> NDArray[np.int64]:
        """int64[n, NUM_COUNTERS], columns as `COUNTERS`: gauges as of now, all others since the reset."""

    @property
    def tunables(self) -> NDArray[np.float64]:
        """float64[n, 3]: the tunables in force for a machine's first process."""

    @property
    def elapsed_s(self) -> NDArray[np.float64]:
        """float64[n]: time since the reset; the completion time once the work is done [s]."""

    @property
    def is_done(self) -> NDArray[np.bool_]:
        """bool[n]: all work is done."""


class ModelledSystem(System, Protocol):
    """A system that also tells what no kernel counts."""

    @property
    def reference_s(self) -> NDArray[np.float64]:
        """float64[n]: computed completion time with every page on the fast tier from the start [s]."""

    @property
    def work_done(self) -> NDArray[np.float64]:
        """float64[n]: share of the accesses done, 0 to 1."""

    @property
    def phase(self) -> NDArray[np.int64]:
        """int64[n]: present phase of a machine's first process, counted in the order of the episode."""

    @property
    def model(self) -> NDArray[np.int64]:
        """int64[n, len(MODEL_COUNTERS)] since the reset, columns as `tierenv.sim.records.MODEL_COUNTERS`."""

    def remaining_s(self) -> NDArray[np.float64]:
        """float64[n]: time for the rest of the phase if no page moved any more, and all-fast for later phases [s].

        Of several processes the longest counts.
        """

    def phase_names(self, index: int) -> list[str]:
        """Names of the phases of one machine's first process in the order of its episode."""

    def class_pages(self, index: int) -> NDArray[np.int64]:
        """int64[classes]: one machine's pages by class."""

    def fast_pages_by_class(self, index: int) -> NDArray[np.int64]:
        """int64[classes]: one machine's pages on the fast tier by class."""

    def trace(self, index: int) -> tuple[list[dict[str, Any]], int]:
        """One machine's trace events of the episode so far, as far as the system keeps any, and how many were lost."""
