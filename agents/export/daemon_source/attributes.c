// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * /sys/kernel/mm/tierd, for root alone. Values out of range are refused; what is written is in
 * force at once.
 */
#include <linux/kobject.h>
#include <linux/kstrtox.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>
#include "tierd.h"

#define MOST_SCALE 10 /* of the series' prctl */
#define LEAST_STATE_BYTES SZ_64K
#define LINE_BYTES 128 /* of a process, at the most */
#define LEAST_INTERVAL_MS 100
#define MOST_INTERVAL_MS 3600000

#define ATTRIBUTE(name)									\
	static struct kobj_attribute name##_attribute =					\
		__ATTR(name, 0600, name##_show, name##_store)

/* A number, or the word for all there is where that is allowed. */
static int read_bytes(const char *from, bool has_unlimited, u64 *value)
{
	if (has_unlimited && sysfs_streq(from, "unlimited")) {
		*value = TIERD_UNLIMITED;
		return 0;
	}
	return kstrtou64(from, 10, value) ?: *value == TIERD_UNLIMITED ? -ERANGE : 0;
}

/* Put a setting in force that somebody has changed a tunable of. */
static int change(const struct tierd_setting *setting)
{
	if (!tierd_is_allowed(setting))
		return -ERANGE;
	tierd_apply(setting);
	return 0;
}

#define TUNABLE(name, has_unlimited)							\
	static ssize_t name##_show(struct kobject *kobj, struct kobj_attribute *attr, char *to)	\
	{										\
		u64 value = READ_ONCE(tierd_in_force.name);				\
											\
		if ((has_unlimited) && value == TIERD_UNLIMITED)			\
			return sysfs_emit(to, "unlimited\n");				\
		return sysfs_emit(to, "%llu\n", value);					\
	}										\
											\
	static ssize_t name##_store(struct kobject *kobj, struct kobj_attribute *attr,	\
				    const char *from, size_t size)			\
	{										\
		struct tierd_setting setting;						\
		u64 value;								\
		int error = read_bytes(from, has_unlimited, &value);			\
											\
		if (error)								\
			return error;							\
		mutex_lock(&tierd_lock);						\
		setting = tierd_in_force;						\
		setting.name = value;							\
		error = setting.name == value ? change(&setting) : -ERANGE;		\
		mutex_unlock(&tierd_lock);						\
		return error ?: size;							\
	}										\
	ATTRIBUTE(name)

TUNABLE(scan_period_ms, false);
TUNABLE(scan_size_bytes, false);
TUNABLE(throttle_bytes_per_s, true);

#define NUMBER(name, variable, least, most, set)					\
	static ssize_t name##_show(struct kobject *kobj, struct kobj_attribute *attr, char *to)	\
	{										\
		return sysfs_emit(to, "%llu\n", (u64)READ_ONCE(variable));		\
	}										\
											\
	static ssize_t name##_store(struct kobject *kobj, struct kobj_attribute *attr,	\
				    const char *from, size_t size)			\
	{										\
		u64 value;								\
		int error = kstrtou64(from, 10, &value);				\
											\
		if (error)								\
			return error;							\
		if (value < (least) || value > (most))					\
			return -ERANGE;							\
		mutex_lock(&tierd_lock);						\
		set;									\
		mutex_unlock(&tierd_lock);						\
		return size;								\
	}										\
	ATTRIBUTE(name)

NUMBER(control_interval_ms, tierd_control_interval_ms, LEAST_INTERVAL_MS, MOST_INTERVAL_MS,
	tierd_set_control_interval(value));
NUMBER(state_bytes_max, tierd_state_bytes_max, LEAST_STATE_BYTES, TIERD_UNLIMITED,
	WRITE_ONCE(tierd_state_bytes_max, value));
NUMBER(cpu_percent, tierd_cpu_percent, 1, 100, WRITE_ONCE(tierd_cpu_percent, value));
NUMBER(flush_tlb, tierd_flush_tlb, 0, 1, WRITE_ONCE(tierd_flush_tlb, value));

static const char * const policies[TIERD_NUM_POLICIES] = {
	[TIERD_POLICY_OFF] = "off",
	[TIERD_POLICY_RULE] = "rule",
	[TIERD_POLICY_LEARNED] = "learned",
};

static ssize_t policy_show(struct kobject *kobj, struct kobj_attribute *attr, char *to)
{
	enum tierd_policy policy = READ_ONCE(tierd_policy);
	int i, size = 0;

	for (i = 0; i < TIERD_NUM_POLICIES; i++)
		if (TIERD_HAS_POLICY || i != TIERD_POLICY_LEARNED)
			size += sysfs_emit_at(to, size, i == policy ? "%s[%s]" : "%s%s",
					      size ? " " : "", policies[i]);
	return size + sysfs_emit_at(to, size, "\n");
}

static ssize_t policy_store(struct kobject *kobj, struct kobj_attribute *attr, const char *from,
			    size_t size)
{
	int error, policy = sysfs_match_string(policies, from);

	if (policy < 0)
		return policy;
	mutex_lock(&tierd_lock);
	error = tierd_set_policy(policy);
	mutex_unlock(&tierd_lock);
	return error ?: size;
}
ATTRIBUTE(policy);

