/*
 * Feeds arbitrary bytes to an exported policy and aborts when a result leaves its range; sanitizers watch the rest.
 * With libFuzzer as it is, otherwise with -DITERATIONS=N and inputs of its own: corners and all magnitudes.
 *
 * PERIOD_MIN, PERIOD_MAX, SIZE_MIN, SIZE_MAX, THROTTLE_MIN, THROTTLE_MAX come from the command line.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tierenv_policy.h"

static void require(int condition)
{
	if (!condition)
		abort();
}

static void check_setting(const struct tierenv_setting *setting)
{
	uint64_t throttle = setting->throttle_bytes_per_s;

	require(setting->scan_period_ms >= PERIOD_MIN && setting->scan_period_ms <= PERIOD_MAX);
	require(setting->scan_size_bytes >= SIZE_MIN && setting->scan_size_bytes <= SIZE_MAX);
	require(throttle == 0 || throttle == TIERENV_UNLIMITED || (throttle >= THROTTLE_MIN && throttle <= THROTTLE_MAX));
}

static void check_units(const int32_t *values, int count)
{
	for (int i = 0; i < count; i++)
		require(values[i] >= -TIERENV_ONE && values[i] <= TIERENV_ONE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tierenv_state state = { 0 };
	struct tierenv_sample sample;
	struct tierenv_setting setting;
	int32_t observation[TIERENV_FEATURES], action[TIERENV_TUNABLES];

	/* the same bytes as a sample, as an observation and as an action: no step may rely on the one before it */
	if (size < sizeof(sample))
		return 0;
	memcpy(&sample, data, sizeof(sample));
	tierenv_policy_decide(&state, &sample, &setting);
	check_setting(&setting);
	tierenv_policy_observe(&state, &sample, observation);
	check_units(observation, TIERENV_FEATURES);
	memcpy(observation, data, sizeof(observation));
	tierenv_policy_act(observation, action);
	check_units(action, TIERENV_TUNABLES);
	memcpy(action, data, sizeof(action));
	tierenv_policy_decode(action, &setting);
	check_setting(&setting);
	return 0;
}

#ifdef ITERATIONS
static uint64_t random_state = 88172645463325252u;

static uint64_t draw(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

int main(void)
{
	static const uint64_t corners[] = {
		0, 1, 2, UINT64_MAX, INT64_MAX, (uint64_t)INT64_MIN, UINT32_MAX, INT32_MAX, (uint64_t)INT32_MIN,
		PERIOD_MIN, PERIOD_MAX, SIZE_MIN, SIZE_MAX, THROTTLE_MIN, THROTTLE_MAX,
		PERIOD_MIN - 1, PERIOD_MAX + 1ull, SIZE_MIN - 1, SIZE_MAX + 1, THROTTLE_MIN - 1, THROTTLE_MAX + 1,
	};
	uint64_t words[(sizeof(struct tierenv_sample) + 7) / 8];
	size_t count = sizeof(words) / sizeof(words[0]);

	for (int i = 0; i < ITERATIONS; i++) {
		for (size_t j = 0; j < count; j++) {
			uint64_t kind = draw() % 8;

			if (kind == 0)
				words[j] = corners[draw() % (sizeof(corners) / sizeof(corners[0]))];
			else
				words[j] = (draw() >> draw() % 64) ^ (kind == 1 ? UINT64_MAX : 0);
		}
		LLVMFuzzerTestOneInput((const uint8_t *)words, sizeof(words));
	}
	return 0;
}
#endif
