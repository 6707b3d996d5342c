/* A moving average, kept with @AVERAGE_BITS@ more fractional bits: a 2^shift-th of the way to the value, and at first there. */
static int32_t averaged(int32_t *kept, int is_started, int32_t value, int shift)
{
	int64_t target = (int64_t)value << @AVERAGE_BITS@;

	*kept = (int32_t)(is_started ? *kept + shift_rounded(target - *kept, shift) : target);
	return (int32_t)shift_rounded(*kept, @AVERAGE_BITS@);
}
