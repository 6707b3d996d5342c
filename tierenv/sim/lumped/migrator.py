"""kmmmigrated: drains the migration list one folio at a time, then sleeps (kmmscand.md section 1 P4 and P5)."""

import math

import numpy as np

from tierenv.counters import HOTPAGE, MIGRATE_FAILED, MIGRATED, MIGRATOR_NS
from tierenv.sim.jit import njit, njit_inlined
from tierenv.sim.lumped.lumps import (
    end_of_region,
    hazard_at,
    move,
    pages_in,
    process_of,
    promote,
    resolve_slow,
    ring_row,
    take,
)
from tierenv.sim.lumped.state import (
    CLASS,
    DUPLICATE,
    LISTED,
    LUMP,
    MOVED,
    NEW,
    QUEUED,
    RECORDS,
    RETRY,
    SLOW,
)
from tierenv.sim.lumped.streaks import has_streaks, unlist_streaks
from tierenv.sim.lumped.trace import (
    RC_FOLIO_INVALID,
    RC_MM_GONE,
    RC_PREPARE_FAILED,
    RC_SUCCESS,
    RC_THROTTLED,
    trace_migrate,
)
from tierenv.sim.random import binomial, hypergeometric, round_randomly
from tierenv.sim.rules import free_pages, throttle_budget, wake_kswapd

UNLIMITED = 1 << 40
"""More pages than any budget."""
REMEMBERED_WINDOWS = 6
"""Windows of the failure feedback after which the first counts for less than a thousandth."""


@njit
def drain(machine, until_s):
    """Run the migrator until its clock reaches `until_s`. A failed promotion that wakes kswapd ends the run early.

    The list's pages go to the node that the last chunk of their process chose. MODEL: the migrator never fails to get
    the lock of a process, for which V1 would send its pages to the sysfs node, and per-process lists (V2, V3) are one
    list in the order of listing.
    """
    parameters = machine.parameters
    state = machine.state
    ring = machine.ring
    while state.migrator_clock_s < until_s:
        if state.list_head == state.list_tail:
            sleep_s = parameters.migrate_sleep_s
            if parameters.has_migration_thread:
                state.migrator_clock_s += (math.floor((until_s - state.migrator_clock_s) / sleep_s) + 1) * sleep_s
            else:
                state.migrator_clock_s = until_s
            return
        record = ring_row(machine, state.list_head)
        settle_entries(machine, record)
        if ring[record, NEW] == 0:
            drop_stale(machine, record, until_s)
        else:
            node = machine.mms[owner(machine, record)].target_node
            if free_pages(machine, node) > machine.nodes[node].watermark_pages:
                budget = budget_left(machine, node)
                if budget > 0:
                    if budget < UNLIMITED and ration(machine, budget):
                        continue
                    promote_some(machine, record, node, until_s, budget)
                else:
                    limit_s = min(until_s, state.window_end_s)
                    drop_some(machine, record, node, limit_s, parameters.stale_entry_s, RC_THROTTLED)
            elif fail_some(machine, record, node, until_s):
                return
        if ring[record, NEW] + ring[record, DUPLICATE] == 0:
            finish_record(machine, record)


@njit_inlined
def owner(machine, record):
    """The process whose pages a record names."""
    lump = machine.ring[record, LUMP]
    return process_of(machine, lump) if lump >= 0 else np.int64(-1 - lump)


@njit_inlined
def settle_entries(machine, record):
    """Find out which entries of a record name a page that has moved, and which duplicates one that has not."""
    ring = machine.ring
    if machine.parameters.numa_mode > 0 and ring[record, NEW] > 0 and machine.counts[ring[record, LUMP], MOVED] > 0:
        settle_moved(machine, record)
    if ring[record, LISTED] > 0:
        settle_retries(machine, record)


@njit_inlined
def settle_moved(machine, record):
    """Make stale entries of the new ones whose page NUMA balancing has moved, this record's share of its lump's."""
    ring = machine.ring
    counts = machine.counts
    lump = ring[record, LUMP]
    pending = pages_in(counts, lump, QUEUED) - counts[lump, RETRY] + counts[lump, MOVED]
    moved = take(machine.state, ring[record, NEW], counts[lump, MOVED], pending)
    counts[lump, MOVED] -= moved
    ring[record, NEW] -= moved
    ring[record, DUPLICATE] += moved
    machine.state.list_new -= moved


@njit_inlined
def settle_retries(machine, record):
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
    """Take entries off the list whose page has moved or whose process has exited: the folio they name is gone."""
    index = owner(machine, record)
    cost = machine.parameters.stale_entry_s
    entries = min(machine.ring[record, DUPLICATE], int((until_s - machine.state.migrator_clock_s) / cost) + 1)
    rc = RC_FOLIO_INVALID if machine.processes[index].is_running else RC_MM_GONE
    trace_migrate(machine, index, rc, machine.mms[index].target_node, entries)
    account(machine, record, 0, entries, 0, entries * cost)