/* As many whole lines as the file can have, and how many processes it has no room for. */
static ssize_t processes_show(struct kobject *kobj, struct kobj_attribute *attr, char *to)
{
	struct tierd_process *process;
	u32 shown = 0;
	int size = 0;

	mutex_lock(&tierd_lock);
	list_for_each_entry(process, &tierd_processes, node) {
		if (size > PAGE_SIZE - 2 * LINE_BYTES)
			break;
		size += sysfs_emit_at(to, size, "%d %s %u %u %llu %d %llu\n", process->pid,
				      process->command, process->scale, process->scan_period_ms,
				      process->scan_size_bytes, process->target_node,
				      process->chunks);
		shown++;
	}
	if (shown < tierd_num_processes)
		size += sysfs_emit_at(to, size, "# %u more\n", tierd_num_processes - shown);
	mutex_unlock(&tierd_lock);
	return size;
}

/* Register or take out a process by words: a pid, and maybe a scale. */
static int change_process(char *words)
{
	char *pid_word = strsep(&words, " "), *scale_word = words;
	unsigned int scale = 1;
	int error, pid;

	error = kstrtoint(pid_word, 10, &pid);
	if (!error && scale_word)
		error = kstrtouint(strim(scale_word), 10, &scale);
	if (error)
		return error;
	if (pid < 0)
		return scale_word ? -EINVAL : tierd_remove_pid(-pid);
	if (!pid)
		return -EINVAL;
	return scale > MOST_SCALE ? -ERANGE : tierd_add_pid(pid, scale);
}

/* "PID" or "PID SCALE" registers a process, "-PID" takes it out, "-0" takes out all. */
static ssize_t processes_store(struct kobject *kobj, struct kobj_attribute *attr, const char *from,
			       size_t size)
{
	char *text;
	int error;

	if (sysfs_streq(from, "-0")) {
		tierd_remove_all();
		return size;
	}
	text = kstrdup(from, GFP_KERNEL);
	if (!text)
		return -ENOMEM;
	error = change_process(strim(text));
	kfree(text);
	tierd_wake_scanner();
	return error ?: size;
}
ATTRIBUTE(processes);

static ssize_t adopt(const char *from, size_t size, int (*set)(const char *))
{
	char *text = kstrdup(from, GFP_KERNEL);
	int error;

	if (!text)
		return -ENOMEM;
	error = set(strim(text));
	kfree(text);
	tierd_wake_scanner();
	return error ?: size;
}

static ssize_t command_show(struct kobject *kobj, struct kobj_attribute *attr, char *to)
{
	ssize_t size;

	mutex_lock(&tierd_lock);
	size = sysfs_emit(to, "%s\n", tierd_command());
	mutex_unlock(&tierd_lock);
	return size;
}

static ssize_t command_store(struct kobject *kobj, struct kobj_attribute *attr, const char *from,
			     size_t size)
{
	return adopt(from, size, tierd_set_command);
}
ATTRIBUTE(command);

static ssize_t cgroup_show(struct kobject *kobj, struct kobj_attribute *attr, char *to)
{
	ssize_t size;

	mutex_lock(&tierd_lock);
	size = sysfs_emit(to, "%s\n", tierd_cgroup());
	mutex_unlock(&tierd_lock);
	return size;
}

static ssize_t cgroup_store(struct kobject *kobj, struct kobj_attribute *attr, const char *from,
			    size_t size)
{
	return adopt(from, size, tierd_set_cgroup);
}
ATTRIBUTE(cgroup);

static ssize_t counters_show(struct kobject *kobj, struct kobj_attribute *attr, char *to)
{
	int i, size = 0;

	for (i = 0; i < TIERD_NUM_COUNTERS; i++)
		size += sysfs_emit_at(to, size, "%s %lld\n", tierd_counter_names[i],
				      (s64)atomic64_read(&tierd_counters[i]));
	size += sysfs_emit_at(to, size, "list_entries %lld\n",
			      (s64)atomic64_read(&tierd_list_entries));
	size += sysfs_emit_at(to, size, "state_bytes %lld\n",
			      (s64)atomic64_read(&tierd_state_bytes));
	return size + sysfs_emit_at(to, size, "processes %u\n", READ_ONCE(tierd_num_processes));
}

static struct kobj_attribute counters_attribute = __ATTR(counters, 0400, counters_show, NULL);

static struct attribute *attributes[] = {&scan_period_ms_attribute.attr,
					 &scan_size_bytes_attribute.attr,
					 &throttle_bytes_per_s_attribute.attr,
					 &policy_attribute.attr,
					 &control_interval_ms_attribute.attr,
					 &processes_attribute.attr,
					 &command_attribute.attr,
					 &cgroup_attribute.attr,
					 &state_bytes_max_attribute.attr,
					 &cpu_percent_attribute.attr,
					 &flush_tlb_attribute.attr,
					 &counters_attribute.attr,
					 NULL};

const struct attribute_group tierd_attributes = {.attrs = attributes};
