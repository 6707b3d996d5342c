// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The scanner: a thread that visits the pages of registered processes in turn, clears their
 * Accessed bits, and lists pages on slow nodes that were touched in two windows in a row. What was
 * touched before the first visit was touched nobody knows when, so that this one only resets.
 */
#include <linux/freezer.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/mempolicy.h>
#include <linux/oom.h>
#include <linux/page_idle.h>
#include <linux/sched/mm.h>
#include <linux/wait.h>
#include <asm/tlbflush.h>
#include "tierd.h"
#include "trace.h"

#define SKIPPED_AT_ONCE 64 /* mappings and holes in them, under one hold of a mmap_lock */
#define ADOPTION_MS 1000 /* between two looks for processes to adopt */
#define NOBODY_MS 3600000 /* no reason to wake up but that somebody does it */
#define LOOK_NS (TIERD_SCAN_SLEEP_MS * NSEC_PER_MSEC)

static struct task_struct *scanner;
static DECLARE_WAIT_QUEUE_HEAD(scanner_wait);
static bool is_woken;
static u64 owed_ns; /* of sleep */

/* What one chunk comes to. */
struct chunk {
	struct tierd_process *process;
	unsigned long left_pages; /* of the scan size */
	unsigned long mapping; /* the last one walked */
	u64 useful_pages;
	u32 fast_pages[MAX_NUMNODES]; /* visited, by node */
	bool is_started; /* whether any part of a mapping was walked */
	bool is_pass_over; /* whether it has come to the end of the address space */
	bool is_given_up; /* whether it ended for want of a lock, before it should */
	bool knows_heat; /* whether it can have found what there is to find */
};

static struct chunk chunk; /* too large for a stack */
static unsigned long found[PTRS_PER_PTE];

/*
 * Whether pages of a mapping may be moved by anybody but their owner: as for NUMA balancing, by its
 * memory policy.
 */
bool tierd_is_eligible(struct vm_area_struct *vma)
{
	if (!vma_is_anonymous(vma) || !vma_is_accessible(vma))
		return false;
	if (vma->vm_flags & (VM_SPECIAL | VM_HUGETLB | VM_LOCKED))
		return false;
	return !vma->vm_policy || (vma->vm_policy->flags & MPOL_F_MOF);
}

/* The folio of a page that may be promoted, or NULL. */
struct folio *tierd_promotable_folio(pte_t pte)
{
	struct folio *folio;

	if (!pte_present(pte) || pte_special(pte) || pte_devmap(pte) || !pfn_valid(pte_pfn(pte)))
		return NULL;
	folio = page_folio(pte_page(pte));
	if (!folio_test_anon(folio) || folio_test_large(folio) || folio_test_ksm(folio))
		return NULL;
	if (!folio_test_lru(folio) || folio_test_unevictable(folio) ||
	    folio_likely_mapped_shared(folio))
		return NULL;
	/* the kernel would not move the first, and the migrator refuses the other */
	if (folio_maybe_dma_pinned(folio) || folio_test_swapcache(folio))
		return NULL;
	return folio;
}

/* The entry of the table of page tables that an address has, under the mmap_lock, or NULL. */
static pmd_t *find_pmd(struct mm_struct *mm, unsigned long address)
{
	pgd_t *pgd = pgd_offset(mm, address);
	p4d_t *p4d;
	pud_t *pud;

	if (pgd_none(*pgd) || pgd_bad(*pgd))
		return NULL;
	p4d = p4d_offset(pgd, address);
	if (p4d_none(*p4d) || p4d_bad(*p4d))
		return NULL;
	pud = pud_offset(p4d, address);
	if (pud_none(*pud) || pud_leaf(*pud) || pud_bad(*pud))
		return NULL;
	return pmd_offset(pud, address);
}

/**
 * tierd_lock_table() - map and lock the page table of an address
 * @mm: of whose mmap_lock the caller holds at least a read lock
 * @address: of a page
 * @lock: that of the table, for tierd_unlock_table()
 *
 * What pte_offset_map_lock() does, which modules cannot call: the table may be freed or replaced by
 * a huge page until its lock is held, and is freed under RCU.
 *
 * Returns: the entry of the page, or NULL where there is no page table.
 */
pte_t *tierd_lock_table(struct mm_struct *mm, unsigned long address, spinlock_t **lock)
{
	pmd_t *pmd = find_pmd(mm, address);

	if (!pmd)
		return NULL;
	for (;;) {
		pmd_t value;
		pte_t *pte;

		rcu_read_lock();
		value = pmdp_get_lockless(pmd);
		if (pmd_none(value) || !pmd_present(value) || pmd_leaf(value) || pmd_bad(value)) {
			rcu_read_unlock();
			return NULL;
		}
		pte = pte_offset_kernel(&value, address);
		*lock = pte_lockptr(mm, &value);
		spin_lock(*lock);
		if (likely(pmd_same(value, pmdp_get_lockless(pmd)))) {
			__release(*lock); /* for sparse: the caller has what it cannot follow */
			__release(RCU);
			return pte;
		}
		spin_unlock(*lock);
		rcu_read_unlock();
	}
}

