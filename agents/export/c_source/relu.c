static int32_t activation(int32_t value)
{
	return value < 0 ? 0 : value;
}
