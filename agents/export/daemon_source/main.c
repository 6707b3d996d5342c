// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Loading and unloading, counters, the bounds on memory and processor time. */
#define pr_fmt(format) KBUILD_MODNAME ": " format

#include <linux/delay.h>
#include <linux/freezer.h>
#include <linux/kernfs.h>
#include <linux/kobject.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/sysfs.h>
#include "tierd.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

#define LOCK_TRIES 10
#define LEAST_PAUSE_NS (1ULL * NSEC_PER_MSEC)
#define MOST_PAUSE_NS (10ULL * NSEC_PER_MSEC) /* after which somebody may want something else */

const char * const tierd_counter_names[TIERD_NUM_COUNTERS] = {
#define TIERD_NAME(name) #name,
	TIERD_COUNTERS(TIERD_NAME)
#undef TIERD_NAME
};

atomic64_t tierd_counters[TIERD_NUM_COUNTERS];
nodemask_t tierd_fast_nodes;
atomic64_t tierd_state_bytes = ATOMIC64_INIT(0);
u64 tierd_state_bytes_max = TIERD_STATE_BYTES_MAX;
u32 tierd_cpu_percent = 100;
bool tierd_flush_tlb;
static struct kobject *kobject;

/**
 * tierd_alloc() - zeroed memory of the state
 * @size: of it
 * @beside: memory that something else takes for it
 * @flags: as of kmalloc()
 *
 * Returns: NULL also where the state is at its bound.
 */
void *tierd_alloc(size_t size, size_t beside, gfp_t flags)
{
	void *memory = NULL;

	if (atomic64_add_return(size + beside, &tierd_state_bytes) <=
	    READ_ONCE(tierd_state_bytes_max))
		memory = kzalloc(size, flags | __GFP_NOWARN);
	if (!memory)
		atomic64_sub(size + beside, &tierd_state_bytes);
	return memory;
}

void tierd_free(void *memory, size_t size, size_t beside)
{
	kfree(memory);
	atomic64_sub(size + beside, &tierd_state_bytes);
}

/*
 * Sleep after work as long as the thread's share of a processor asks for; what is too short to
 * sleep is owed.
 */
void tierd_pace(u64 *owed_ns, u64 worked_ns)
{
	u32 percent = READ_ONCE(tierd_cpu_percent);
	unsigned long pause_us;

	*owed_ns += worked_ns * (100 - percent) / percent;
	try_to_freeze();
	while (*owed_ns >= LEAST_PAUSE_NS && !kthread_should_stop()) {
		if (READ_ONCE(tierd_cpu_percent) != percent) {
			*owed_ns = 0;
			return;
		}
		pause_us = min(*owed_ns, MOST_PAUSE_NS) / NSEC_PER_USEC;
		usleep_idle_range(pause_us, pause_us + pause_us / 8);
		try_to_freeze();
		*owed_ns -= pause_us * NSEC_PER_USEC;
	}
}

/* Read-lock a mmap_lock, but rather not than wait long for somebody who changes the mappings. */
bool tierd_lock_mm(struct mm_struct *mm)
{
	int i;

	for (i = 0; i < LOCK_TRIES; i++) {
		if (mmap_read_trylock(mm))
			return true;
		usleep_idle_range(500, 1000);
	}
	tierd_count(busy_locks, 1);
	return false;
}

/*
 * Nodes with processors are fast, others with memory slow, as they are now; modules cannot ask for
 * the kernel's tiers.
 */
static int __init find_nodes(void)
{
	int node;

	for_each_node_state(node, N_MEMORY)
		if (node_state(node, N_CPU))
			node_set(node, tierd_fast_nodes);
	if (nodes_empty(tierd_fast_nodes) || nodes_equal(tierd_fast_nodes, node_states[N_MEMORY])) {
		pr_err("nodes with memory are %*pbl, of which %*pbl have processors: no fast and slow memory\n",
		       nodemask_pr_args(&node_states[N_MEMORY]),
		       nodemask_pr_args(&tierd_fast_nodes));
		return -ENODEV;
	}
	return 0;
}

/* The folder of /sys/kernel/mm, whose object modules cannot name. */
static struct kobject *__init mm_folder(void)
{
	struct kernfs_node *node = kernfs_find_and_get(kernel_kobj->sd, "mm");
	struct kobject *mm = node ? kobject_get(node->priv) : NULL;

	kernfs_put(node);
	return mm;
}

static int __init make_folder(void)
{
	struct kobject *mm = mm_folder();
	int error;

	if (!mm)
		return -ENOENT;
	kobject = kobject_create_and_add("tierd", mm);
	kobject_put(mm);
	if (!kobject)
		return -ENOMEM;
	error = sysfs_create_group(kobject, &tierd_attributes);
	if (error)
		kobject_put(kobject);
	return error;
}

static void remove_folder(void)
{
	sysfs_remove_group(kobject, &tierd_attributes);
	kobject_put(kobject);
}

static void forget_all(void)
{
	tierd_remove_all();
	tierd_set_cgroup("");
}

static int __init tierd_init(void)
{
	int error = find_nodes() ?: tierd_check_machine();

	if (error)
		return error;
	tierd_start_control();
	error = tierd_start_migrator();
	if (error)
		goto stop_control;
	error = tierd_start_scanner();
	if (error)
		goto stop_migrator;
	error = make_folder();
	if (error)
		goto stop_scanner;
	tierd_start_log();
	pr_info("fast nodes %*pbl, policy %s\n", nodemask_pr_args(&tierd_fast_nodes),
		TIERD_POLICY_NAME);
	return 0;

stop_scanner:
	tierd_stop_scanner();
stop_migrator:
	tierd_stop_migrator();
stop_control:
	tierd_stop_control();
	forget_all(); /* files may have been written to before the last of them could not be made */
	return error;
}

static void __exit tierd_exit(void)
{
	tierd_stop_log();
	remove_folder();
	tierd_stop_control();
	tierd_stop_scanner();
	tierd_stop_migrator();
	forget_all();
}

module_init(tierd_init);
module_exit(tierd_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Promotes hot pages of processes to fast memory, steered by a policy of tierenv");
