/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
@PROVENANCE@
 *
 * Usage: at every decision (the policy was trained at intervals of @INTERVAL@) fill in a sample, call
 * tierenv_policy_decide() and put the setting in force. All functions are pure: no state, no locks, no allocation,
 * no recursion, no floating point, about @STACK@ bytes of stack. Whatever a sample holds, the setting is in range.
 */
#ifndef TIERENV_POLICY_H
#define TIERENV_POLICY_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdint.h>
#endif

#define TIERENV_POLICY_NAME "@NAME@"
#define TIERENV_UNLIMITED (~(uint64_t)0)
#define TIERENV_FEATURES @FEATURES@
#define TIERENV_TUNABLES 3
#define TIERENV_ONE (1 << @ACTION_BITS@) /* 1.0 in observations and actions, which lie in [-1, 1] */

struct tierenv_setting {
	uint32_t scan_period_ms;
	uint64_t scan_size_bytes;
	uint64_t throttle_bytes_per_s; /* 0 promotes nothing, TIERENV_UNLIMITED does not throttle */
};

struct tierenv_sample {
	/* Increments since the last decision; one that is negative counts as 0. */
	int64_t nr_kmmscand_slowtier;
	int64_t nr_kmmscand_idlepage;
	int64_t nr_kmmscand_migadded;
	int64_t nr_kmmscand_migrated;
	int64_t nr_kmmscand_migrate_failed;
	int64_t nr_kmmscand_toptier;
	int64_t pgdemote_kswapd;
	int64_t migrator_ns; /* CPU time of the migration thread */
	int64_t elapsed_ns;
	/* Present values. */
	int64_t pending_entries; /* queued and not yet handled: migadded - migrated - migrate_failed since the start */
	int64_t free_fast_pages;
	int64_t fast_node_pages;
	int64_t resident_pages; /* of the process */
	struct tierenv_setting in_force;
};

/* Everything below in one: raw numbers in, a setting out. */
void tierenv_policy_decide(const struct tierenv_sample *sample, struct tierenv_setting *setting);

/* Its three steps, for logs and shadow mode. */
void tierenv_policy_observe(const struct tierenv_sample *sample, int32_t observation[TIERENV_FEATURES]);
void tierenv_policy_act(const int32_t observation[TIERENV_FEATURES], int32_t action[TIERENV_TUNABLES]);
void tierenv_policy_decode(const int32_t action[TIERENV_TUNABLES], struct tierenv_setting *setting);

#endif
