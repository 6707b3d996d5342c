// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Who sets the tunables: whoever writes them, the kernel's rule after every chunk, or a learned
 * policy now and then.
 */
#define pr_fmt(format) KBUILD_MODNAME ": " format

#include <linux/lockdep.h>
#include <linux/printk.h>
#include <linux/workqueue.h>
#include "tierd.h"

static const struct tierd_setting start = {
	.scan_period_ms = TIERD_SCAN_PERIOD_MS_START,
	.scan_size_bytes = TIERD_SCAN_SIZE_BYTES_START,
	.throttle_bytes_per_s = TIERD_THROTTLE_BYTES_PER_S_START,
};

struct tierd_setting tierd_in_force;
enum tierd_policy tierd_policy = TIERD_POLICY_START;
u32 tierd_control_interval_ms = TIERD_CONTROL_INTERVAL_MS;

static void control(struct work_struct *work);
static DECLARE_DELAYED_WORK(control_work, control);

/* Whether a setting is in range. */
bool tierd_is_allowed(const struct tierd_setting *setting)
{
	u64 throttle = setting->throttle_bytes_per_s;

	if (!in_range(setting->scan_period_ms, TIERD_SCAN_PERIOD_MS_MIN,
		      TIERD_SCAN_PERIOD_MS_MAX - TIERD_SCAN_PERIOD_MS_MIN + 1))
		return false;
	if (!in_range(setting->scan_size_bytes, TIERD_SCAN_SIZE_BYTES_MIN,
		      TIERD_SCAN_SIZE_BYTES_MAX - TIERD_SCAN_SIZE_BYTES_MIN + 1))
		return false;
	if (!throttle || throttle == TIERD_UNLIMITED)
		return true;
	return in_range(throttle, TIERD_THROTTLE_BYTES_PER_S_MIN,
			TIERD_THROTTLE_BYTES_PER_S_MAX - TIERD_THROTTLE_BYTES_PER_S_MIN + 1);
}

/* Put a setting that is in range in force at once, for all processes. */
void tierd_apply(const struct tierd_setting *setting)
{
	struct tierd_process *process;

	lockdep_assert_held(&tierd_lock);
	WRITE_ONCE(tierd_in_force.scan_period_ms, setting->scan_period_ms);
	WRITE_ONCE(tierd_in_force.scan_size_bytes, setting->scan_size_bytes);
	WRITE_ONCE(tierd_in_force.throttle_bytes_per_s, setting->throttle_bytes_per_s);
	list_for_each_entry(process, &tierd_processes, node) {
		process->scan_period_ms = setting->scan_period_ms;
		WRITE_ONCE(process->scan_size_bytes, setting->scan_size_bytes);
	}
	if (!setting->throttle_bytes_per_s)
		tierd_drop_list(TIERD_THROTTLED);
	tierd_wake_scanner();
}

/*
 * Adapt period and size of a process to a chunk that found so many useful pages, if that is for the
 * rule to do.
 */
void tierd_follow_rule(struct tierd_process *process, u64 useful)
{
	u64 before = process->useful_pages, period = process->scan_period_ms,
	    size = process->scan_size_bytes, total;

	lockdep_assert_held(&tierd_lock);
	if (tierd_policy != TIERD_POLICY_RULE)
		return;
	total = (before >> TIERD_DECAY_SHIFT) + useful;
	if (total < TIERD_IGNORE_THRESHOLD_PAGES)
		total = 0;
	if (!before && !total) {
		period = period * (100 + TIERD_PERIOD_STEP_PERCENT) / 100;
		size >>= 1;
	} else if (before && total) {
		period = period * (100 - TIERD_PERIOD_STEP_PERCENT) / 100;
		size <<= 1;
	} else if (before) {
		period <<= TIERD_PERIOD_JUMP_SHIFT;
	} else {
		period >>= TIERD_PERIOD_JUMP_SHIFT;
		size = TIERD_SCAN_SIZE_BYTES_MAX;
	}
	process->scan_period_ms = clamp(period, TIERD_SCAN_PERIOD_MS_MIN, TIERD_SCAN_PERIOD_MS_MAX);
	process->scan_size_bytes =
		clamp(size, TIERD_SCAN_SIZE_BYTES_MIN, TIERD_SCAN_SIZE_BYTES_MAX);
	process->useful_pages = total;
}

/*
 * A decision; one that is out of range ends the policy's rule, and what was in force at the start
 * is again.
 */
static void control(struct work_struct *work)
{
	struct tierd_setting setting;

	mutex_lock(&tierd_lock);
	/*
	 * while this waited for the lock the policy may have been set anew, and the next decision
	 * be due later
	 */
	if (tierd_policy == TIERD_POLICY_LEARNED && !delayed_work_pending(&control_work)) {
		setting = tierd_in_force;
		tierd_decide(&setting);
		if (tierd_is_allowed(&setting)) {
			tierd_apply(&setting);
			schedule_delayed_work(&control_work,
					      msecs_to_jiffies(tierd_control_interval_ms));
		} else {
			pr_warn("policy %s decided on %u ms, %llu bytes, %llu bytes/s, out of range: policy is off\n",
				TIERD_POLICY_NAME, setting.scan_period_ms, setting.scan_size_bytes,
				setting.throttle_bytes_per_s);
			WRITE_ONCE(tierd_policy, TIERD_POLICY_OFF);
			tierd_apply(&start);
		}
	}
	mutex_unlock(&tierd_lock);
}

/*
 * Hand the tunables to somebody else. A learned policy decides an interval later for the first
 * time.
 */
int tierd_set_policy(enum tierd_policy policy)
{
	lockdep_assert_held(&tierd_lock);
	if (policy == TIERD_POLICY_LEARNED && !TIERD_HAS_POLICY)
		return -EOPNOTSUPP;
	WRITE_ONCE(tierd_policy, policy);
	if (policy == TIERD_POLICY_LEARNED) {
		tierd_forget_past();
		mod_delayed_work(system_wq, &control_work,
				 msecs_to_jiffies(tierd_control_interval_ms));
	}
	tierd_apply(&tierd_in_force); /* what the rule has made of it for single processes goes */
	return 0;
}

/* The next decision comes an interval from now. */
void tierd_set_control_interval(u32 interval_ms)
{
	lockdep_assert_held(&tierd_lock);
	WRITE_ONCE(tierd_control_interval_ms, interval_ms);
	if (tierd_policy == TIERD_POLICY_LEARNED)
		mod_delayed_work(system_wq, &control_work, msecs_to_jiffies(interval_ms));
}

void tierd_start_control(void)
{
	mutex_lock(&tierd_lock);
	tierd_apply(&start);
	tierd_set_policy(tierd_policy);
	mutex_unlock(&tierd_lock);
}

void tierd_stop_control(void)
{
	cancel_delayed_work_sync(&control_work);
}
