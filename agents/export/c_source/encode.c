/* The coordinate of a tunable in force. */
static int32_t encode(const struct range *range, uint64_t value)
{
	int64_t units;

	if (value < range->min)
		return -ONE;
	if (value > range->max)
		return ONE;
	units = shift_rounded((log2_of(value) - range->log2_min) * range->units_per_octave, 28);
	return (int32_t)clamped(range->low_edge + units, range->low_edge, range->high_edge);
}
