/*
 * Fixed point. Logarithms carry 24 fractional bits, observations and actions 20. Right shifts of negative numbers are
 * arithmetic, as with every compiler that builds Linux; no intermediate result reaches 63 bits.
 */
#define LOG_BITS 24
#define LOG_ONE ((int64_t)1 << LOG_BITS)
#define ONE TIERENV_ONE

static const int32_t log2_table[257] = { /* log2(1 + i / 256), 24 fractional bits */
@LOG2_TABLE@
};

static const uint32_t exp2_table[257] = { /* 2^(i / 256), 30 fractional bits */
@EXP2_TABLE@
};

static int64_t shift_rounded(int64_t value, int bits)
{
	return (value + ((int64_t)1 << (bits - 1))) >> bits;
}

static int64_t clamped(int64_t value, int64_t low, int64_t high)
{
	return value < low ? low : value > high ? high : value;
}

/* value must be above 0 */
static int64_t log2_of(uint64_t value)
{
	int exponent = 63 - __builtin_clzll(value);
	uint64_t mantissa = value << (63 - exponent);
	uint32_t i = (mantissa >> 55) & 255;
	int64_t rest = (mantissa >> 31) & 0xffffff;
	int64_t step = log2_table[i + 1] - log2_table[i];

	return exponent * LOG_ONE + log2_table[i] + shift_rounded(step * rest, 24);
}

/* exponent + bits must be below 63 */
static uint64_t exp2_of(int64_t exponent, int bits)
{
	uint32_t i = (exponent >> 16) & 255;
	uint64_t rest = exponent & 0xffff;
	uint64_t step = exp2_table[i + 1] - exp2_table[i];
	uint64_t mantissa = exp2_table[i] + ((step * rest + 0x8000) >> 16);
	int64_t shift = (exponent >> LOG_BITS) + bits - 30;

	if (shift >= 0)
		return mantissa << shift;
	return shift > -32 ? mantissa >> -shift : 0;
}

/* A tunable on its logarithmic scale; beyond its edges lie the dead zones of 0 and unlimited. */
struct range {
	uint64_t min, max;
	int64_t log2_min, octaves_per_unit, units_per_octave; /* 24 fractional bits */
	int32_t low_edge, high_edge;
};

static const struct range ranges[TIERENV_TUNABLES] = {
@RANGES@
};

static uint64_t decode(const struct range *range, int32_t action)
{
	int64_t octaves;
	uint64_t value;

	action = (int32_t)clamped(action, -ONE, ONE);
	if (action < range->low_edge)
		return 0;
	if (action > range->high_edge)
		return TIERENV_UNLIMITED;
	octaves = shift_rounded((action - range->low_edge) * range->octaves_per_unit, 20);
	value = (exp2_of(range->log2_min + octaves, 16) + 0x8000) >> 16;
	return value < range->min ? range->min : value > range->max ? range->max : value;
}
