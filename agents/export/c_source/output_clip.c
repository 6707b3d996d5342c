	run_layer(&layers[i], inputs, action);
