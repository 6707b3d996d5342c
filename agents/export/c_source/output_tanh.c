	run_layer(&layers[i], inputs, action);
	for (j = 0; j < TIERENV_TUNABLES; j++)
		action[j] = tanh_of(action[j]);
