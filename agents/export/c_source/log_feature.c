/* A count over a divisor, given as log2(unit) - log2(divisor): 2 log2(1 + count / divisor) / octaves - 1. */
static int32_t log_feature(int64_t count, int64_t log2_unit, int64_t octaves, int64_t gain)
{
	int64_t ratio;

	if (count <= 0)
		return -ONE;
	ratio = clamped(log2_of((uint64_t)count) + log2_unit, -32 * LOG_ONE, octaves);
	return feature_of(log2_of(LOG_ONE + exp2_of(ratio, LOG_BITS)) - LOG_BITS * LOG_ONE, gain, -ONE);
}
