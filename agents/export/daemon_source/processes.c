// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Which processes are scanned: those that somebody named by pid, and those adopted by command name
 * or cgroup.
 */
#include <linux/cgroup.h>
#include <linux/ctype.h>
#include <linux/pid.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>
#include "tierd.h"
#include "trace.h"

#define ADOPTED_AT_ONCE 32
#define MOST_PROCESSES 1024 /* so that a look at all of them is short, whoever starts some */

DEFINE_MUTEX(tierd_lock); /* of what is registered, and of the tunables */
LIST_HEAD(tierd_processes);
u32 tierd_num_processes;
static char command[TASK_COMM_LEN];
static char *adopted_path; /* path, or NULL */

static void release(struct kref *references)
{
	struct tierd_process *process = container_of(references, struct tierd_process, references);
	struct tierd_table *table;
	unsigned long index;

	xa_for_each(&process->tables, index, table) {
		tierd_free_table(&process->tables, index, table);
		cond_resched();
	}
	xa_destroy(&process->tables);
	mmdrop(process->mm);
	tierd_free(process, sizeof(*process), 0);
}

void tierd_put(struct tierd_process *process)
{
	kref_put(&process->references, release);
}

static struct tierd_process *find_process(struct mm_struct *mm)
{
	struct tierd_process *process;

	list_for_each_entry(process, &tierd_processes, node)
		if (process->mm == mm)
			return process;
	return NULL;
}

/* A command's name as a word: its owner chooses it. */
static void copy_command(struct tierd_process *process, struct task_struct *task)
{
	char *at;

	get_task_comm(process->command, task);
	for (at = process->command; *at; at++)
		if (!isascii(*at) || !isgraph(*at))
			*at = '_';
}

static int add_mm(struct mm_struct *mm, struct task_struct *task, unsigned int scale)
{
	struct tierd_process *process = find_process(mm);

	if (process) {
		process->scale = scale;
		return 0;
	}
	if (tierd_num_processes >= MOST_PROCESSES)
		return -ENOSPC;
	process = tierd_alloc(sizeof(*process), 0, GFP_KERNEL);
	if (!process)
		return -ENOMEM;
	kref_init(&process->references);
	xa_init(&process->tables);
	mmgrab(mm);
	process->mm = mm;
	process->pid = task_tgid_nr(task);
	process->scale = scale;
	process->scan_period_ms = tierd_in_force.scan_period_ms;
	process->scan_size_bytes = tierd_in_force.scan_size_bytes;
	process->target_node = first_node(tierd_fast_nodes);
	process->ended_ns = ktime_get_ns();
	copy_command(process, task);
	list_add_tail(&process->node, &tierd_processes);
	tierd_num_processes++;
	trace_kmem_mm_enter(process->pid);
	return 0;
}

static int add_task(struct task_struct *task, unsigned int scale)
{
	struct mm_struct *mm = get_task_mm(task);
	int error;

	if (!mm)
		return -ESRCH; /* exiting, or a kernel thread */
	error = add_mm(mm, task, scale);
	mmput_async(mm);
	return error;
}

static void remove_process(struct tierd_process *process)
{
	WRITE_ONCE(process->is_removed, true);
	list_del(&process->node);
	tierd_num_processes--;
	trace_kmem_mm_exit(process->pid);
	tierd_put(process);
}

/**
 * tierd_add_pid() - register a process, or change its scale
 * @pid: of its leader, as the caller sees it
 * @scale: 0 takes it out of the scan
 *
 * Returns: 0, or why not.
 */
int tierd_add_pid(pid_t pid, unsigned int scale)
{
	struct pid *reference = find_get_pid(pid);
	struct task_struct *task = get_pid_task(reference, PIDTYPE_TGID);
	int error = -ESRCH;

	if (task) {
		mutex_lock(&tierd_lock);
		error = add_task(task, scale);
		mutex_unlock(&tierd_lock);
		put_task_struct(task);
	}
	put_pid(reference);
	return error;
}

/* Take a process out, by the pid of its leader as the caller sees it. */
int tierd_remove_pid(pid_t pid)
{
	struct pid *reference = find_get_pid(pid);
	struct tierd_process *process, *next;
	int error = -ESRCH;

	mutex_lock(&tierd_lock);
	list_for_each_entry_safe(process, next, &tierd_processes, node) {
		if (process->pid == pid_nr(reference)) {
			remove_process(process);
			error = 0;
		}
	}
	mutex_unlock(&tierd_lock);
	put_pid(reference);
	return error;
}

