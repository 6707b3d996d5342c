/* value and gain with 24 fractional bits */
static int32_t feature_of(int64_t value, int64_t gain, int64_t offset)
{
	return (int32_t)clamped(shift_rounded(value * gain, 28) + offset, -ONE, ONE);
}
