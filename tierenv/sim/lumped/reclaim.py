"""kswapd of a node: pages age, and those that nobody touched since then are demoted (docs/model.md).

Aging walks page tables and clears Accessed bits ahead of eviction, which looks at the oldest pages one by one and keeps
those touched since. Both go round the node's pages as hands of a clock, the first ahead by the older half of the
generations (multi-generational LRU) or by the inactive list. What is touched less often than a page takes from one hand
to the other is not told from what is cold: the harder reclaim works, the warmer the pages it demotes.
"""

import math

from tierenv.counters import DEMOTED
from tierenv.sim.jit import njit, njit_inlined
from tierenv.sim.lumped.lumps import (
    demote,
    fast_place,
    hazard_at,
    move,
    pages_in,
    resolve_fast,
    take,
)
from tierenv.sim.lumped.state import CLASS
from tierenv.sim.rules import free_pages, page_aging_s, slow_room


@njit
def reclaim(machine, index, until_s):
    """Run a node's kswapd until its clock reaches `until_s` or it has freed enough and sleeps."""
    parameters = machine.parameters
    counts = machine.counts
    node = machine.nodes[index]
    place = fast_place(index)
    while node.is_kswapd_awake and node.kswapd_clock_s < until_s:
        needed = min(node.kswapd_target_pages - free_pages(machine, index), slow_room(machine))
        if needed <= 0 or node.fast_pages == 0:
            node.is_kswapd_awake = False
            return
        unvisited = pages_in(counts, node.hand_row, place)
        if unvisited == 0:
            age(machine, index)
            advance_hand(machine, index)
            continue
        lump = node.hand_lump
        hazard = hazard_at(machine, counts[lump, CLASS], node.kswapd_clock_s)
        resolve_fast(machine, lump, hazard)
        cold = counts[node.hand_row, place] + counts[node.hand_row, place + 2]
        page_s = parameters.reclaim_visit_s + cold / unvisited * parameters.demotion_s
        # one page at least: the clock, not a budget, keeps the pace
        visits = min(unvisited, int((until_s - node.kswapd_clock_s) / page_s) + 1)
        if cold > 0:
            visits = min(visits, int(math.ceil(needed * unvisited / cold)))
        demoted = visit(machine, index, visits, unvisited, needed)
        node.kswapd_clock_s += visits * parameters.reclaim_visit_s + demoted * parameters.demotion_s
        if demoted > 0:
            demote(machine, lump, index, demoted, hazard)
            machine.counters[DEMOTED] += demoted


@njit_inlined
def age(machine, index):
    """Forget which pages were touched, lump by lump, as far ahead of the hand as kswapd wants to be."""
    parameters = machine.parameters
    node = machine.nodes[index]
    counts = machine.counts
    place = fast_place(index)
    lumps = machine.regions[parameters.num_regions - 1].end_lump
    while node.aged_pages < node.reclaim_lead * node.fast_pages:
        lump = node.aging_lump + 1
        if lump == lumps:
            lump = 0
        if lump == node.hand_lump:
            return  # all of them are
        node.aging_lump = lump
        pages = pages_in(counts, lump, place)
        if pages > 0:
            resolve_fast(machine, lump, hazard_at(machine, counts[lump, CLASS], node.kswapd_clock_s))
            for cell in (place, place + 2):
                move(counts, lump, cell + 1, cell, counts[lump, cell + 1])
            machine.aged[lump, index] = pages
            node.aged_pages += pages
            node.kswapd_clock_s += pages * page_aging_s(machine, index)


@njit_inlined
def advance_hand(machine, index):
    """Move a node's hand to the next lump with pages there, all of them unvisited."""
    node = machine.nodes[index]
    counts = machine.counts
    place = fast_place(index)
    lumps = machine.regions[machine.parameters.num_regions - 1].end_lump
    lump = node.hand_lump
    for _ in range(lumps):
        lump += 1
        if lump == lumps:
            lump = 0
        if pages_in(counts, lump, place) > 0:
            break
    node.aged_pages -= machine.aged[lump, index]
    machine.aged[lump, index] = 0
    if node.aged_pages == 0:
        node.aging_lump = lump  # the hand has caught up
    node.hand_lump = lump
    for cell in range(place, place + 4):
        counts[node.hand_row, cell] = counts[lump, cell]
        counts[lump, cell] = 0


@njit_inlined
def visit(machine, index, visits, unvisited, needed):
    """Let a hand look at some of its unvisited pages: a referenced one stays, the others leave. Returns those.

    It stops at the last one that is needed, where rounding would have it go on to another.
    """
    node = machine.nodes[index]
    counts = machine.counts
    place = fast_place(index)
    demoted = 0
    left = unvisited
    for cell in range(place, place + 4):
        available = counts[node.hand_row, cell]
        seen = take(machine.state, visits, available, left)
        left -= available
        visits -= seen
        if (cell - place) & 1 == 0:
            seen = min(seen, needed - demoted)
        counts[node.hand_row, cell] -= seen
        if (cell - place) & 1:
            counts[node.hand_lump, cell - 1] += seen
        else:
            demoted += seen
    return demoted
