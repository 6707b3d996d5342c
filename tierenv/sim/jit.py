"""numba's decorator for the models, with a cache outside the source tree.

numba checks one file for each function it has in its cache, so an edited helper or constant would leave stale machine
code in its callers, and a cache inside site-packages outlives an uninstallation. The cache therefore lives in the
user's cache folder, for each module under a hash of its source and of all sources of tierenv that it imports, directly
or not: an edit to one model leaves what the other has compiled.
"""

import ast
import hashlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numba
from numba.core.event import Listener, register

log = logging.getLogger(__name__)


def njit(function: Callable[..., Any], inline: str = "never") -> Any:
    """A compiled function.

    Without numba's reference counting (`_nrt`), which took two thirds of the model's time on the views it reads, so it
    must not allocate.
    """
    folder = _cache_folder(Path(function.__code__.co_filename))
    compiled = partial(numba.njit, nogil=True, error_model="numpy", _nrt=False, inline=inline)
    if folder is None:
        return compiled(function)
    # the one way to tell numba the folder for one function
    others_folder = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)
    try:
        return compiled(function, cache=True)
    finally:
        numba.config.CACHE_DIR = others_folder


njit_inlined = partial(njit, inline="always")
"""A compiled function that disappears into its callers. Handing the arrays of a `Machine` to a function costs about
50 ns, more than most of the model's steps do."""


@cache
def _cache_folder(module: Path) -> Path | None:
    """A writable folder keyed by the sources a module is compiled from, or None where there is none."""
    base = _cache_base()
    if base is None:
        return None
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(_sources(module)))).hexdigest()[:16]
    folder = base / f"{module.parent.name}-{module.stem}-{digest}"
    return folder if _is_usable(folder) else None


@cache
def _cache_base() -> Path | None:
    """The first usable of the folders that may hold the cache: numba's, the user's, one for temporary files."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    places = [caches / "tierenv", Path(tempfile.gettempdir()) / f"tierenv-{os.getuid()}"]
    if numba.config.CACHE_DIR:
        places = [Path(numba.config.CACHE_DIR) / "tierenv"]
    return next(filter(_is_usable, places), None)


def _is_usable(folder: Path) -> bool:
    """Whether a folder, made if need be, can be written to and is nobody else's, who could put code there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.access(folder, os.W_OK) and folder.stat().st_uid == os.getuid()
    except OSError:
        return False


def _sources(module: Path) -> set[Path]:
    """The file of a module and those of all modules of tierenv that it imports, directly or not."""
    found: set[Path] = set()
    ahead = {module}
    while ahead:
        path = ahead.pop()
        found.add(path)
        ahead |= _imports(path) - found
    return found


@cache
def _imports(path: Path) -> frozenset[Path]:
    """The files of the modules of tierenv that a file imports, loaded by then: imports stand before functions."""
    names = set()
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tierenv."):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    files = (getattr(sys.modules.get(name), "__file__", None) for name in names)
    return frozenset(Path(file) for file in files if file)


class _CompilationNotice(Listener):
    """Says why the first step takes a minute: at the first function that is not in the cache, and not again."""

    def __init__(self) -> None:
        self._is_given = False

    def on_start(self, event: Any) -> None:
        """Numba begins to compile a function."""
        if self._is_given or not event.data["dispatcher"].py_func.__module__.startswith("tierenv.sim."):
            return
        self._is_given = True
        base = _cache_base()
        kept = "at every start, as no folder to keep it is writable" if base is None else f"once (kept in {base})"
        log.warning("compiling the model of the machine, %s: this takes up to a minute", kept)

    def on_end(self, event: Any) -> None:
        """There is nothing to say."""


register("numba:compile", _CompilationNotice())
