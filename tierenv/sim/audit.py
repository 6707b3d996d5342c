"""What must hold of a machine at any time in either model: its processes, its nodes, its counters."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tierenv.counters import (
    COLDPAGE,
    FREE_PAGES,
    HOTPAGE,
    IDLEPAGE,
    MIGADDED,
    MIGRATE_FAILED,
    MIGRATED,
    NUMA_HINT_FAULTS,
    NUMA_HINT_FAULTS_LOCAL,
    NUMA_PTE_UPDATES,
    PGPROMOTE_SUCCESS,
    SLOWTIER,
)
from tierenv.sim.records import ALLOCATION_FAILURES, CONTROL_TUNABLES, DUPLICATES, LOAD_SHARE, WASTED

ROUNDING = 1e-6
"""Relative error of accesses that were added up in another order."""


class InvariantError(AssertionError):
    """A state that no machine can be in: a fault of the model, never of its user."""


def require(holds: ArrayLike, law: str, *values: object) -> None:
    """Raise `InvariantError` with a law, and values that show how it is broken, unless it holds throughout."""
    if not np.all(holds):
        raise InvariantError(": ".join((law, ", ".join(map(str, values)))) if values else law)


def audit_processes(machine: Any, hazard: NDArray[np.float64], accesses_per_hazard: NDArray[np.float64]) -> None:
    """A process is done when it has finished, and the visits to its classes add up to its accesses."""
    processes = machine.processes
    require(processes["is_done"] == (processes["finished_s"] > 0), "a process is done from when it finished")
    require(~(processes["is_done"] & processes["is_running"]), "a process that is done does not run")
    require(machine.state["is_done"] == processes["is_done"].all(), "a machine is done when all its processes are")
    require(processes["stall_s"] >= 0, "a process has no negative time to lose", processes["stall_s"])
    require(processes["accesses"] <= processes["total_accesses"] * (1 + ROUNDING), "no process works on after its end")
    made = processes["rounds"] * processes["total_accesses"] + processes["accesses"]
    accesses = [
        (hazard[first:end] * accesses_per_hazard[first:end]).sum()
        for first, end in zip(processes["first_class"], processes["end_class"], strict=True)
    ]
    require(
        np.isclose(accesses, made, rtol=ROUNDING, atol=ROUNDING),
        "the accesses to the pages of a process are its accesses",
        accesses,
        made,
    )
    runs = np.flatnonzero(processes["is_running"])
    now_s = machine.state["now_s"]
    require(processes["phase_until_s"][runs] > now_s, "a phase ends by its time", processes["phase_until_s"])
    require(processes["load_until_s"][runs] > now_s, "a step of the load ends by its time", processes["load_until_s"])
    share = machine.timetable[processes["load_step"], np.arange(len(processes)), LOAD_SHARE]
    threads = processes["full_threads"] * share
    require((processes["threads"] == threads)[runs], "as many threads work as the load lets", processes["threads"])
    percent = machine.mms["failure_percent"]
    require((percent >= 0) & (percent <= 100), "failures are a share", percent)


def audit_nodes(machine: Any, fast_by_class: NDArray[np.int64], aged: NDArray[np.int64]) -> None:
    """Each node holds what its pages say and can hold, and those of the fast tier leave the watermark free.

    Args:
        machine: of either model.
        fast_by_class: int64[C, K]: pages of each class on each node, counted one by one.
        aged: int64[K]: pages of each node that its kswapd has aged and not looked at since, counted one by one.
    """
    nodes = machine.nodes
    require(fast_by_class == machine.fast_by_class, "a node's pages of a class are counted", machine.fast_by_class)
    require(fast_by_class.sum(axis=0) == nodes["fast_pages"], "a node's pages are counted", nodes["fast_pages"])
    require(
        nodes["fast_pages"] <= nodes["capacity_pages"] - nodes["watermark_pages"],
        "a node keeps the pages of its watermark free",
        nodes["fast_pages"],
    )
    resident = machine.processes["pages"][machine.processes["is_running"]].sum()
    on_slow = resident - nodes["fast_pages"].sum()
    require(
        on_slow <= machine.parameters["slow_capacity_pages"], "the slow node holds no more than it can", int(on_slow)
    )
    require(aged <= nodes["fast_pages"], "an aged page is on its node", aged)
    require(aged == nodes["aged_pages"], "a node's aged pages are counted", aged)
    free = (nodes["capacity_pages"] - nodes["fast_pages"]).sum()
    require(machine.counters[FREE_PAGES] == free, "the gauge of free pages is as of now", free)


def audit_counters(machine: Any, list_entries: int, marked_pages: int) -> None:
    """What is counted in two ways agrees, and nothing is counted that cannot have been.

    Args:
        machine: of either model.
        list_entries: on the migration list now.
        marked_pages: with a mark of NUMA balancing now.
    """
    parameters, counters, model = machine.parameters, machine.counters, machine.model
    require(counters >= 0, "no counter is negative", counters)
    require(model >= 0, "no counter of the model is negative", model)
    ended = counters[MIGRATED] + counters[MIGRATE_FAILED]
    require(counters[MIGADDED] - ended == list_entries, "an entry ends or is on the list", counters, list_entries)
    require(model[DUPLICATES] <= counters[MIGADDED], "a duplicate is an entry")
    require(model[WASTED] <= counters[MIGRATED] + counters[PGPROMOTE_SUCCESS], "a wasted promotion is a promotion")
    if parameters["counts_all_slow_pages"]:
        passed = counters[SLOWTIER] - counters[IDLEPAGE]
        listed = counters[MIGADDED] + model[ALLOCATION_FAILURES]
        require(passed == listed, "a page that passes the access rule is listed if there is memory", passed, listed)
        require(counters[COLDPAGE] <= counters[SLOWTIER], "a cold page is a slow page")
    else:
        # under throttle 0, and short of the access threshold, pages are counted and not listed
        may_be_unlisted = parameters["control"] == CONTROL_TUNABLES and parameters["is_tunable_at_run_time"]
        may_be_unlisted |= parameters["most_streak"] > 0
        uncounted = counters[MIGADDED] - counters[SLOWTIER]
        require(uncounted <= 0 if may_be_unlisted else uncounted == 0, "a page is counted once it is listed")
        require(counters[COLDPAGE] == 0, "this daemon does not count cold pages")
    hot = counters[MIGRATED] if parameters["rechecks_hotness"] else 0
    require(counters[HOTPAGE] == hot, "a page that passes the re-check is promoted", counters[HOTPAGE], hot)
    require(counters[NUMA_HINT_FAULTS_LOCAL] <= counters[NUMA_HINT_FAULTS], "a local hint fault is a hint fault")
    require(
        marked_pages <= counters[NUMA_PTE_UPDATES] - counters[NUMA_HINT_FAULTS],
        "a mark goes with its hint fault or with its page",
        marked_pages,
    )