void tierd_unlock_table(pte_t *pte, spinlock_t *lock)
{
	__acquire(lock);
	__acquire(RCU);
	spin_unlock(lock);
	rcu_read_unlock();
}

/* Memory of the index for a table: a node, if the table is alone in it. */
static size_t index_bytes(struct xarray *tables, unsigned long number)
{
	unsigned long first = round_down(number, XA_CHUNK_SIZE);

	if (xa_find(tables, &first, number | XA_CHUNK_MASK, XA_PRESENT))
		return 0;
	return sizeof(struct xa_node);
}

/* Take a table off its index, and free it. */
void tierd_free_table(struct xarray *tables, unsigned long number, struct tierd_table *table)
{
	xa_erase(tables, number);
	tierd_free(table, sizeof(*table), index_bytes(tables, number));
}

/*
 * What is remembered of a page table, made at the first visit, or NULL for want of memory, for
 * which nobody waits.
 */
static struct tierd_table *memory_of(struct tierd_process *process, unsigned long address)
{
	unsigned long number = address >> PMD_SHIFT;
	struct tierd_table *table = xa_load(&process->tables, number);
	size_t beside;

	if (!table) {
		beside = index_bytes(&process->tables, number);
		table = tierd_alloc(sizeof(*table), beside, GFP_NOWAIT);
		if (!table)
			return NULL;
		if (xa_err(xa_store(&process->tables, number, table, GFP_NOWAIT | __GFP_NOWARN))) {
			tierd_free(table, sizeof(*table), beside);
			return NULL;
		}
	}
	xa_set_mark(&process->tables, number, XA_MARK_0); /* met in this pass */
	return table;
}

/* Forget page tables that the pass that ends has not met: what was mapped there is not any more. */
static void forget_unmet_tables(struct tierd_process *process)
{
	struct tierd_table *table;
	unsigned long index;

	xa_for_each(&process->tables, index, table) {
		if (xa_get_mark(&process->tables, index, XA_MARK_0))
			xa_clear_mark(&process->tables, index, XA_MARK_0);
		else
			tierd_free_table(&process->tables, index, table);
		cond_resched();
	}
}

/* As ptep_test_and_clear_young(), which modules cannot call. */
static bool clear_accessed(pte_t *pte)
{
	return pte_young(ptep_get(pte)) &&
	       test_and_clear_bit(_PAGE_BIT_ACCESSED, (unsigned long *)&pte->pte);
}

/*
 * Visit a page on a slow node that was or was not accessed. Returns whether it was in two windows
 * in a row.
 */
static bool visit_slow(struct tierd_table *table, unsigned int bit, bool *is_accessed)
{
	bool was_accessed = test_bit(bit, table->was_accessed);

	if (!__test_and_set_bit(bit, table->was_visited))
		*is_accessed = false;
	__assign_bit(bit, table->was_accessed, *is_accessed);
	return *is_accessed && was_accessed;
}

/* Visit the pages of a page table from an address to an end, under the mmap_lock. */
static void scan_table(struct mm_struct *mm, unsigned long address, unsigned long end)
{
	pmd_t *pmd = find_pmd(mm, address), value;
	u32 idle = 0, fast = 0, skipped = 0, hits = 0;
	struct tierd_table *table;
	spinlock_t *lock;
	pte_t *first, *pte;

	value = pmd ? pmdp_get_lockless(pmd) : __pmd(0);
	if (pmd_none(value))
		return;
	if (pmd_trans_huge(value)) {
		tierd_count(huge_pages, 1);
		return;
	}
	table = memory_of(chunk.process, address);
	if (!table) {
		tierd_count(lost_tables, 1);
		return;
	}
	first = tierd_lock_table(mm, address, &lock);
	if (!first)
		return;
	for (pte = first; address < end; address += PAGE_SIZE, pte++) {
		unsigned int bit = pte_index(address);
		struct folio *folio = tierd_promotable_folio(ptep_get(pte));
		bool is_accessed, is_hit = false;

		if (!pte_present(ptep_get(pte))) { /* another page will be here */
			__clear_bit(bit, table->was_visited);
			__clear_bit(bit, table->was_accessed);
		}
		if (!folio) {
			skipped += pte_present(ptep_get(pte));
			continue;
		}
		is_accessed = clear_accessed(pte);
		if (is_accessed) { /* reclaim and DAMON still learn of it */
			folio_clear_idle(folio);
			folio_set_young(folio);
		}
		if (tierd_is_fast(folio_nid(folio))) {
			__set_bit(bit, table->was_visited);
			__clear_bit(bit, table->was_accessed); /* demoted pages arrive idle */
			chunk.fast_pages[folio_nid(folio)]++;
			fast++;
		} else {
			is_hit = visit_slow(table, bit, &is_accessed);
		}
		idle += !is_accessed;
		if (is_hit)
			found[hits++] = address;
	}
	tierd_unlock_table(first, lock);
	tierd_count(nr_kmmscand_toptier, fast);
	tierd_count(nr_kmmscand_idlepage, idle);
	tierd_count(skipped_pages, skipped);
	chunk.useful_pages += hits;
	/* a policy that lets nothing be promoted still has to see what there would be to promote */
	if (READ_ONCE(tierd_in_force.throttle_bytes_per_s))
		hits = tierd_enlist(chunk.process, found, hits);
	tierd_count(nr_kmmscand_slowtier, hits);
}

