/*
 * A fully connected layer. The scale of its weights was chosen so that no sum of them with inputs in range overflows:
 * below 2^61, whatever is observed.
 */
struct layer {
	const int32_t *weights; /* [outputs][inputs] */
	const int64_t *biases;
	int32_t limit; /* results are clamped to -limit .. limit */
	uint8_t inputs, outputs, shift;
};

#define LAYERS @LAYERS@
#define WIDEST @WIDEST@

@WEIGHTS@

static const struct layer layers[LAYERS] = {
@LAYER_ROWS@
};

@MENU@static void run_layer(const struct layer *layer, const int32_t *inputs, int32_t *outputs)
{
	const int32_t *weights = layer->weights;
	int i, j;

	for (i = 0; i < layer->outputs; i++) {
		int64_t sum = layer->biases[i];

		for (j = 0; j < layer->inputs; j++)
			sum += (int64_t)*weights++ * inputs[j];
		outputs[i] = (int32_t)clamped(shift_rounded(sum, layer->shift), -layer->limit, layer->limit);
	}
}

void tierenv_policy_act(const int32_t observation[TIERENV_FEATURES], int32_t action[TIERENV_TUNABLES])
{
	int32_t values[2][WIDEST];
	int32_t *inputs = values[0], *outputs = values[1];
	int i, j;

	for (j = 0; j < TIERENV_FEATURES; j++)
		inputs[j] = (int32_t)clamped(observation[j], -ONE, ONE);
	for (i = 0; i < LAYERS - 1; i++) {
		int32_t *const swapped = inputs;

		run_layer(&layers[i], inputs, outputs);
		for (j = 0; j < layers[i].outputs; j++)
			outputs[j] = @ACTIVATION@_of(outputs[j]);
		inputs = outputs;
		outputs = swapped;
	}
@OUTPUT@
}
