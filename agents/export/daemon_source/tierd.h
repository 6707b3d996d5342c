/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * tierd: a daemon that promotes hot pages of registered processes from slow memory to fast memory.
 *
 *   processes.c  which processes are scanned
 *   scanner.c    a thread that clears Accessed bits and finds pages touched in two windows in a row
 *   list.c       what it has found
 *   migrator.c   a thread that moves these pages to a fast node, within a budget
 *   control.c    tunables: held as written, by the kernel's rule, or by a learned policy
 *   learned.c    what that policy sees, from the module's own counters
 *   attributes.c /sys/kernel/mm/tierd
 *   main.c       counters, memory of the state, loading and unloading
 *
 * Locks: tierd_lock is of registry, tunables and policy; the list's own lock is taken under it.
 * Neither is held where a mmap_lock (read), and under that the lock of a page table, are.
 */
#ifndef TIERD_H
#define TIERD_H

#include <linux/atomic.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/nodemask.h>
#include <linux/sched.h>
#include <linux/version.h>
#include <linux/xarray.h>
#include "settings.h"

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0) || LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
#error "tierd is written for Linux 6.12: other versions name what it calls otherwise"
#endif
#ifndef CONFIG_X86_64
#error "tierd walks page tables of x86-64 only"
#endif
#ifndef CONFIG_DEVICE_MIGRATION
#error "tierd moves pages by migrate_vma_setup(), which needs CONFIG_DEVICE_MIGRATION"
#endif
#ifndef CONFIG_NUMA
#error "tierd moves pages between NUMA nodes, which needs CONFIG_NUMA"
#endif
#ifndef CONFIG_MEMCG
#error "tierd finds the owner of a mm, whose cpuset it keeps to, by CONFIG_MEMCG"
#endif
#ifndef CONFIG_PAGE_IDLE_FLAG
#error "tierd tells reclaim of the accesses it has seen by CONFIG_PAGE_IDLE_FLAG"
#endif

#define TIERD_UNLIMITED (~0ULL)

/* Counters of the model's table, by their names there, and then the module's own. */
#define TIERD_COUNTERS(X)							\
	X(nr_kmmscand_mm_scans)		/* chunks finished */			\
	X(nr_kmmscand_vma_scans)	/* mappings walked */			\
	X(nr_kmmscand_migadded)		/* entries listed, duplicates too */	\
	X(nr_kmmscand_migrated)		/* pages promoted */			\
	X(nr_kmmscand_migrate_failed)	/* entries that ended otherwise */	\
	X(nr_kmmscand_slowtier)		/* slow pages that could be listed */	\
	X(nr_kmmscand_toptier)		/* fast pages visited */		\
	X(nr_kmmscand_idlepage)		/* pages found idle */			\
	X(migrator_ns)			/* time of the migrator at work */	\
	X(scanner_ns)			/* time of the scanner at work */	\
	X(lost_entries)			/* for want of memory */		\
	X(lost_tables)			/* not scanned for want of memory */	\
	X(huge_pages)			/* met and skipped */			\
	X(skipped_pages)		/* shared, pinned to a node, locked */	\
	X(busy_locks)			/* gave up waiting for a mmap_lock */	\
	X(decisions)			/* of the learned policy */

enum tierd_counter {
#define TIERD_ENUM(name) TIERD_##name,
	TIERD_COUNTERS(TIERD_ENUM)
#undef TIERD_ENUM
	TIERD_NUM_COUNTERS
};

extern const char * const tierd_counter_names[TIERD_NUM_COUNTERS];
extern atomic64_t tierd_counters[TIERD_NUM_COUNTERS];

#define tierd_count(name, number) atomic64_add(number, &tierd_counters[TIERD_##name])

/*
 * Why an entry of the list has ended: result codes of kmem_scan_mm_migrate in the series, but for
 * the last, which is tierd's own.
 */
enum tierd_result {
	TIERD_PROMOTED = 0,
	TIERD_MM_GONE = 1,
	TIERD_FOLIO_INVALID = 3,
	TIERD_FAST_ALREADY = 5,
	TIERD_NO_LOCK = 9,
	TIERD_NOT_PREPARED = 10,
	TIERD_THROTTLED = 11,
};

/* What a policy sets; ranges are in settings.h. */
struct tierd_setting {
	u32 scan_period_ms;
	u64 scan_size_bytes;
	u64 throttle_bytes_per_s; /* TIERD_UNLIMITED is no limit */
};

enum tierd_policy {
	TIERD_POLICY_OFF, /* tunables stay as written */
	TIERD_POLICY_RULE, /* period and size of each process follow the kernel's rule */
	TIERD_POLICY_LEARNED,
	TIERD_NUM_POLICIES
};

