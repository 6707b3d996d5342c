"""The page-by-page model's clock: accesses tick by tick, and the kernel's threads in the order of their clocks."""

import math

from tierenv.counters import FREE_PAGES
from tierenv.sim.application import access_time
from tierenv.sim.jit import njit, njit_inlined
from tierenv.sim.pages import flush, free_pages, migrate, reclaim, scan, schedule_chunk
from tierenv.sim.random import uniform
from tierenv.sim.state import CONTROL_OFF, CONTROL_TUNABLES
from tierenv.units import PAGE_BYTES

MAX_STALL_SHARE = 0.9
"""Share of a tick the application can lose to stalls; what is left of them it loses later."""


@njit_inlined
def begin_tick(pages, tick_s):
    """Set the rates for the next `tick_s` from the placement, the stalls and the copying of the last tick."""
    parameters = pages.parameters
    state = pages.state
    share = 0.0
    for page_class in range(parameters.num_classes):
        if pages.class_pages[page_class] > 0:
            is_fast = pages.fast_by_class[page_class] / pages.class_pages[page_class]
            share += pages.access_share[state.phase, page_class] * is_fast
    # a page whose move ended in a very short tick was copied in the ones before, too
    moved_per_s = min(state.moved_pages / tick_s, 1.0 / parameters.migration_s + 1.0 / parameters.demotion_s)
    state.moved_pages = 0
    stalled_s = min(state.stall_s, MAX_STALL_SHARE * tick_s)
    state.stall_s -= stalled_s
    running = 1.0 - stalled_s / tick_s
    access_s = access_time(parameters, min(1.0, share), moved_per_s * PAGE_BYTES)
    state.access_rate = running * parameters.threads / access_s
    for page_class in range(parameters.num_classes):
        if pages.class_pages[page_class] > 0:
            share = pages.access_share[state.phase, page_class]
            pages.hazard_rate[page_class] = share * state.access_rate / pages.class_pages[page_class]


@njit_inlined
def run_servers(pages, until_s):
    """Let scanner, migrator and kswapd act in the order of their clocks, all until `until_s`."""
    state = pages.state
    while True:
        migrator_s = min(until_s, state.migrator_clock_s)
        scanner_s = min(until_s, state.scanner_clock_s)
        kswapd_s = min(until_s, state.kswapd_clock_s) if state.is_kswapd_awake else until_s
        if min(migrator_s, scanner_s, kswapd_s) >= until_s:
            return
        # each may go on until it overtakes the next of the other two
        if scanner_s <= min(migrator_s, kswapd_s):
            scan(pages, until_s, min(migrator_s, kswapd_s))
        elif migrator_s <= kswapd_s:
            migrate(pages, until_s, min(scanner_s, kswapd_s))
        else:
            reclaim(pages, until_s, min(scanner_s, migrator_s))


@njit
def advance(pages, duration_s, tick_s):
    """Advance by `duration_s`, or until all work is done."""
    parameters = pages.parameters
    state = pages.state
    until_s = state.now_s + duration_s
    while not state.is_done and state.now_s < until_s:
        end_s = min(until_s, state.now_s + tick_s)
        begin_tick(pages, end_s - state.now_s)
        left = pages.phase_end[state.phase] - state.accesses
        is_phase_over = left <= state.access_rate * (end_s - state.now_s)
        if is_phase_over:
            end_s = state.now_s + left / state.access_rate
        run_servers(pages, end_s)
        span_s = end_s - state.now_s
        for page_class in range(parameters.num_classes):
            pages.hazard[page_class] += pages.hazard_rate[page_class] * span_s
        state.accesses = pages.phase_end[state.phase] if is_phase_over else state.accesses + state.access_rate * span_s
        state.now_s = end_s
        if is_phase_over and state.phase + 1 < parameters.num_phases:
            state.phase += 1
        elif is_phase_over:
            state.is_done = True
    pages.counters[FREE_PAGES] = free_pages(pages)


@njit
def start(pages):
    """Set the first chunk and the free pages of a machine whose pages, tunables and phases have just been laid out."""
    state = pages.state
    for page in range(pages.parameters.pages):
        pages.next_access[page] = -math.log(1.0 - uniform(state))
    schedule_chunk(pages)
    if pages.parameters.control == CONTROL_OFF:
        state.scanner_clock_s = math.inf
    pages.counters[FREE_PAGES] = free_pages(pages)


@njit
def apply(pages, period_ms, size_bytes, throttle_bytes_per_s):
    """Put tunables in force: the throttle at once, period and size from the next chunk that has not begun."""
    state = pages.state
    if pages.parameters.control != CONTROL_TUNABLES:
        return
    state.period_ms = period_ms
    state.size_bytes = size_bytes
    state.throttle_pages_per_s = throttle_bytes_per_s / PAGE_BYTES
    if state.throttle_pages_per_s == 0.0:
        flush(pages)
    if not state.is_scanning:
        schedule_chunk(pages)
