void tierenv_policy_observe(const struct tierenv_sample *sample, int32_t observation[TIERENV_FEATURES])
{
@OBSERVE@
}

void tierenv_policy_decode(const int32_t action[TIERENV_TUNABLES], struct tierenv_setting *setting)
{
	setting->scan_period_ms = (uint32_t)decode(&ranges[0], action[0]);
	setting->scan_size_bytes = decode(&ranges[1], action[1]);
	setting->throttle_bytes_per_s = decode(&ranges[2], action[2]);
}

void tierenv_policy_decide(const struct tierenv_sample *sample, struct tierenv_setting *setting)
{
	int32_t observation[TIERENV_FEATURES];
	int32_t action[TIERENV_TUNABLES];

	tierenv_policy_observe(sample, observation);
	tierenv_policy_act(observation, action);
	tierenv_policy_decode(action, setting);
}
