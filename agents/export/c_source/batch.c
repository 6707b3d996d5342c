/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Decisions for many machines in one call, and the time they take: for tests and evaluation, not exported. */
#include <stddef.h>
#include <time.h>

#include "tierenv_policy.h"

size_t state_bytes(void)
{
	return sizeof(struct tierenv_state);
}

void observe_batch(struct tierenv_state *states, const struct tierenv_sample *samples, int32_t *observations,
		   size_t count)
{
	for (size_t i = 0; i < count; i++)
		tierenv_policy_observe(&states[i], &samples[i], observations + i * TIERENV_FEATURES);
}

void act_batch(const int32_t *observations, int32_t *actions, size_t count)
{
	for (size_t i = 0; i < count; i++)
		tierenv_policy_act(observations + i * TIERENV_FEATURES, actions + i * TIERENV_TUNABLES);
}

void decide_batch(struct tierenv_state *states, const struct tierenv_sample *samples,
		  struct tierenv_setting *settings, size_t count)
{
	for (size_t i = 0; i < count; i++)
		tierenv_policy_decide(&states[i], &samples[i], &settings[i]);
}

/* Nanoseconds for one pass over the samples. */
int64_t time_batch(struct tierenv_state *states, const struct tierenv_sample *samples,
		   struct tierenv_setting *settings, size_t count)
{
	struct timespec start, end;

	clock_gettime(CLOCK_MONOTONIC, &start);
	decide_batch(states, samples, settings, count);
	clock_gettime(CLOCK_MONOTONIC, &end);
	return (end.tv_sec - start.tv_sec) * 1000000000LL + (end.tv_nsec - start.tv_nsec);
}
