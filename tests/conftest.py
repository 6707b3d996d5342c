"""Settings shared by all tests."""

import atexit
import os
import shutil
import tempfile

import hypothesis

# A check that draws new examples on each run fails changes at random, so the default draws the same ones.
# To search further: HYPOTHESIS_PROFILE=explore pytest
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

# Neither settings that whoever runs the tests has tuned nor work they left half done decide anything here.
_HOME = tempfile.mkdtemp(prefix="tierenv-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ |= {"XDG_DATA_HOME": f"{_HOME}/data", "XDG_STATE_HOME": f"{_HOME}/state"}