@njit_inlined
def budget_left(machine, node):
    """Pages the migrator may promote to a node before it has to drop entries for good.

    Without demotion the free pages are all there will be.
    """
    parameters = machine.parameters
    state = machine.state
    room = UNLIMITED if parameters.demotion else free_pages(machine, node) - machine.nodes[node].watermark_pages
    budget = throttle_budget(parameters, state)
    if budget == math.inf:
        return np.int64(room)
    return min(np.int64(budget) - state.window_promotions, room)


@njit
def ration(machine, budget):
    """Give each class of the region at the head of the list its share of a budget too small for all of them.

    The classes of a region have records of their own, but their pages are neighbours: those the budget promotes are a
    random part of them all. They get new records at the head of the list. Returns whether that was so.
    """
    ring = machine.ring
    state = machine.state
    head = state.list_head
    first = ring[ring_row(machine, head), LUMP]
    end = end_of_region(machine, first)
    records = 0
    total = 0
    previous = first - 1
    while head + records < state.list_tail:
        record = ring_row(machine, head + records)
        lump = ring[record, LUMP]
        # within a scan the records of a region stand in the order of its classes
        if lump <= previous or lump >= end:
            break
        settle_entries(machine, record)
        total += ring[record, NEW]
        records += 1
        previous = lump
    if records < 2 or total <= budget or state.list_tail - head + records > ring.shape[0]:
        return False
    state.list_head -= records
    wanted = budget
    for index in range(records):
        record = ring_row(machine, head + index)
        share = ring_row(machine, state.list_head + index)
        new = ring[record, NEW]
        pages = hypergeometric(state, wanted, new, total)
        stale = round_randomly(state, ring[record, DUPLICATE] * pages / new) if new > 0 else 0
        wanted -= pages
        total -= new
        ring[share, NEW] = pages
        ring[share, DUPLICATE] = stale
        ring[share, LISTED] = 0
        ring[share, LUMP] = ring[record, LUMP]
        ring[record, NEW] -= pages
        ring[record, DUPLICATE] -= stale
        machine.counts[ring[record, LUMP], RECORDS] += 1
    return True


@njit_inlined
def promote_some(machine, record, node, until_s, budget):
    """Promote pages of a record until the time is up, the budget spent or the node at its watermark."""
    ring = machine.ring
    parameters = machine.parameters
    state = machine.state
    start = state.migrator_clock_s
    stale_per_page = ring[record, DUPLICATE] / ring[record, NEW]
    page_s = parameters.migration_s + stale_per_page * parameters.stale_entry_s
    pages = min(ring[record, NEW], free_pages(machine, node) - machine.nodes[node].watermark_pages)
    pages = min(pages, min(budget, int((until_s - start) / page_s) + 1))
    lump = ring[record, LUMP]
    index = process_of(machine, lump)
    hot = pages
    if parameters.rechecks_hotness:
        hot = recheck(machine, lump, pages)
        trace_migrate(machine, index, RC_FOLIO_INVALID, node, pages - hot)
        unlist_untouched(machine, lump, pages - hot)
    stale = ring[record, DUPLICATE]
    if pages < ring[record, NEW]:
        stale = min(stale, round_randomly(state, pages * stale_per_page))
    state.window_promotions += hot
    if hot > 0:
        promote(machine, lump, node, hot, start, parameters.rechecks_hotness)
    trace_migrate(machine, index, RC_SUCCESS, node, hot)
    trace_migrate(machine, index, RC_FOLIO_INVALID, node, stale)
    busy_s = hot * parameters.migration_s + (pages - hot + stale) * parameters.stale_entry_s
    account(machine, record, pages, stale, hot, busy_s)


@njit_inlined
def recheck(machine, lump, pages):
    """V3: of some listed pages those that somebody has touched since the visit that listed them."""
    counts = machine.counts
    hazard = hazard_at(machine, counts[lump, CLASS], machine.state.migrator_clock_s)
    resolve_slow(machine, lump, hazard)
    touched = counts[lump, QUEUED + 1] + counts[lump, QUEUED + 3]
    hot = hypergeometric(machine.state, pages, touched, pages_in(counts, lump, QUEUED))
    machine.counters[HOTPAGE] += hot
    return hot


