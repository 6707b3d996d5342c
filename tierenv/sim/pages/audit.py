"""What must hold of a machine of the pages model at any time."""

import numpy as np

from tierenv.sim.audit import audit_counters, audit_nodes, audit_processes, require
from tierenv.sim.pages.state import SLOW, Pages


def audit(pages: Pages) -> None:
    """Raise `tierenv.sim.audit.InvariantError` if a machine is in a state that it cannot have come to."""
    by_class = np.zeros(pages.fast_by_class.shape, dtype=np.int64)
    is_fast = pages.node != SLOW
    np.add.at(by_class, (pages.page_class[is_fast], pages.node[is_fast]), 1)
    require(~(pages.is_aged & ~is_fast), "an aged page is on its node")
    audit_nodes(pages, by_class, np.bincount(pages.node[pages.is_aged], minlength=len(pages.nodes)))
    audit_processes(pages, pages.hazard, pages.class_pages)
    is_marked = np.isfinite(pages.fault_hazard)
    require(is_marked.sum() == pages.state["marked_pages"], "the marks are counted", is_marked.sum())
    if pages.parameters["numa_mode"] != 1:
        require(~(is_marked & is_fast), "mode 2 marks slow pages only")
    require(~(pages.has_faulted & is_fast), "a page that was promoted has not faulted yet")
    _audit_exited(pages, is_fast | is_marked | (pages.entries > 0))
    _audit_list(pages)
    waiting = pages.state["private_tail"] - pages.state["list_head"]
    audit_counters(pages, int(waiting), int(is_marked.sum()))


def _audit_exited(pages: Pages, is_in_use: np.ndarray) -> None:
    """A process that exits while others run leaves neither pages on the fast tier nor marks nor entries."""
    if pages.state["is_done"]:
        return
    for process, mm in zip(pages.processes, pages.mms, strict=True):
        own = slice(mm["first_page"], mm["end_page"])
        require(not process["is_done"] or ~is_in_use[own], "a process that has exited has left nothing behind")


def _audit_list(pages: Pages) -> None:
    """Each entry on the list is counted by the folio it names."""
    entries = np.arange(int(pages.state["list_head"]), int(pages.state["private_tail"])) % len(pages.list_page)
    named, moves = pages.list_page[entries], pages.list_moves[entries]
    live = np.bincount(named[moves == pages.moves[named]], minlength=len(pages.entries))
    require(live == pages.entries, "the entries of a page are counted")
    require(pages.entries[pages.node != SLOW] == 0, "a folio on the fast tier has not been listed")