/*
 * Where the chunk goes on, under the mmap_lock: the next page table, or past what is not scanned or
 * not there.
 */
static bool scan_on(struct mm_struct *mm)
{
	struct tierd_process *process = chunk.process;
	struct vm_area_struct *vma;
	unsigned long end;
	int skipped = 0;

	for (;;) {
		vma = find_vma(mm, process->cursor);
		if (!vma || check_stable_address_space(mm)) {
			chunk.is_pass_over = true;
			return false;
		}
		process->cursor = max(process->cursor, vma->vm_start);
		if (!tierd_is_eligible(vma))
			process->cursor = vma->vm_end;
		else if (!find_pmd(mm, process->cursor)) /* a GiB that nobody has touched */
			process->cursor = min(vma->vm_end, (process->cursor & PUD_MASK) + PUD_SIZE);
		else
			break;
		if (++skipped == SKIPPED_AT_ONCE)
			return true;
	}
	end = min(vma->vm_end, (process->cursor & PMD_MASK) + PMD_SIZE);
	if (chunk.is_started && (end - process->cursor) >> PAGE_SHIFT > chunk.left_pages)
		return false; /* or some of its pages would be visited twice in a window */
	if (chunk.mapping != vma->vm_start || !chunk.is_started)
		tierd_count(nr_kmmscand_vma_scans, 1);
	chunk.mapping = vma->vm_start;
	chunk.is_started = true;
	scan_table(mm, process->cursor, end);
	chunk.left_pages -= min(chunk.left_pages, (end - process->cursor) >> PAGE_SHIFT);
	process->cursor = end;
	return chunk.left_pages > 0;
}

/*
 * Let the process go and take it again for every page table: nobody waits longer for the scanner
 * than for one.
 */
static bool scan_step(void)
{
	struct mm_struct *mm = chunk.process->mm;
	bool is_going_on = false;

	if (!mmget_not_zero(mm))
		return false;
	chunk.is_given_up = !tierd_lock_mm(mm);
	if (!chunk.is_given_up) {
		is_going_on = scan_on(mm);
		mmap_read_unlock(mm);
	}
	mmput_async(mm); /* the last one to leave tears all down, which is not for us to do */
	return is_going_on;
}

static void flush_here(void *unused)
{
	__flush_tlb_all();
}

/* The fast node of which the chunk has seen most pages. */
static int choose_target(void)
{
	int node, target = first_node(tierd_fast_nodes);
	u32 most = 0;

	for_each_node_mask(node, tierd_fast_nodes) {
		if (chunk.fast_pages[node] > most) {
			most = chunk.fast_pages[node];
			target = node;
		}
	}
	return target;
}

static void scan_chunk(struct tierd_process *process)
{
	u64 began_ns = ktime_get_ns(), ended_ns;
	bool is_going_on = true;

	memset(&chunk, 0, sizeof(chunk));
	chunk.process = process;
	chunk.left_pages = READ_ONCE(process->scan_size_bytes) >> PAGE_SHIFT;
	chunk.knows_heat = process->passes >= TIERD_PASSES_WITHOUT_HITS;
	trace_kmem_scan_mm_start(process->pid);
	while (is_going_on && !READ_ONCE(process->is_removed) && !kthread_should_stop()) {
		is_going_on = scan_step();
		ended_ns = ktime_get_ns();
		tierd_count(scanner_ns, ended_ns - began_ns);
		tierd_pace(&owed_ns, ended_ns - began_ns);
		cond_resched();
		began_ns = ktime_get_ns();
	}
	if (chunk.is_pass_over) {
		process->cursor = 0;
		process->passes++;
		forget_unmet_tables(process);
	}
	if (READ_ONCE(tierd_flush_tlb))
		on_each_cpu(flush_here, NULL, true);
	tierd_count(nr_kmmscand_mm_scans, 1);

	mutex_lock(&tierd_lock);
	WRITE_ONCE(process->target_node, choose_target());
	process->chunks++;
	trace_kmem_scan_mm_end(process->pid, process->cursor, chunk.useful_pages,
			       process->scan_period_ms, process->scan_size_bytes,
			       process->target_node);
	if (chunk.knows_heat && !chunk.is_given_up)
		tierd_follow_rule(process, chunk.useful_pages);
	process->ended_ns = ktime_get_ns();
	mutex_unlock(&tierd_lock);
	tierd_put(process);
}