/* A registered process. Its mm is grabbed, not got: it may exit at any time. */
struct tierd_process {
	struct list_head node; /* in tierd_processes */
	struct kref references;
	struct mm_struct *mm;
	pid_t pid;
	char command[TASK_COMM_LEN];
	bool is_removed;
	/* under tierd_lock */
	unsigned int scale; /* 0: not scanned */
	u32 scan_period_ms;
	u64 scan_size_bytes;
	u64 ended_ns; /* the last chunk, or the registration before the first */
	u64 useful_pages; /* of the last chunk, decayed */
	u64 chunks;
	int target_node;
	/* of the scanner alone */
	u64 passes;
	unsigned long cursor; /* address at which the next chunk begins */
	struct xarray tables; /* struct tierd_table, by the number of the page table */
};

/* What is remembered of the pages of one page table. */
struct tierd_table {
	DECLARE_BITMAP(was_visited, PTRS_PER_PTE);
	DECLARE_BITMAP(was_accessed, PTRS_PER_PTE); /* slow, and touched in the last window */
};

/* main.c */
extern nodemask_t tierd_fast_nodes;
extern atomic64_t tierd_state_bytes;
extern u64 tierd_state_bytes_max;
extern u32 tierd_cpu_percent;
extern bool tierd_flush_tlb;

void *tierd_alloc(size_t size, size_t beside, gfp_t flags);
void tierd_free(void *memory, size_t size, size_t beside);
void tierd_pace(u64 *owed_ns, u64 worked_ns);
bool tierd_lock_mm(struct mm_struct *mm);

static inline bool tierd_is_fast(int node)
{
	return node_isset(node, tierd_fast_nodes);
}

/* processes.c */
extern struct mutex tierd_lock;
extern struct list_head tierd_processes;
extern u32 tierd_num_processes;

int tierd_add_pid(pid_t pid, unsigned int scale);
int tierd_remove_pid(pid_t pid);
void tierd_remove_all(void);
void tierd_forget_exited(void);
void tierd_put(struct tierd_process *process);
int tierd_set_command(const char *command);
int tierd_set_cgroup(const char *path);
const char *tierd_command(void);
const char *tierd_cgroup(void);
bool tierd_adopt(void);
u64 tierd_resident_pages(void);

/* scanner.c */
int tierd_start_scanner(void);
void tierd_stop_scanner(void);
void tierd_wake_scanner(void);
void tierd_free_table(struct xarray *tables, unsigned long number, struct tierd_table *table);
struct folio *tierd_promotable_folio(pte_t pte);
bool tierd_is_eligible(struct vm_area_struct *vma);
pte_t *tierd_lock_table(struct mm_struct *mm, unsigned long address, spinlock_t **lock);
void tierd_unlock_table(pte_t *pte, spinlock_t *lock);

/* list.c */
extern atomic64_t tierd_list_entries;

u32 tierd_enlist(struct tierd_process *process, const unsigned long *addresses, u32 count);
struct tierd_process *tierd_delist(unsigned long *addresses, u32 *count);
void tierd_drop_list(enum tierd_result result);
void tierd_end_entries(struct tierd_process *process, enum tierd_result result, int node,
		       u32 count);

/* migrator.c */
int tierd_start_migrator(void);
void tierd_stop_migrator(void);
void tierd_wake_migrator(void);

/* control.c, under tierd_lock but for the last two */
extern struct tierd_setting tierd_in_force;
extern enum tierd_policy tierd_policy;
extern u32 tierd_control_interval_ms;

bool tierd_is_allowed(const struct tierd_setting *setting);
void tierd_apply(const struct tierd_setting *setting);
int tierd_set_policy(enum tierd_policy policy);
void tierd_set_control_interval(u32 interval_ms);
void tierd_follow_rule(struct tierd_process *process, u64 useful);
void tierd_start_control(void);
void tierd_stop_control(void);

/* learned.c, where the export has a policy */
#if TIERD_HAS_POLICY
int tierd_check_machine(void);
void tierd_forget_past(void);
void tierd_decide(struct tierd_setting *setting);
void tierd_start_log(void);
void tierd_stop_log(void);
#else
static inline int tierd_check_machine(void)
{
	return 0;
}
static inline void tierd_forget_past(void) {}
static inline void tierd_decide(struct tierd_setting *setting) {}
static inline void tierd_start_log(void) {}
static inline void tierd_stop_log(void) {}
#endif

/* attributes.c */
extern const struct attribute_group tierd_attributes;

#endif
