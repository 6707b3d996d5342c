// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The learned policy: what has been counted since the last decision, the decision, and a log of the
 * last ones, samples and settings as they are in memory, in /sys/kernel/debug/tierd/decisions.
 */
#define pr_fmt(format) KBUILD_MODNAME ": " format

#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/ktime.h>
#include <linux/mmzone.h>
#include <linux/moduleparam.h>
#include <linux/printk.h>
#include <linux/string.h>
#include <linux/vmalloc.h>
#include "tierd.h"
#include "tierenv_policy.h"

#define LOGGED 256 /* decisions */

@PARAMETERS@struct decision {
	struct tierenv_sample sample;
	struct tierenv_setting setting;
};

/* Where all that a sample holds increments of stands. */
struct counts {
	s64 own[TIERD_NUM_COUNTERS];
	s64 pgdemote_kswapd;
	u64 time_ns;
};

static struct tierenv_state state;
static struct counts before;
static struct decision decisions[LOGGED]; /* all under tierd_lock */
static u64 num_decisions;
static struct dentry *folder;

static void read_counts(struct counts *counts)
{
	int i;

	for (i = 0; i < TIERD_NUM_COUNTERS; i++)
		counts->own[i] = atomic64_read(&tierd_counters[i]);
	counts->pgdemote_kswapd = global_node_page_state(PGDEMOTE_KSWAPD);
	counts->time_ns = ktime_get_ns();
}

static s64 free_fast_pages(void)
{
	unsigned long pages = 0;
	struct zone *zone;
	int node, i;

	for_each_node_mask(node, tierd_fast_nodes) {
		for (i = 0; i < MAX_NR_ZONES; i++) {
			zone = &NODE_DATA(node)->node_zones[i];
			if (populated_zone(zone))
				pages += zone_page_state(zone, NR_FREE_PAGES);
		}
	}
	return pages;
}

static s64 fast_node_pages(void)
{
	unsigned long pages = 0;
	int node;

	for_each_node_mask(node, tierd_fast_nodes)
		pages += node_present_pages(node);
	return pages;
}

/* Whether all is known of the machine that the policy observes. */
int tierd_check_machine(void)
{
	static const struct {
		const char *name;
		const unsigned int *value;
	} facts[] = {
@FACTS@		{}
	};
	int i;

	for (i = 0; facts[i].name; i++) {
		if (*facts[i].value)
			continue;
		pr_err("the policy observes %s, which modules cannot ask for: give it as a parameter, %s=NUMBER\n",
		       facts[i].name, facts[i].name);
		return -EINVAL;
	}
	return 0;
}

#define GROWTH(name) (now.own[TIERD_##name] - before.own[TIERD_##name])
#define STANDING(name) (now.own[TIERD_##name])

/* What has been counted, and what is; after it the next sample begins. */
static void take_sample(struct tierenv_sample *sample)
{
	struct counts now;

	memset(sample, 0, sizeof(*sample)); /* between its fields, too */
	read_counts(&now);
@SAMPLE@
	sample->in_force.scan_period_ms = tierd_in_force.scan_period_ms;
	sample->in_force.scan_size_bytes = tierd_in_force.scan_size_bytes;
	sample->in_force.throttle_bytes_per_s = tierd_in_force.throttle_bytes_per_s;
	before = now;
}

/* Begin anew: the next decision is the first. */
void tierd_forget_past(void)
{
	lockdep_assert_held(&tierd_lock);
	tierenv_policy_reset(&state);
	read_counts(&before);
	num_decisions = 0;
}

void tierd_decide(struct tierd_setting *setting)
{
	struct decision *decision = &decisions[num_decisions % LOGGED];

	lockdep_assert_held(&tierd_lock);
	memset(&decision->setting, 0, sizeof(decision->setting));
	take_sample(&decision->sample);
	tierenv_policy_decide(&state, &decision->sample, &decision->setting);
	setting->scan_period_ms = decision->setting.scan_period_ms;
	setting->scan_size_bytes = decision->setting.scan_size_bytes;
	setting->throttle_bytes_per_s = decision->setting.throttle_bytes_per_s;
	num_decisions++;
	tierd_count(decisions, 1);
}

/* The log as a file opened now finds it, the oldest decision first. */
struct snapshot {
	size_t size;
	struct decision decisions[LOGGED];
};

static int open_log(struct inode *inode, struct file *file)
{
	struct snapshot *snapshot = vmalloc(sizeof(*snapshot));
	u64 number;
	u32 count = 0;

	if (!snapshot)
		return -ENOMEM;
	mutex_lock(&tierd_lock);
	for (number = num_decisions > LOGGED ? num_decisions - LOGGED : 0; number < num_decisions;
	     number++)
		snapshot->decisions[count++] = decisions[number % LOGGED];
	mutex_unlock(&tierd_lock);
	snapshot->size = count * sizeof(struct decision);
	file->private_data = snapshot;
	return 0;
}

static ssize_t read_log(struct file *file, char __user *to, size_t size, loff_t *position)
{
	struct snapshot *snapshot = file->private_data;

	return simple_read_from_buffer(to, size, position, snapshot->decisions, snapshot->size);
}

static int close_log(struct inode *inode, struct file *file)
{
	vfree(file->private_data);
	return 0;
}

static const struct file_operations log_operations = {
	.owner = THIS_MODULE,
	.open = open_log,
	.read = read_log,
	.release = close_log,
	.llseek = default_llseek,
};

void tierd_start_log(void)
{
	folder = debugfs_create_dir("tierd", NULL);
	debugfs_create_file("decisions", 0400, folder, NULL, &log_operations);
}

void tierd_stop_log(void)
{
	debugfs_remove(folder);
}