void tierd_remove_all(void)
{
	struct tierd_process *process, *next;

	mutex_lock(&tierd_lock);
	list_for_each_entry_safe(process, next, &tierd_processes, node)
		remove_process(process);
	mutex_unlock(&tierd_lock);
}

/* Forget processes whose memory is gone. */
void tierd_forget_exited(void)
{
	struct tierd_process *process, *next;

	lockdep_assert_held(&tierd_lock);
	list_for_each_entry_safe(process, next, &tierd_processes, node)
		if (!atomic_read(&process->mm->mm_users))
			remove_process(process);
}

int tierd_set_command(const char *name)
{
	if (strlen(name) >= sizeof(command))
		return -EINVAL;
	mutex_lock(&tierd_lock);
	strscpy(command, name, sizeof(command));
	mutex_unlock(&tierd_lock);
	return 0;
}

const char *tierd_command(void)
{
	return command;
}

/**
 * tierd_set_cgroup() - adopt processes at or below a control group
 * @path: in the unified hierarchy; empty for none
 *
 * The path is looked up anew whenever processes are adopted: services make their groups again when
 * they restart.
 *
 * Returns: 0, or why not.
 */
int tierd_set_cgroup(const char *path)
{
	struct cgroup *found;
	char *name = NULL;

	if (*path) {
		found = cgroup_get_from_path(path);
		if (IS_ERR(found))
			return PTR_ERR(found);
		cgroup_put(found);
		name = kstrdup(path, GFP_KERNEL);
		if (!name)
			return -ENOMEM;
	}
	mutex_lock(&tierd_lock);
	swap(adopted_path, name);
	mutex_unlock(&tierd_lock);
	kfree(name);
	return 0;
}

const char *tierd_cgroup(void)
{
	lockdep_assert_held(&tierd_lock);
	return adopted_path ?: "";
}

/* The group of which processes are adopted, with a reference, or NULL. */
static struct cgroup *find_cgroup(void)
{
	struct cgroup *found;
	char *name;

	mutex_lock(&tierd_lock);
	name = kstrdup(tierd_cgroup(), GFP_KERNEL);
	mutex_unlock(&tierd_lock);
	found = name && *name ? cgroup_get_from_path(name) : NULL;
	kfree(name);
	return IS_ERR(found) ? NULL : found;
}

/* A child of vfork has its parent's memory still. */
static bool is_wanted(struct task_struct *task, struct cgroup *cgroup)
{
	if (task->flags & (PF_KTHREAD | PF_EXITING) || in_vfork(task))
		return false;
	if (command[0] && !strncmp(task->comm, command, TASK_COMM_LEN))
		return true;
	return cgroup && cgroup_is_descendant(task_dfl_cgroup(task), cgroup);
}

static void adopt_some(struct cgroup *cgroup)
{
	struct task_struct *task, *found[ADOPTED_AT_ONCE];
	u32 count = 0;

	rcu_read_lock();
	for_each_process(task) {
		if (count == ARRAY_SIZE(found) || tierd_num_processes + count >= MOST_PROCESSES)
			break; /* the others have their turn next time */
		if (is_wanted(task, cgroup) && !find_process(READ_ONCE(task->mm))) {
			get_task_struct(task);
			found[count++] = task;
		}
	}
	rcu_read_unlock();
	while (count--) {
		add_task(found[count], 1);
		put_task_struct(found[count]);
	}
}

/* Register processes that are wanted. Returns whether there may be such at another time. */
bool tierd_adopt(void)
{
	struct cgroup *cgroup = find_cgroup();
	bool is_adopting;

	mutex_lock(&tierd_lock);
	is_adopting = command[0] || adopted_path;
	if (command[0] || cgroup)
		adopt_some(cgroup);
	mutex_unlock(&tierd_lock);
	if (cgroup)
		cgroup_put(cgroup);
	return is_adopting;
}

u64 tierd_resident_pages(void)
{
	struct tierd_process *process;
	u64 pages = 0;

	lockdep_assert_held(&tierd_lock);
	list_for_each_entry(process, &tierd_processes, node)
		pages += get_mm_rss(process->mm);
	return pages;
}
