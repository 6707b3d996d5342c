	run_layer(&layers[i], inputs, outputs);
	for (i = 0, j = 1; j < CHOICES; j++) /* of equal values the first */
		if (outputs[j] > outputs[i])
			i = j;
	for (j = 0; j < TIERENV_TUNABLES; j++)
		action[j] = menu[i][j];
