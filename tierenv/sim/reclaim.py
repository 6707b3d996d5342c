"""kswapd of the fast node: a clock hand that demotes pages nobody touched since its last visit (design.md 3.3)."""

import math

from tierenv.counters import DEMOTED
from tierenv.sim.jit import njit, njit_inlined
from tierenv.sim.lumps import demote, free_pages, hazard_at, pages_in, resolve_fast, take
from tierenv.sim.state import FAST, HAND


@njit_inlined
def wake_kswapd(machine, time_s):
    """Wake kswapd if it sleeps and demotion is enabled."""
    state = machine.state
    if machine.parameters.demotion and not state.is_kswapd_awake:
        state.is_kswapd_awake = True
        state.kswapd_clock_s = max(state.kswapd_clock_s, time_s)


@njit
def reclaim(machine, until_s):
    """Run kswapd until its clock reaches `until_s` or it has freed enough and sleeps."""
    parameters = machine.parameters
    state = machine.state
    counts = machine.counts
    while state.is_kswapd_awake and state.kswapd_clock_s < until_s:
        needed = parameters.kswapd_target_pages - free_pages(machine)
        if needed <= 0 or state.fast_pages == 0:
            state.is_kswapd_awake = False
            return
        unvisited = pages_in(counts, HAND, FAST)
        if unvisited == 0:
            advance_hand(machine)
            continue
        lump = state.hand_lump
        hazard = hazard_at(machine, lump % parameters.num_classes, state.kswapd_clock_s)
        resolve_fast(machine, lump, hazard)
        cold = counts[HAND, FAST] + counts[HAND, FAST + 2]
        page_s = parameters.reclaim_visit_s + cold / unvisited * parameters.demotion_s
        # one page at least: the clock, not a budget, keeps the pace
        visits = min(unvisited, int((until_s - state.kswapd_clock_s) / page_s) + 1)
        if cold > 0:
            visits = min(visits, int(math.ceil(needed * unvisited / cold)))
        demoted = visit(machine, lump, visits, unvisited)
        state.kswapd_clock_s += visits * parameters.reclaim_visit_s + demoted * parameters.demotion_s
        if demoted > 0:
            demote(machine, lump, demoted, hazard)
            machine.counters[DEMOTED] += demoted


@njit_inlined
def advance_hand(machine):
    """Move the hand to the next lump with fast pages, all of them unvisited."""
    parameters = machine.parameters
    state = machine.state
    counts = machine.counts
    lumps = parameters.num_regions * parameters.num_classes
    for _ in range(lumps):
        state.hand_lump = (state.hand_lump + 1) % lumps
        if pages_in(counts, state.hand_lump, FAST) > 0:
            for cell in range(FAST, FAST + 4):
                counts[HAND, cell] = counts[state.hand_lump, cell]
                counts[state.hand_lump, cell] = 0
            return


@njit_inlined
def visit(machine, lump, visits, unvisited):
    """Let the hand look at some of its unvisited pages: a referenced one stays, the others leave. Returns those."""
    state = machine.state
    counts = machine.counts
    demoted = 0
    left = unvisited
    for cell in range(FAST, FAST + 4):
        available = counts[HAND, cell]
        seen = take(state, visits, available, left)
        left -= available
        visits -= seen
        counts[HAND, cell] -= seen
        if (cell - FAST) & 1:
            counts[lump, cell - 1] += seen
        else:
            demoted += seen
    return demoted
