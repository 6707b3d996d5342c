#define DEPTH @DEPTH@

struct node {
	int32_t threshold;
	int16_t feature; /* -1 in a leaf */
	uint16_t left, right; /* node after observation[feature] <= threshold, and otherwise; in a leaf the action */
};

static const struct node nodes[@NODES@] = {
@NODE_ROWS@
};

static const int32_t actions[@LEAVES@][TIERENV_TUNABLES] = {
@ACTION_ROWS@
};

void tierenv_policy_act(const int32_t observation[TIERENV_FEATURES], int32_t action[TIERENV_TUNABLES])
{
	const struct node *node = nodes;
	int i;

	for (i = 0; i < DEPTH && node->feature >= 0; i++)
		node = &nodes[observation[node->feature] <= node->threshold ? node->left : node->right];
	for (i = 0; i < TIERENV_TUNABLES; i++)
		action[i] = actions[node->left][i];
}