/* When the next chunk of a process is due; never with a scale of 0. */
static u64 due_ns(const struct tierd_process *process)
{
	u64 wait_ms = process->chunks ? process->scan_period_ms : TIERD_INITIAL_DELAY_MS;

	return process->scale ? process->ended_ns + wait_ms * NSEC_PER_MSEC : U64_MAX;
}

/*
 * The next process whose chunk is due, in turn, with a reference; of a round so many visits are
 * left.
 */
static struct tierd_process *next_due(u32 *visits)
{
	struct tierd_process *process, *due = NULL;
	u64 now_ns = ktime_get_ns();

	mutex_lock(&tierd_lock);
	list_for_each_entry(process, &tierd_processes, node) {
		if (!*visits || due_ns(process) <= now_ns) {
			due = *visits ? process : NULL;
			/*
			 * the next look begins with this one if it was not its turn yet, and after
			 * it if it was
			 */
			list_rotate_to_front(&process->node, &tierd_processes);
			if (due)
				list_rotate_left(&tierd_processes);
			break;
		}
		--*visits;
	}
	if (due) {
		--*visits;
		kref_get(&due->references);
	}
	mutex_unlock(&tierd_lock);
	return due;
}

/* Scan who is due, until nobody is, or somebody wants to be heard. */
static void scan_round(void)
{
	u64 until_ns = ktime_get_ns() + ADOPTION_MS * NSEC_PER_MSEC;
	struct tierd_process *process;
	u32 visits = TIERD_MMS_TO_SCAN;

	while (!kthread_should_stop() && !READ_ONCE(is_woken) && ktime_get_ns() < until_ns) {
		process = next_due(&visits);
		if (!process)
			break;
		scan_chunk(process);
	}
}

/*
 * Adopt processes now and then, and forget those that have exited. Returns whether there may be
 * some to adopt.
 */
static bool look_for_processes(void)
{
	static u64 adopted_ns;
	static bool is_adopting;
	bool is_asked = xchg(&is_woken,
			     false); /* before the look: who asks after it is heard by the wait */
	u64 now_ns = ktime_get_ns();

	if (is_asked || now_ns >= adopted_ns + ADOPTION_MS * NSEC_PER_MSEC) {
		is_adopting = tierd_adopt();
		adopted_ns = now_ns;
	}
	mutex_lock(&tierd_lock);
	tierd_forget_exited();
	mutex_unlock(&tierd_lock);
	return is_adopting;
}

/* How long nobody is due. Looks come on a grid, as the model's do. */
static u64 sleep_ns(bool is_adopting)
{
	struct tierd_process *process;
	u64 now_ns, next_ns;

	mutex_lock(&tierd_lock);
	now_ns = ktime_get_ns();
	next_ns = now_ns + ADOPTION_MS * NSEC_PER_MSEC;
	list_for_each_entry(process, &tierd_processes, node)
		next_ns = min(next_ns, due_ns(process));
	if (list_empty(&tierd_processes) && !is_adopting)
		next_ns = now_ns + NOBODY_MS * NSEC_PER_MSEC;
	mutex_unlock(&tierd_lock);
	return (max(next_ns, now_ns + 1) + LOOK_NS - 1) / LOOK_NS * LOOK_NS - now_ns;
}

static int scan(void *unused)
{
	bool is_adopting;

	set_freezable();
	while (!kthread_should_stop()) {
		is_adopting = look_for_processes();
		scan_round();
		__wait_event_hrtimeout(scanner_wait, READ_ONCE(is_woken) || kthread_should_stop(),
				       ns_to_ktime(sleep_ns(is_adopting)),
				       (TASK_IDLE | TASK_FREEZABLE));
	}
	return 0;
}

void tierd_wake_scanner(void)
{
	WRITE_ONCE(is_woken, true);
	wake_up(&scanner_wait);
}

int tierd_start_scanner(void)
{
	scanner = kthread_run(scan, NULL, "tierd_scan");
	return PTR_ERR_OR_ZERO(scanner);
}

void tierd_stop_scanner(void)
{
	kthread_stop(scanner);
}
