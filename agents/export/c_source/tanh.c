static const int32_t tanh_table[1025] = { /* tanh(i / 128), 20 fractional bits */
@TANH_TABLE@
};

/* value within [-8, 8] */
static int32_t tanh_of(int32_t value)
{
	uint32_t magnitude = value < 0 ? -value : value;
	uint32_t i = magnitude >> 13;
	int32_t rest = magnitude & 0x1fff;
	int32_t result;

	if (i >= 1024)
		result = tanh_table[1024];
	else
		result = tanh_table[i] + (((tanh_table[i + 1] - tanh_table[i]) * rest + 0x1000) >> 13);
	return value < 0 ? -result : result;
}
