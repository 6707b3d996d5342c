"""The migrator page by page: entries of the migration list in their order, one promotion at a time."""

from tierenv.counters import HOTPAGE, MIGRATE_FAILED, MIGRATED, MIGRATOR_NS
from tierenv.sim.jit import njit, njit_inlined
from tierenv.sim.pages.scanner import stop_draining
from tierenv.sim.pages.state import hazard_at, owner, promote
from tierenv.sim.rules import free_pages, throttle_budget, wake_kswapd


@njit
def migrate(pages, until_s, limit_s):
    """Let the migrator act until its clock reaches `until_s` or passes `limit_s`, or until a node had no room."""
    parameters = pages.parameters
    state = pages.state
    while state.migrator_clock_s < until_s and state.migrator_clock_s <= limit_s:
        if state.list_head == state.list_tail:
            state.migrator_clock_s += parameters.migrate_sleep_s
            continue
        row = state.list_head % len(pages.list_page)
        page = pages.list_page[row]
        if pages.list_moves[row] != pages.moves[page]:
            finish_entry(pages, page, parameters.stale_entry_s, False)
            continue
        pages.entries[page] -= 1
        node = pages.mms[owner(pages, page)].target_node
        if free_pages(pages, node) <= pages.nodes[node].watermark_pages:
            wake_kswapd(pages, node, state.migrator_clock_s)
            finish_entry(pages, page, parameters.failed_migration_s, False)
            return
        if not has_budget(pages) or not is_still_hot(pages, page):
            finish_entry(pages, page, parameters.stale_entry_s, False)
        else:
            promote(pages, page, node)
            state.window_promotions += 1
            finish_entry(pages, page, parameters.migration_s, True)


@njit_inlined
def has_budget(pages):
    """Whether the throttle's budget has a page left in the present window."""
    budget = throttle_budget(pages.parameters, pages.state)
    return pages.state.window_promotions + 1 <= budget


@njit_inlined
def is_still_hot(pages, page):
    """Whether somebody touched a page since the scanner's last visit, if the variant asks; leaves the Accessed bit."""
    if not pages.parameters.rechecks_hotness:
        return True
    has_bit = hazard_at(pages, page, pages.state.migrator_clock_s) >= pages.next_access[page]
    if pages.is_idle[page] and not has_bit:
        return False
    pages.counters[HOTPAGE] += 1
    return True


@njit_inlined
def finish_entry(pages, page, busy_s, is_success):
    """Take the first entry off the list; after the last one the migrator sleeps."""
    state = pages.state
    state.list_head += 1
    state.migrator_clock_s += busy_s
    pages.counters[MIGRATED if is_success else MIGRATE_FAILED] += 1
    pages.counters[MIGRATOR_NS] += round(1e9 * busy_s)
    if pages.parameters.failure_window > 0:
        assess_failures(pages, owner(pages, page), is_success)
    if state.list_head == state.list_tail:
        if pages.parameters.has_migration_thread:
            state.migrator_clock_s += pages.parameters.migrate_sleep_s
        else:
            stop_draining(pages, state.migrator_clock_s)


@njit
def assess_failures(pages, index, is_success):
    """Count how a migration of a process ended, and find the share of failures anew after so many (section 6.5)."""
    mm = pages.mms[index]
    if is_success:
        mm.recent_successes += 1
    else:
        mm.recent_failures += 1
    if mm.recent_successes + mm.recent_failures == pages.parameters.failure_window:
        mm.successes = mm.successes // 4 + mm.recent_successes
        mm.failures = mm.failures // 4 + mm.recent_failures
        mm.failure_percent = 100 * mm.failures // (mm.successes + mm.failures)
        mm.recent_successes = 0
        mm.recent_failures = 0


@njit
def flush(pages):
    """Drop every entry, as the daemon does when its throttle is set to 0."""
    state = pages.state
    pages.counters[MIGRATE_FAILED] += state.private_tail - state.list_head
    state.list_head = state.private_tail
    state.list_tail = state.private_tail
    pages.entries[:] = 0
    if state.is_draining:
        stop_draining(pages, state.now_s)
