// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The migrator: a thread that drains the list, moves its pages to a fast node of their process's,
 * and sleeps. Of every throttle window it has a budget of pages, none carried over; entries beyond
 * it are dropped, as a page that goes on to be touched is listed again.
 */
#include <linux/freezer.h>
#include <linux/highmem.h>
#include <linux/kthread.h>
#include <linux/memcontrol.h>
#include <linux/mempolicy.h>
#include <linux/migrate.h>
#include <linux/mmzone.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/wait.h>
#include "tierd.h"
#include "trace.h"

#define RUN_PAGES 64 /* neighbours moved under one hold of a mmap_lock */
#define TAKEN_ENTRIES 256 /* off the list at a time */
/*
 * Without direct reclaim, or the migrator would demote for itself; kswapd is woken where there is
 * no room.
 */
#define TARGET_GFP                                                                                 \
	((GFP_HIGHUSER_MOVABLE & ~__GFP_DIRECT_RECLAIM) | __GFP_THISNODE | __GFP_NORETRY |         \
	 __GFP_NOWARN | __GFP_NOMEMALLOC)

static struct task_struct *migrator;
static DECLARE_WAIT_QUEUE_HEAD(migrator_wait);
static unsigned long taken[TAKEN_ENTRIES];
static u64 window_end_ns;
static u64 window_promotions;
static u64 owed_ns; /* of sleep */

/* How many pages may still be promoted in the present throttle window. */
static u64 budget_left(void)
{
	u64 limit = READ_ONCE(tierd_in_force.throttle_bytes_per_s), now_ns = ktime_get_ns(), pages;

	if (now_ns >= window_end_ns) {
		window_end_ns = now_ns + TIERD_THROTTLE_WINDOW_MS * NSEC_PER_MSEC;
		window_promotions = 0;
	}
	if (limit == TIERD_UNLIMITED)
		return TAKEN_ENTRIES;
	if (!limit)
		return 0;
	pages = max(1ULL,
		    mul_u64_u32_div(limit >> PAGE_SHIFT, TIERD_THROTTLE_WINDOW_MS, MSEC_PER_SEC));
	return pages > window_promotions ? pages - window_promotions : 0;
}

static struct page *take_page(int node)
{
	return alloc_pages_node(node, TARGET_GFP, 0);
}

/* Whether the allocator takes pages of a zone without waking kswapd. */
static bool is_above_low(struct zone *zone)
{
	unsigned long least = low_wmark_pages(zone) + zone->lowmem_reserve[ZONE_MOVABLE] +
			      zone->nr_free_highatomic;

	return populated_zone(zone) && zone_page_state(zone, NR_FREE_PAGES) > least;
}

/* Whether a node has room for promotions; if not, its kswapd is woken. */
static bool has_room(int node)
{
	struct page *page;
	int i;

	for (i = 0; i < MAX_NR_ZONES; i++)
		if (is_above_low(&NODE_DATA(node)->node_zones[i]))
			return true;
	page = take_page(node); /* finds no zone above low and wakes kswapd, which modules cannot */
	if (page)
		__free_page(page);
	return false;
}

/* Whether a memory policy lets pages be moved to a node, as mpol_misplaced() has it. */
static bool allows(const struct mempolicy *policy, int node)
{
	return !policy || ((policy->flags & MPOL_F_MOF) && node_isset(node, policy->nodes));
}

/*
 * The fast node for pages of a mm: its target, or another one if its owner's cpuset leaves that
 * out, or NUMA_NO_NODE.
 */
static int allowed_target(struct mm_struct *mm, int node)
{
	struct task_struct *owner;
	nodemask_t allowed;

	rcu_read_lock();
	owner = rcu_dereference(mm->owner);
	if (owner) {
		task_lock(owner);
		nodes_and(allowed, owner->mems_allowed, tierd_fast_nodes);
		if (!node_isset(node, allowed))
			node = nodes_empty(allowed) ? NUMA_NO_NODE : first_node(allowed);
		if (node != NUMA_NO_NODE && !allows(owner->mempolicy, node))
			node = NUMA_NO_NODE;
		task_unlock(owner);
	}
	rcu_read_unlock();
	return node;
}

/* Whether a page has to be moved yet, under the mmap_lock: TIERD_PROMOTED, or why not. */
static enum tierd_result look(struct mm_struct *mm, unsigned long address)
{
	enum tierd_result result = TIERD_FOLIO_INVALID;
	struct folio *folio;
	spinlock_t *lock;
	pte_t *pte = tierd_lock_table(mm, address, &lock);

	if (!pte)
		return result;
	folio = tierd_promotable_folio(ptep_get(pte));
	if (folio)
		result = tierd_is_fast(folio_nid(folio)) ? TIERD_FAST_ALREADY : TIERD_PROMOTED;
	tierd_unlock_table(pte, lock);
	return result;
}

/*
 * A page on a node with what is in another one, which is locked and unmapped, or NULL.
 * migrate_vma_pages() stops the kernel if that is under writeback, as pages of the swap cache can
 * be.
 */
static struct page *copy_of(struct page *from, int node)
{
	struct folio *folio = page_folio(from);
	struct page *to;

	if (folio_test_writeback(folio) || folio_test_swapcache(folio) || PageHWPoison(from))
		return NULL;
	if (tierd_is_fast(page_to_nid(from)))
		return NULL;
	to = take_page(node);
	if (!to)
		return NULL;
	if (copy_mc_highpage(to, from)) { /* unreadable */
		__free_page(to);
		return NULL;
	}
	lock_page(to);
	return to;
}

