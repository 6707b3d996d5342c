"""numba's decorator for the model, with a cache outside the source tree.

numba keys its cache by one file at a time, so an edited helper would leave stale machine code in its callers, and a
cache inside site-packages outlives an uninstallation. The cache therefore lives in the user's cache folder, under a
hash of all sources of the model.
"""

import hashlib
import os
import tempfile
from functools import partial
from pathlib import Path

import numba

from tierenv import counters, tunables, units


def _cache_folder() -> Path | None:
    """A writable folder keyed by the model's sources, or None where there is none."""
    sources = [
        *sorted(Path(__file__).parent.rglob("*.py")),
        *(Path(str(module.__file__)) for module in (counters, tunables, units)),
    ]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    for base in (caches, tempfile.gettempdir()):
        folder = Path(base) / "tierenv" / digest
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return None


_has_cache = True
if "NUMBA_CACHE_DIR" not in os.environ:
    if _folder := _cache_folder():
        numba.config.CACHE_DIR = str(_folder)
    else:
        _has_cache = False

njit = partial(numba.njit, cache=_has_cache, nogil=True, error_model="numpy", _nrt=False)
"""A compiled function. Without numba's reference counting (`_nrt`), which took two thirds of the model's time on the
views it reads, so it must not allocate."""

njit_inlined = partial(njit, inline="always")
"""A compiled function that disappears into its callers. Handing the arrays of a `Machine` to a function costs about
50 ns, more than most of the model's steps do."""
