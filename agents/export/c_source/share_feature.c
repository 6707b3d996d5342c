/* A share: count / divisor, no more than 1, on a linear scale. */
static int32_t share_feature(int64_t count, int64_t log2_unit, int64_t gain, int64_t offset)
{
	int64_t ratio;

	if (count <= 0)
		return feature_of(0, gain, offset);
	ratio = clamped(log2_of((uint64_t)count) + log2_unit, -32 * LOG_ONE, 0);
	return feature_of((int64_t)exp2_of(ratio, LOG_BITS), gain, offset);
}
