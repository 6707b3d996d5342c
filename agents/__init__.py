"""Whatever decides: heuristics, learned policies, trees, and the forms they are exported in."""

# The checkout's folder is importable under its bare name too, as a second copy of every module.
if __name__ != "tierenv.agents":
    raise ImportError(f"imported as {__name__!r}: use tierenv.agents")
