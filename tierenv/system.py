"""System: a batch of machines that take tunables and give counters.

The task, the evaluator and live control drive a `System` and never ask which one. Every array has a leading axis of n
machines; a single environment or a live kernel is n = 1. What a model knows beyond a kernel's counters stands apart in
`ModelledSystem`: rewards and reports may use it, an observation may not.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tierenv.daemon import Daemon
from tierenv.phase_orders import PhaseOrders
from tierenv.scenario import Scenario


class System(Protocol):
    """n machines under a promotion daemon; later calls never change arrays returned before."""

    @property
    def daemons(self) -> tuple[Daemon, ...]:
        """What promotes pages on each machine, length n."""

    @property
    def fast_capacity_pages(self) -> NDArray[np.int64]:
        """int64[n]: pages the fast tier of each machine holds."""

    @property
    def tier_facts(self) -> NDArray[np.int64]:
        """int64[n, len(TIER_FACTS)]: what firmware tells of the tiers, columns as `tierenv.features.TIER_FACTS`."""

    @property
    def reference_s(self) -> NDArray[np.float64]:
        """float64[n]: the time in which rewards are counted; in a model that with every page fast [s]."""

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
        """Put tunables in force: float64[n, len(TUNABLES)], columns as `TUNABLES`; infinity is unlimited.

        What a daemon lacks is not looked at. A machine whose scenario leaves control to the kernel or to nobody ignores
        its row. On a daemon whose tunables only seed new processes it is the period, clamped, of processes that start
        later.
        """

    def advance(self, duration_s: float) -> None:
        """Let time pass on every machine whose work is not done; one that finishes stops there."""

    @property
    def counters(self) -> NDArray[np.int64]:
        """int64[n, NUM_COUNTERS], columns as `COUNTERS`: gauges as of now, all others since the reset."""

    @property
    def tunables(self) -> NDArray[np.float64]:
        """float64[n, len(TUNABLES)] in force for a machine's first process, NaN where its daemon lacks one."""

    @property
    def resident_pages(self) -> NDArray[np.int64]:
        """int64[n]: resident pages of the processes that run, at least 1; once the work is done of the last that ran.

        On a kernel it is the resident memory of the processes that the operator names.
        """

    @property
    def elapsed_s(self) -> NDArray[np.float64]:
        """float64[n]: time since the reset; the completion time once the work is done [s]."""

    @property
    def is_done(self) -> NDArray[np.bool_]:
        """bool[n]: all work is done."""


class ModelledSystem(System, Protocol):
    """A system that also tells what no kernel counts."""

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """What runs on each machine, length n; machines may differ in everything."""

    def run_to_end(self) -> None:
        """Let time pass until the work of every machine is done."""

    @property
    def work_done(self) -> NDArray[np.float64]:
        """float64[n]: share of the accesses done, 0 to 1."""

    @property
    def phase(self) -> NDArray[np.int64]:
        """int64[n]: present phase of a machine's first process, counted in the order of the episode."""

    @property
    def model(self) -> NDArray[np.int64]:
        """int64[n, len(MODEL_COUNTERS)] since the reset, columns as `tierenv.sim.records.MODEL_COUNTERS`."""

    @property
    def finished_s(self) -> NDArray[np.float64]:
        """float64[n, processes]: when each process ended, with its work or with the run, 0 before [s]."""

    @property
    def process_accesses(self) -> NDArray[np.float64]:
        """float64[n, processes]: accesses each process has done since the reset, in all its rounds."""

    @property
    def alone_s(self) -> NDArray[np.float64]:
        """float64[n, processes]: time each takes alone on its machine with every page fast; infinite beyond the last.

        Of a process that never ends it is the time of a round.
        """

    def remaining_s(self) -> NDArray[np.float64]:
        """float64[n, processes]: time for the rest of the phase if no page moved any more, all-fast for later ones [s].

        0 for a process that has ended or never does.
        """

    def phase_names(self, index: int) -> list[str]:
        """Names of the phases of one machine's first process in the order of its episode."""

    def phase_work(self, index: int, process: int = 0) -> NDArray[np.float64]:
        """float64[phases]: accesses in each phase of a process's episode; not a number where phases end by time."""

    def phase_seconds(self, index: int, process: int = 0) -> NDArray[np.float64]:
        """float64[phases]: time after which each phase of a process's episode ends; infinite where it ends by work."""

    def access_share(self, index: int, process: int = 0) -> NDArray[np.float64]:
        """float64[phases, classes]: share of a process's accesses on each of its classes, in its phases' order."""

    def class_pages(self, index: int, process: int | None = None) -> NDArray[np.int64]:
        """int64[classes]: a machine's pages by class, or those of one process."""

    def fast_pages_by_class(self, index: int, process: int | None = None) -> NDArray[np.int64]:
        """int64[classes]: a machine's pages on the fast tier by class, or those of one process."""

    def trace(self, index: int) -> tuple[list[dict[str, Any]], int]:
        """One machine's trace events of the episode so far, as far as the system keeps any, and how many were lost."""


class SimulatedSystem(ModelledSystem, Protocol):
    """A model whose machines can take other scenarios."""

    def change_scenarios(self, changes: Mapping[int, Scenario]) -> None:
        """Let machines, named by their numbers, run other scenarios from now on; they have to be reset next."""
