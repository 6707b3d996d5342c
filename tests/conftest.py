"""Settings shared by all tests."""

import os

import hypothesis

# A check that draws new examples on each run fails changes at random, so the default draws the same ones.
# To search further: HYPOTHESIS_PROFILE=explore pytest
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
