"""kmmmigrated: drains the migration list one folio at a time, then sleeps (kmmscand.md section 1 P4 and P5)."""

import math

from tierenv.counters import MIGRATE_FAILED, MIGRATED, MIGRATOR_NS
from tierenv.sim.jit import njit, njit_inlined
from tierenv.sim.lumps import free_pages, move, promote, ring_row
from tierenv.sim.random import binomial, round_randomly
from tierenv.sim.reclaim import wake_kswapd
from tierenv.sim.state import DUPLICATE, LISTED, LUMP, NEW, QUEUED, RECORDS, RETRY, SLOW


@njit
def drain(machine, until_s):
    """Run the migrator until its clock reaches `until_s`. A failed promotion that wakes kswapd ends the run early."""
    parameters = machine.parameters
    state = machine.state
    ring = machine.ring
    while state.migrator_clock_s < until_s:
        if state.list_head == state.list_tail:
            sleeps = math.floor((until_s - state.migrator_clock_s) / parameters.migrate_sleep_s) + 1
            state.migrator_clock_s += sleeps * parameters.migrate_sleep_s
            return
        record = ring_row(machine, state.list_head)
        if ring[record, LISTED] > 0:
            draw_live_retries(machine, record)
        if ring[record, NEW] == 0:
            drop_stale(machine, record, until_s)
        elif free_pages(machine) > parameters.watermark_pages:
            promote_some(machine, record, until_s)
        elif fail_some(machine, record, until_s):
            return
        if ring[record, NEW] + ring[record, DUPLICATE] == 0:
            finish_record(machine, record)


@njit_inlined
def draw_live_retries(machine, record):
    """Make live entries of the duplicates whose page failed before and still waits for another try.

    The duplicates of a record are a random subset of the pages that were listed when it was made, so each belongs to
    one of the lump's retry pages with probability retry / listed.
    """
    ring = machine.ring
    counts = machine.counts
    lump = ring[record, LUMP]
    if ring[record, DUPLICATE] > 0 and counts[lump, RETRY] > 0:
        chance = min(1.0, counts[lump, RETRY] / ring[record, LISTED])
        live = min(binomial(machine.state, ring[record, DUPLICATE], chance, 1.0 - chance), counts[lump, RETRY])
        ring[record, DUPLICATE] -= live
        ring[record, NEW] += live
        machine.state.list_new += live
        counts[lump, RETRY] -= live
        machine.state.retry_pages -= live
    ring[record, LISTED] = 0


@njit_inlined
def drop_stale(machine, record, until_s):
    """Take entries off the list whose page has moved: the folio they name is gone."""
    ring = machine.ring
    cost = machine.parameters.stale_entry_s
    entries = min(ring[record, DUPLICATE], int((until_s - machine.state.migrator_clock_s) / cost) + 1)
    account(machine, record, 0, entries, 0, entries * cost)


@njit_inlined
def promote_some(machine, record, until_s):
    """Promote pages of a record until the time is up, the tokens are spent or the fast node is at its watermark."""
    ring = machine.ring
    parameters = machine.parameters
    state = machine.state
    rate = state.throttle_pages_per_s
    start = state.migrator_clock_s
    pages = min(ring[record, NEW], free_pages(machine) - parameters.watermark_pages)
    is_throttled = rate < math.inf
    tokens = 0.0
    if is_throttled:
        burst = max(1.0, rate * parameters.throttle_burst_s)
        tokens = min(burst, state.tokens + rate * (start - state.tokens_at_s))
        affordable = int(tokens + rate * (until_s - start) + 1e-6)
        if affordable < 1:
            # sleeps until the next token, past `until_s` if need be: the clock is the migrator's own
            state.migrator_clock_s = start + (1.0 - tokens) / rate
            return
        pages = min(pages, affordable)
    stale_per_page = ring[record, DUPLICATE] / ring[record, NEW]
    page_s = parameters.migration_s + stale_per_page * parameters.stale_entry_s
    pages = min(pages, int((until_s - start) / page_s) + 1)
    stale = ring[record, DUPLICATE]
    if pages < ring[record, NEW]:
        stale = min(stale, round_randomly(state, pages * stale_per_page))
    promote(machine, ring[record, LUMP], pages, start)
    account(
        machine,
        record,
        pages,
        stale,
        pages,
        pages * parameters.migration_s + stale * parameters.stale_entry_s,
    )
    if is_throttled:
        state.migrator_clock_s = max(state.migrator_clock_s, start + (pages - tokens) / rate)
        state.tokens = tokens + rate * (state.migrator_clock_s - start) - pages
        state.tokens_at_s = state.migrator_clock_s


@njit_inlined
def fail_some(machine, record, until_s):
    """Try promotions the fast node has no room for. Returns whether that woke kswapd.

    A failed entry is dropped. Its page stays listed while later entries of the lump may name it.
    """
    ring = machine.ring
    parameters = machine.parameters
    state = machine.state
    cost = parameters.failed_migration_s
    wakes = parameters.demotion and not state.is_kswapd_awake
    if wakes:
        tries = 1
        wake_kswapd(machine, state.migrator_clock_s)
    else:
        tries = min(ring[record, NEW], int((until_s - state.migrator_clock_s) / cost) + 1)
    machine.counts[ring[record, LUMP], RETRY] += tries
    state.retry_pages += tries
    account(machine, record, tries, 0, 0, tries * cost)
    return wakes


@njit_inlined
def account(machine, record, new, stale, migrated, busy_s):
    """Take handled entries off a record and count them and the time they took."""
    ring = machine.ring
    ring[record, NEW] -= new
    ring[record, DUPLICATE] -= stale
    machine.state.list_entries -= new + stale
    machine.state.list_new -= new
    machine.state.migrator_clock_s += busy_s
    machine.counters[MIGRATED] += migrated
    machine.counters[MIGRATE_FAILED] += new + stale - migrated
    machine.counters[MIGRATOR_NS] += int(1e9 * busy_s)


@njit_inlined
def finish_record(machine, record):
    """Take an empty record off the list; without a later one, the lump's failed pages are no longer listed."""
    ring = machine.ring
    state = machine.state
    state.list_head += 1
    if ring[record, LUMP] >= 0:
        lump = ring[record, LUMP]
        machine.counts[lump, RECORDS] -= 1
        if machine.counts[lump, RECORDS] == 0 and machine.counts[lump, RETRY] > 0:
            unlist(machine, lump)
    if state.list_head == state.list_tail:
        # low rows of the ring stay in the processor's cache, and high ones need no memory
        state.list_head = 0
        state.list_tail = 0
        state.migrator_clock_s += machine.parameters.migrate_sleep_s


@njit_inlined
def unlist(machine, lump):
    """Make all listed pages of a lump unlisted; both places were last resolved at the same clock."""
    counts = machine.counts
    for cell in range(4):
        move(counts, lump, QUEUED + cell, SLOW + cell, counts[lump, QUEUED + cell])
    machine.state.retry_pages -= counts[lump, RETRY]
    counts[lump, RETRY] = 0


@njit
def flush_list(machine):
    """Drop every entry: what the daemon does when its throttle is set to 0."""
    state = machine.state
    if state.list_head == state.list_tail:
        return
    machine.counters[MIGRATE_FAILED] += state.list_entries
    for record in range(state.list_head, state.list_tail):
        lump = machine.ring[ring_row(machine, record), LUMP]
        if lump >= 0:
            machine.counts[lump, RECORDS] = 0
            unlist(machine, lump)
    state.list_head = 0
    state.list_tail = 0
    state.list_entries = 0
    state.list_new = 0
