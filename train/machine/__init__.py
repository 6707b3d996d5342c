"""A platform file from what tools and the kernel say of a machine.

`sources` reads, `observed` holds what was read, `tiers` chooses the nodes, `findings` weighs who says what of them, and
`platform_file` writes it down. To add a source, write its reader and give it a row of `SOURCES`.
"""
