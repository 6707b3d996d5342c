"""Policies written by hand, each after a kernel default or a paper."""
