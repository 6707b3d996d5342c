"""The audit of a state: it passes what the models come to, and notices what they cannot have come to."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.sim.machines import machine_of
from tests.sim.patches import begin, hot_and_idle, model_of, run_to_chunk, small
from tests.sim.test_determinism import SEEDS, mixed_scenarios
from tierenv.counters import FREE_PAGES, HOTPAGE, MIGADDED, NUMA_HINT_FAULTS
from tierenv.sim.audit import InvariantError
from tierenv.sim.lumped.state import FRESH, RECORDS, RETRY, SLOW
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.pages.system import PagesSystem
from tierenv.sim.records import WASTED

Corruption = Callable[[Any], None]


BUSY = small(workload=hot_and_idle(), platform={"migration_per_page_at_8gib": 1e-3}, numa_balancing_mode=2)
"""Entries wait for a slow migrator while marks wait for a touch."""


def amid_an_episode(system_type: type) -> tuple[Any, Any]:
    """Returns either model, and views of its state, when there are entries and marks to be corrupted."""
    system = begin(system_type, BUSY)
    run_to_chunk(system, 1)
    system.advance(1.0)
    state = model_of(system).state
    marks = "numa_marked_pages" if system_type is LumpedSystem else "marked_pages"
    assert state["list_tail"] > state["list_head"] and state[marks] > 0 and not system.is_done[0]
    return system, model_of(system)


def entry(name: str, index: Any, amount: int) -> Corruption:
    """Returns what adds to an entry of an array."""

    def corrupt(machine: Any) -> None:
        getattr(machine, name)[index] += amount

    return corrupt


def field(name: str, column: str, amount: float) -> Corruption:
    """Returns what adds to a field of a record, or of the first of several."""

    def corrupt(machine: Any) -> None:
        rows = getattr(machine, name)
        row = rows[0] if rows.shape else rows
        row[column] += amount

    return corrupt


SHARED = {
    "a node's pages of a class are counted": entry("fast_by_class", (0, 0), 1),
    "a node's pages are counted": field("nodes", "fast_pages", 1),
    "a node's aged pages are counted": field("nodes", "aged_pages", 1),
    "the slow node holds no more than it can": field("parameters", "slow_capacity_pages", -(10**9)),
    "the gauge of free pages is as of now": entry("counters", FREE_PAGES, 1),
    "a process is done from when it finished": field("processes", "finished_s", 1.0),
    "a machine is done when all its processes are": field("state", "is_done", 1),
    "a process has no negative time to lose": field("processes", "stall_s", -1e9),
    "no process works on after its end": field("processes", "accesses", 1e30),
    "the accesses to the pages of a process are its accesses": field("processes", "accesses", 1e6),
    "failures are a share": field("mms", "failure_percent", 101),
    "no counter is negative": entry("counters", HOTPAGE, -1),
    "an entry ends or is on the list": entry("counters", MIGADDED, 1),
    "a wasted promotion is a promotion": entry("model", WASTED, 10**9),
    "a page that passes the re-check is promoted": entry("counters", HOTPAGE, 1),
    "a mark goes with its hint fault or with its page": entry("counters", NUMA_HINT_FAULTS, 10**6),
}
LUMPED = SHARED | {
    "no cell holds less than nothing": entry("counts", (0, SLOW), -(10**6)),
    "an aged page of a lump is there": entry("aged", (0, 0), 10**6),
    "no page of a lump is lost or doubled": entry("counts", (0, SLOW), 1),
    "a listed page has an entry or waits for a retry": entry("counts", (0, RETRY), 1),
    "the records of a lump are counted": entry("counts", (0, RECORDS), 1),
    "the entries are counted": field("state", "list_entries", 1),
    "the entries of newly listed pages are counted": field("state", "list_new", 1),
    "the pages that wait are counted": field("state", "retry_pages", 1),
    "the marks are counted": field("state", "numa_marked_pages", 1),
    "a slow page is marked, has faulted or neither": entry("marks", (0, FRESH), 10**6),
}
PAGES = SHARED | {
    "an aged page is on its node": entry("is_aged", slice(None), True),
    "the marks are counted": field("state", "marked_pages", 1),
    "a page that was promoted has not faulted yet": entry("has_faulted", slice(None), True),
    "the entries of a page are counted": entry("entries", 0, 1),
}


@pytest.mark.parametrize("law", LUMPED)
def test_the_audit_of_the_lumped_model_notices_a_corrupted_state(law: str) -> None:
    system, machine = amid_an_episode(LumpedSystem)
    system.audit()
    LUMPED[law](machine)
    with pytest.raises(InvariantError, match=f"^{re.escape(law)}"):
        system.audit()


@pytest.mark.parametrize("law", PAGES)
def test_the_audit_of_the_pages_model_notices_a_corrupted_state(law: str) -> None:
    system, pages = amid_an_episode(PagesSystem)
    system.audit()
    PAGES[law](pages)
    with pytest.raises(InvariantError, match=f"^{re.escape(law)}"):
        system.audit()


def test_every_machine_of_a_batch_is_audited() -> None:
    system = LumpedSystem(mixed_scenarios())
    system.reset(SEEDS, ["training"] * len(SEEDS))
    for _ in range(5):
        system.advance(4.0)
        system.audit()
    machine_of(system, len(SEEDS) - 1).nodes["fast_pages"][0] += 1
    with pytest.raises(InvariantError):
        system.audit()
