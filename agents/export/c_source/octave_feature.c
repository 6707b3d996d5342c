/* (log2(count / divisor) - middle) / half; what is 0 counts as 1. */
static int32_t octave_feature(int64_t count, int64_t log2_unit, int64_t gain, int64_t offset)
{
	return feature_of(log2_of(at_least_one(count)) + log2_unit, gain, offset);
}