/* Move neighbours of a mapping. Returns how many have moved. */
static u32 move_run(struct vm_area_struct *vma, unsigned long start, u32 pages, int node)
{
	unsigned long source[RUN_PAGES] = {}, target[RUN_PAGES] = {};
	struct migrate_vma move = {
		.vma = vma,
		.src = source,
		.dst = target,
		.start = start,
		.end = start + pages * PAGE_SIZE,
		.flags = MIGRATE_VMA_SELECT_SYSTEM,
	};
	struct page *from, *to;
	u32 i, moved = 0;

	if (migrate_vma_setup(&move))
		return 0;
	for (i = 0; i < pages; i++) {
		from = migrate_pfn_to_page(source[i]);
		if (!from || !(source[i] & MIGRATE_PFN_MIGRATE))
			continue;
		to = copy_of(from, node);
		if (to)
			target[i] = migrate_pfn(page_to_pfn(to));
	}
	migrate_vma_pages(&move);
	for (i = 0; i < pages; i++)
		moved += target[i] && (source[i] & MIGRATE_PFN_MIGRATE);
	migrate_vma_finalize(&move);
	return moved;
}

/*
 * Move the first of some pages with the neighbours that follow it, under the mmap_lock. Returns how
 * many have ended.
 */
static u32 move_some(struct tierd_process *process, const unsigned long *addresses, u32 count,
		     int node)
{
	struct mm_struct *mm = process->mm;
	struct vm_area_struct *vma = vma_lookup(mm, addresses[0]);
	enum tierd_result result = TIERD_FOLIO_INVALID;
	u32 pages = 1, moved;

	if (vma && tierd_is_eligible(vma) && allows(vma->vm_policy, node))
		result = look(mm, addresses[0]);
	if (result != TIERD_PROMOTED) {
		tierd_end_entries(process, result, node, 1);
		return 1;
	}
	while (pages < min_t(u32, count, RUN_PAGES) &&
	       addresses[pages] == addresses[pages - 1] + PAGE_SIZE &&
	       addresses[pages] < vma->vm_end && look(mm, addresses[pages]) == TIERD_PROMOTED)
		pages++;
	moved = has_room(node) ? move_run(vma, addresses[0], pages, node) : 0;
	tierd_end_entries(process, TIERD_PROMOTED, node, moved);
	tierd_end_entries(process, TIERD_NOT_PREPARED, node, pages - moved);
	window_promotions += moved;
	return pages;
}

/*
 * Move the first of some pages under one hold of their mmap_lock. Returns how many entries have
 * ended.
 */
static u32 move_under_lock(struct tierd_process *process, const unsigned long *addresses, u32 count)
{
	struct mm_struct *mm = process->mm;
	enum tierd_result result = TIERD_PROMOTED;
	u32 ended = count;
	int node;

	if (READ_ONCE(process->is_removed) || !mmget_not_zero(mm)) {
		tierd_end_entries(process, TIERD_MM_GONE, NUMA_NO_NODE, count);
		return count;
	}
	node = allowed_target(mm, READ_ONCE(process->target_node));
	if (!READ_ONCE(tierd_in_force.throttle_bytes_per_s))
		result = TIERD_THROTTLED;
	else if (node == NUMA_NO_NODE)
		result = TIERD_NOT_PREPARED;
	else if (!tierd_lock_mm(mm))
		result = TIERD_NO_LOCK;
	if (result == TIERD_PROMOTED) {
		ended = move_some(process, addresses, count, node);
		mmap_read_unlock(mm);
	} else {
		tierd_end_entries(process, result, node, count);
	}
	mmput_async(mm);
	return ended;
}

/* Move pages of one process, a run at a time. */
static void move(struct tierd_process *process, const unsigned long *addresses, u32 count)
{
	u64 began_ns, worked_ns;
	u32 ended = 0;

	while (ended < count) {
		began_ns = ktime_get_ns();
		ended += move_under_lock(process, addresses + ended, count - ended);
		worked_ns = ktime_get_ns() - began_ns;
		tierd_count(migrator_ns, worked_ns);
		tierd_pace(&owed_ns, worked_ns);
		cond_resched();
	}
}

/* Drain the list. */
static void drain(void)
{
	struct tierd_process *process;
	u64 budget;
	u32 count;

	while (!kthread_should_stop() && atomic64_read(&tierd_list_entries)) {
		budget = budget_left();
		if (!budget) {
			tierd_drop_list(TIERD_THROTTLED);
			return;
		}
		count = min_t(u64, budget, TAKEN_ENTRIES);
		process = tierd_delist(taken, &count);
		if (!process)
			return;
		move(process, taken, count);
		tierd_put(process);
	}
}

static int migrate(void *unused)
{
	set_freezable();
	while (!kthread_should_stop()) {
		drain();
		wait_event_freezable_timeout(migrator_wait, kthread_should_stop(),
					     msecs_to_jiffies(TIERD_MIGRATE_SLEEP_MS));
		wait_event_freezable(migrator_wait,
				     atomic64_read(&tierd_list_entries) || kthread_should_stop());
	}
	return 0;
}

void tierd_wake_migrator(void)
{
	wake_up(&migrator_wait);
}

int tierd_start_migrator(void)
{
	migrator = kthread_run(migrate, NULL, "tierd_migrate");
	return PTR_ERR_OR_ZERO(migrator);
}

void tierd_stop_migrator(void)
{
	kthread_stop(migrator);
	tierd_drop_list(TIERD_MM_GONE);
}
