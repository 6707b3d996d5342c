"""Studies of the product and generators of its documents; not installed."""
