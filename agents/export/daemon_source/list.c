// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The migration list: addresses in the order in which they were found hot, duplicates not looked
 * for.
 */
#include <linux/spinlock.h>
#include <linux/string.h>
#include "tierd.h"
#include "trace.h"

#define BATCH_ENTRIES ((PAGE_SIZE - 32) / sizeof(unsigned long))

/* Entries of one process; a page of memory. */
struct batch {
	struct list_head node;
	struct tierd_process *process;
	u32 first; /* entries before it are gone */
	u32 end;
	unsigned long addresses[BATCH_ENTRIES];
};

static_assert(sizeof(struct batch) == PAGE_SIZE);

static DEFINE_SPINLOCK(list_lock);
static LIST_HEAD(batches);
atomic64_t tierd_list_entries = ATOMIC64_INIT(0);

/* Count entries that have ended, whose process may have exited. */
void tierd_end_entries(struct tierd_process *process, enum tierd_result result, int node, u32 count)
{
	if (!count)
		return;
	if (result == TIERD_PROMOTED)
		tierd_count(nr_kmmscand_migrated, count);
	else
		tierd_count(nr_kmmscand_migrate_failed, count);
	trace_kmem_scan_mm_migrate(process->pid, result, node, count);
}

/* Append to the last batch, under the lock. Returns how many addresses it took. */
static u32 append(struct tierd_process *process, const unsigned long *addresses, u32 count)
{
	struct batch *last;

	if (list_empty(&batches))
		return 0;
	last = list_last_entry(&batches, struct batch, node);
	if (last->process != process)
		return 0;
	count = min_t(u32, count, BATCH_ENTRIES - last->end);
	memcpy(last->addresses + last->end, addresses, count * sizeof(*addresses));
	last->end += count;
	atomic64_add(count, &tierd_list_entries);
	return count;
}

/**
 * tierd_enlist() - append pages of a process
 * @process: whose they are
 * @addresses: of the pages
 * @count: of these
 *
 * Returns: how many were listed; what finds no memory, for which nobody waits, is lost.
 */
u32 tierd_enlist(struct tierd_process *process, const unsigned long *addresses, u32 count)
{
	struct batch *fresh;
	u32 listed = 0;

	for (;;) {
		spin_lock(&list_lock);
		listed += append(process, addresses + listed, count - listed);
		spin_unlock(&list_lock);
		if (listed == count)
			break;
		fresh = tierd_alloc(sizeof(*fresh), 0, GFP_NOWAIT);
		if (!fresh) {
			tierd_count(lost_entries, count - listed);
			break;
		}
		kref_get(&process->references);
		fresh->process = process;
		spin_lock(&list_lock);
		list_add_tail(&fresh->node, &batches);
		spin_unlock(&list_lock);
	}
	tierd_count(nr_kmmscand_migadded, listed);
	if (listed)
		tierd_wake_migrator();
	return listed;
}

static void free_batch(struct batch *batch)
{
	tierd_put(batch->process);
	tierd_free(batch, sizeof(*batch), 0);
}

/**
 * tierd_delist() - take the first entries off the list, all of one process
 * @addresses: where they go
 * @count: how many there is room for; then, how many there are
 *
 * Returns: their process, to be put by the caller, or NULL if the list is empty.
 */
struct tierd_process *tierd_delist(unsigned long *addresses, u32 *count)
{
	struct tierd_process *process = NULL;
	struct batch *first, *used_up = NULL;

	spin_lock(&list_lock);
	first = list_first_entry_or_null(&batches, struct batch, node);
	if (first) {
		process = first->process;
		kref_get(&process->references);
		*count = min(*count, first->end - first->first);
		memcpy(addresses, first->addresses + first->first, *count * sizeof(*addresses));
		first->first += *count;
		atomic64_sub(*count, &tierd_list_entries);
		if (first->first == first->end) {
			list_del(&first->node);
			used_up = first;
		}
	}
	spin_unlock(&list_lock);
	if (used_up)
		free_batch(used_up);
	return process;
}

/* End all entries without a move. */
void tierd_drop_list(enum tierd_result result)
{
	struct batch *batch, *next;
	LIST_HEAD(dropped);

	spin_lock(&list_lock);
	list_splice_init(&batches, &dropped);
	atomic64_set(&tierd_list_entries, 0); /* which changes under the lock only */
	spin_unlock(&list_lock);
	list_for_each_entry_safe(batch, next, &dropped, node) {
		tierd_end_entries(batch->process, result, NUMA_NO_NODE, batch->end - batch->first);
		free_batch(batch);
		cond_resched();
	}
}
