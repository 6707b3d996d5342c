void tierenv_policy_reset(struct tierenv_state *state)
{
	state->is_started = 0;
}

void tierenv_policy_observe(struct tierenv_state *state, const struct tierenv_sample *sample,
			    int32_t observation[TIERENV_FEATURES])
{
@OBSERVE@
	state->is_started = 1;
}

void tierenv_policy_decode(const int32_t action[TIERENV_TUNABLES], struct tierenv_setting *setting)
{
@DECODE@
}

void tierenv_policy_decide(struct tierenv_state *state, const struct tierenv_sample *sample,
			   struct tierenv_setting *setting)
{
	int32_t observation[TIERENV_FEATURES];
	int32_t action[TIERENV_TUNABLES];

	tierenv_policy_observe(state, sample, observation);
	tierenv_policy_act(observation, action);
	tierenv_policy_decode(action, setting);
}
