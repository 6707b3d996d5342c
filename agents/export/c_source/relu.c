static int32_t relu_of(int32_t value)
{
	return value < 0 ? 0 : value;
}
