static uint64_t at_least_one(int64_t value)
{
	return value < 1 ? 1 : (uint64_t)value;
}
