"""Policies in integers, from raw numbers of a kernel to settings: what the exported C computes, bit for bit."""