@njit_inlined
def unlist_untouched(machine, lump, pages):
    """Drop the entries of pages that failed the re-check. MODEL: later entries of such a page are stale."""
    counts = machine.counts
    idle = take(machine.state, pages, counts[lump, QUEUED], counts[lump, QUEUED] + counts[lump, QUEUED + 2])
    if has_streaks(machine):
        unlist_streaks(machine, lump, pages - idle)
    move(counts, lump, QUEUED, SLOW, idle)
    move(counts, lump, QUEUED + 2, SLOW + 2, pages - idle)


@njit_inlined
def list_retries(machine, lump, pages):
    """Let pages whose entry is dropped stay listed as long as later entries of the lump may name them."""
    machine.counts[lump, RETRY] += pages
    machine.state.retry_pages += pages


@njit_inlined
def fail_some(machine, record, node, until_s):
    """Try promotions the node has no room for. Returns whether that woke its kswapd.

    On a node so small that kswapd's target is no page above the watermark it would go back to sleep at once.
    """
    state = machine.state
    wakes = machine.parameters.demotion and not machine.nodes[node].is_kswapd_awake
    wakes &= free_pages(machine, node) < machine.nodes[node].kswapd_target_pages
    if wakes:
        wake_kswapd(machine, node, state.migrator_clock_s)
    limit_s = state.migrator_clock_s if wakes else until_s
    drop_some(machine, record, node, limit_s, machine.parameters.failed_migration_s, RC_PREPARE_FAILED)
    return wakes


@njit_inlined
def drop_some(machine, record, node, until_s, entry_s, rc):
    """Drop entries, one at least, without a promotion until the time is up."""
    lump = machine.ring[record, LUMP]
    entries = int(max(0.0, until_s - machine.state.migrator_clock_s) / entry_s) + 1
    entries = min(machine.ring[record, NEW], entries)
    list_retries(machine, lump, entries)
    trace_migrate(machine, process_of(machine, lump), rc, node, entries)
    account(machine, record, entries, 0, 0, entries * entry_s)


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
    if machine.parameters.failure_window > 0:
        note_outcomes(machine.parameters, machine.mms[owner(machine, record)], migrated, new + stale - migrated)


@njit_inlined
def note_outcomes(parameters, mm, successes, failures):
    """V3's failure feedback: after each window of migrations the share that failed, older windows counting a quarter.

    Entries that end together fill windows of equal shares, of which only the last few leave a trace.
    """
    mm.recent_successes += successes
    mm.recent_failures += failures
    recent = mm.recent_successes + mm.recent_failures
    windows = recent // parameters.failure_window
    if windows == 0:
        return
    share = mm.recent_failures / recent
    for _ in range(min(windows, REMEMBERED_WINDOWS)):
        failed = np.int64(share * parameters.failure_window)
        mm.successes = mm.successes // 4 + parameters.failure_window - failed
        mm.failures = mm.failures // 4 + failed
    mm.failure_percent = 100 * mm.failures // (mm.successes + mm.failures)
    left = recent - windows * parameters.failure_window
    mm.recent_failures = np.int64(share * left)
    mm.recent_successes = left - mm.recent_failures


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
        if machine.parameters.has_migration_thread:
            state.migrator_clock_s += machine.parameters.migrate_sleep_s
        else:
            state.drained_s = state.migrator_clock_s


@njit_inlined
def unlist(machine, lump):
    """Make all listed pages of a lump unlisted; both places were last resolved at the same clock."""
    counts = machine.counts
    if has_streaks(machine):
        unlist_streaks(machine, lump, counts[lump, QUEUED + 2] + counts[lump, QUEUED + 3])
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
            machine.counts[lump, MOVED] = 0
            unlist(machine, lump)
    state.list_head = 0
    state.list_tail = 0
    state.list_entries = 0
    state.list_new = 0


@njit
def invalidate_entries(machine, index):
    """Make the entries of a process's classes that are not resident stale (kmmscand.md section 1 P4).

    The teardown of a process walks the list and invalidates them; the folios of single classes are gone with them.
    """
    state = machine.state
    ring = machine.ring
    for number in range(state.list_head, state.list_tail):
        record = ring_row(machine, number)
        lump = ring[record, LUMP]
        if lump >= 0 and not machine.classes[machine.counts[lump, CLASS]].is_resident:
            state.list_new -= ring[record, NEW]
            ring[record, DUPLICATE] += ring[record, NEW]
            ring[record, NEW] = 0
            ring[record, LISTED] = 0
    mm = machine.mms[index]
    for lump in range(machine.regions[mm.first_region].first_lump, machine.regions[mm.end_region - 1].end_lump):
        if not machine.classes[machine.counts[lump, CLASS]].is_resident:
            state.retry_pages -= machine.counts[lump, RETRY]
            machine.counts[lump, RETRY] = 0
            machine.counts[lump, MOVED] = 0
