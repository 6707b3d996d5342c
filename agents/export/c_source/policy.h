/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
@PROVENANCE@
 *
 * Usage: at every decision (the policy was trained at intervals of @INTERVAL@) fill in a sample, call
 * tierenv_policy_decide() and put the setting in force. Whatever is decided for has a state of its own, zeroed or
 * reset at the start. No globals, no locks, no allocation, no recursion, no floating point, about @STACK@ bytes of stack.
 * Whatever a sample holds, the setting is in range.
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
#define TIERENV_FEATURES @FEATURES@ /* length of an observation */
#define TIERENV_TUNABLES @TUNABLES@
#define TIERENV_ONE (1 << @ACTION_BITS@) /* 1.0 in observations and actions, which lie in [-1, 1] */

struct tierenv_setting {
@SETTING_FIELDS@
};

struct tierenv_sample {
	/* Increments since the last decision; one that is negative counts as 0. */
@INCREMENT_FIELDS@
	/* Present values. */
@LEVEL_FIELDS@
	struct tierenv_setting in_force;
};

/* What the features remember of earlier decisions, @STATE@ bytes. */
struct tierenv_state {
@STATE_FIELDS@
};

/* Forget the past: the next sample is the first. */
void tierenv_policy_reset(struct tierenv_state *state);

/* Everything below in one: raw numbers in, a setting out. */
void tierenv_policy_decide(struct tierenv_state *state, const struct tierenv_sample *sample,
			   struct tierenv_setting *setting);

/* Its three steps, for logs and shadow mode. */
void tierenv_policy_observe(struct tierenv_state *state, const struct tierenv_sample *sample,
			    int32_t observation[TIERENV_FEATURES]);
void tierenv_policy_act(const int32_t observation[TIERENV_FEATURES], int32_t action[TIERENV_TUNABLES]);
void tierenv_policy_decode(const int32_t action[TIERENV_TUNABLES], struct tierenv_setting *setting);

#endif
