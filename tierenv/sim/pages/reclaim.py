"""kswapd page by page: for each node of the fast tier a hand that ages the addresses, and one that evicts behind it."""

from tierenv.counters import DEMOTED
from tierenv.sim.jit import njit, njit_inlined
from tierenv.sim.pages.state import demote, test_and_clear_accessed
from tierenv.sim.rules import free_pages, page_aging_s, slow_room


@njit
def reclaim(pages, node, until_s, limit_s):
    """Let a node's kswapd look at its pages until its clock reaches `until_s` or passes `limit_s`, or it sleeps."""
    parameters = pages.parameters
    kswapd = pages.nodes[node]
    while kswapd.is_kswapd_awake and kswapd.kswapd_clock_s < until_s and kswapd.kswapd_clock_s <= limit_s:
        if free_pages(pages, node) >= kswapd.kswapd_target_pages or kswapd.fast_pages == 0 or slow_room(pages) <= 0:
            kswapd.is_kswapd_awake = False
            return
        while kswapd.aged_pages < kswapd.reclaim_lead * kswapd.fast_pages:
            page = next_page(pages, node, pages.aging_hands[node])
            pages.aging_hands[node] = (page + 1) % len(pages.node)
            note_access(pages, page, kswapd.kswapd_clock_s)
            pages.is_young[page] = False
            if not pages.is_aged[page]:
                pages.is_aged[page] = True
                kswapd.aged_pages += 1
            kswapd.kswapd_clock_s += page_aging_s(pages, node)
        page = next_page(pages, node, pages.hands[node])
        pages.hands[node] = (page + 1) % len(pages.node)
        if pages.is_aged[page]:
            pages.is_aged[page] = False
            kswapd.aged_pages -= 1
        note_access(pages, page, kswapd.kswapd_clock_s)
        kswapd.kswapd_clock_s += parameters.reclaim_visit_s
        if pages.is_young[page]:
            pages.is_young[page] = False
        else:
            demote(pages, page)
            kswapd.kswapd_clock_s += parameters.demotion_s
            pages.counters[DEMOTED] += 1


@njit_inlined
def next_page(pages, node, page):
    """The first page of a node from an address on; there must be one."""
    while pages.node[page] != node:
        page = (page + 1) % len(pages.node)
    return page


@njit_inlined
def note_access(pages, page, time_s):
    """Take a page's Accessed bit, and leave the access for the scanner to see."""
    if test_and_clear_accessed(pages, page, time_s):
        pages.is_idle[page] = False
        pages.is_young[page] = True
