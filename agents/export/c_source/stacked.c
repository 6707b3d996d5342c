/* The last values, the present one first; at first all of them the present one. */
static void stacked(int32_t *kept, int is_started, int32_t value, int length, int32_t *columns)
{
	int i;

	for (i = length - 1; i > 0; i--)
		kept[i] = is_started ? kept[i - 1] : value;
	kept[0] = value;
	for (i = 0; i < length; i++)
		columns[i] = kept[i];
}
