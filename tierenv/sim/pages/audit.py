"""What must hold of a machine of the pages model at any time."""

import numpy as np
from numpy.typing import NDArray

from tierenv.sim.audit import audit_counters, audit_nodes, audit_processes, require
from tierenv.sim.pages.state import ABSENT, Pages


def audit(pages: Pages) -> None:
    """Raise `tierenv.sim.audit.InvariantError` if a machine is in a state that it cannot have come to."""
    by_class = np.zeros(pages.fast_by_class.shape, dtype=np.int64)
    is_fast = pages.node >= 0
    np.add.at(by_class, (pages.page_class[is_fast], pages.node[is_fast]), 1)
    require(~(pages.is_aged & ~is_fast), "an aged page is on its node")
    audit_nodes(pages, by_class, np.bincount(pages.node[pages.is_aged], minlength=len(pages.nodes)))
    audit_processes(pages, pages.hazard, pages.accesses_per_hazard)
    is_marked = np.isfinite(pages.fault_hazard)
    require(is_marked.sum() == pages.state["marked_pages"], "the marks are counted", is_marked.sum())
    if pages.parameters["numa_mode"] != 1:
        require(~(is_marked & is_fast), "mode 2 marks slow pages only")
    require(~(pages.has_faulted & is_fast), "a page that was promoted has not faulted yet")
    absent = pages.node == ABSENT
    require(~(absent & (is_marked | (pages.entries > 0))), "a page that is nowhere has neither a mark nor an entry")
    _audit_memory(pages, absent)
    _audit_list(pages)
    waiting = pages.state["private_tail"] - pages.state["list_head"]
    audit_counters(pages, int(waiting), int(is_marked.sum()))


def _audit_memory(pages: Pages, is_absent: NDArray[np.bool_]) -> None:
    """A process has the pages of the classes that its phase has until it exits before others: then it has none."""
    is_over, processes = pages.state["is_done"], pages.processes
    # what the phase that a process has ended with does not have anybody looks at any more
    phase = processes["resident_phase" if is_over else "phase"][pages.class_process]
    has_exited = processes["is_done"][pages.class_process] & ~is_over
    is_resident = pages.is_resident[phase, np.arange(len(phase))] & ~has_exited
    if not is_over:
        require(is_resident == pages.has_memory, "classes hold memory as their phase has it", pages.has_memory)
    require(is_absent == ~pages.has_memory[pages.page_class], "a page is there while its class holds memory")
    held = np.bincount(pages.class_process[pages.page_class[~is_absent]], minlength=len(processes))
    require(held == processes["pages"], "the pages of a process are counted", held, processes["pages"])


def _audit_list(pages: Pages) -> None:
    """Each entry on the list is counted by the folio it names."""
    entries = np.arange(int(pages.state["list_head"]), int(pages.state["private_tail"])) % len(pages.list_page)
    named, moves = pages.list_page[entries], pages.list_moves[entries]
    live = np.bincount(named[moves == pages.moves[named]], minlength=len(pages.entries))
    require(live == pages.entries, "the entries of a page are counted")
    require(pages.entries[pages.node >= 0] == 0, "a folio on the fast tier has not been listed")
