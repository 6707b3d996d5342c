"""kswapd page by page: a clock hand over the addresses for each node of the fast tier."""

from tierenv.counters import DEMOTED
from tierenv.sim.jit import njit
from tierenv.sim.pages.state import demote, test_and_clear_accessed
from tierenv.sim.rules import free_pages


@njit
def reclaim(pages, node, until_s, limit_s):
    """Let a node's kswapd look at its pages until its clock reaches `until_s` or passes `limit_s`, or it sleeps."""
    parameters = pages.parameters
    kswapd = pages.nodes[node]
    while kswapd.is_kswapd_awake and kswapd.kswapd_clock_s < until_s and kswapd.kswapd_clock_s <= limit_s:
        if free_pages(pages, node) >= kswapd.kswapd_target_pages or kswapd.fast_pages == 0:
            kswapd.is_kswapd_awake = False
            return
        page = pages.hands[node]
        while pages.node[page] != node:
            page = (page + 1) % len(pages.node)
        pages.hands[node] = (page + 1) % len(pages.node)
        if test_and_clear_accessed(pages, page, kswapd.kswapd_clock_s):
            pages.is_idle[page] = False  # leaves the access for the scanner to see
            pages.is_young[page] = True
        kswapd.kswapd_clock_s += parameters.reclaim_visit_s
        if pages.is_young[page]:
            pages.is_young[page] = False
        else:
            demote(pages, page)
            kswapd.kswapd_clock_s += parameters.demotion_s
            pages.counters[DEMOTED] += 1
