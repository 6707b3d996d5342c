"""numba's decorator for the models, with a cache outside the source tree.

numba checks one file for each function it has in its cache, so an edited helper or constant would leave stale machine
code in its callers, and a cache inside site-packages outlives an uninstallation. The cache therefore lives in the
user's cache folder, for each module under a hash of its source and of all sources of tierenv that it imports, directly
or not: an edit to one model leaves what the other has compiled.

What is in the cache is unpickled and run, so it is kept only where nobody else can write. And it is a matter of speed
alone: where there is no such folder, or it is full or spoiled, every process compiles for itself.
"""

import ast
import hashlib
import logging
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.core.event import Listener, register

from tierenv.folders import user_folder

log = logging.getLogger(__name__)


def njit(function: Callable[..., Any], inline: str = "never") -> Any:
    """A compiled function.

    Without numba's reference counting (`_nrt`), which took two thirds of the model's time on the views it reads, so it
    must not allocate.
    """
    compiled = numba.njit(nogil=True, error_model="numpy", _nrt=False, inline=inline)(function)
    if _cache_folder(Path(function.__code__.co_filename)) is not None:
        compiled._cache = _OptionalCache(function)  # what enable_caching() does with numba's own
    return compiled


njit_inlined = partial(njit, inline="always")
"""A compiled function that disappears into its callers. Handing the arrays of a `Machine` to a function costs about
50 ns, more than most of the model's steps do."""


class _Locator(_CacheLocator):
    """Tells numba the folder of a function's module, whose name stands for all it is compiled from."""

    def __init__(self, function: Callable[..., Any], path: str) -> None:
        self._py_file = path  # for numba's warnings
        self._folder = _cache_folder(Path(path))
        self._line = function.__code__.co_firstlineno

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> "_Locator":
        return cls(py_func, py_file)

    def ensure_cache_path(self) -> None:
        """It is there; numba would make one that others may be allowed to write to."""

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        assert self._folder is not None
        return self._folder.name

    def get_disambiguator(self) -> str:
        return str(self._line)


class _LocatedCache(CompileResultCacheImpl):
    _locator_classes = [_Locator]


class _OptionalCache(FunctionCache):
    """A function's cache whose troubles are told once and survived."""

    _impl_class = _LocatedCache

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What is stored for a signature; None where nothing is or it cannot be read, and then it is written anew."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # unpickling what is torn raises anything
            self._tell("what it holds cannot be read and is compiled anew", error)
        try:
            self.flush()
        except OSError:
            self.disable()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store what was compiled, if possible."""
        try:
            super().save_overload(sig, data)
        except OSError as error:  # a full disk, a quota, a folder that has gone
            self._tell("what is compiled is not kept", error)
            self.disable()

    def _tell(self, consequence: str, error: Exception) -> None:
        cause = getattr(error, "strerror", None) or type(error).__name__
        _warn_once(f"{Path(self.cache_path).parent}: {consequence}", cause)


@cache
def _warn_once(consequence: str, cause: str) -> None:
    log.warning("compiled model in %s (%s)", consequence, cause)


@cache
def _cache_folder(module: Path) -> Path | None:
    """A folder keyed by the sources a module is compiled from, or None where there is none to be had."""
    base = _cache_base()[0]
    if base is None:
        return None
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(_sources(module)))).hexdigest()[:16]
    folder = base / f"{module.parent.name}-{module.stem}-{digest}"
    problem = _problem_with(folder)
    if problem is None:
        return folder
    _warn_once(f"{base}: what is compiled is not kept", problem)
    return None


@cache
def _cache_base() -> tuple[Path | None, str]:
    """The first usable of the folders that may hold the cache, or what is wrong with each of them."""
    problems = []
    for place in _places():
        problem = _problem_with(place)
        if problem is None:
            return place, ""
        problems.append(f"{place}: {problem}")
    return None, "; ".join(problems)


def _places() -> list[Path]:
    """Folders that may hold the cache: numba's where it is set, or else the user's and one for temporary files."""
    if numba.config.CACHE_DIR:
        return [Path(numba.config.CACHE_DIR) / "tierenv"]
    places = [folder] if (folder := user_folder("cache")) is not None else []
    try:
        places.append(Path(tempfile.gettempdir()) / f"tierenv-{os.getuid()}")
    except FileNotFoundError:  # none is writable
        pass
    return places


def _problem_with(folder: Path) -> str | None:
    """Why a folder, made if need be, cannot hold code that will be run; None where it can."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        return error.strerror
    if not stat.S_ISDIR(status.st_mode):
        return "is a link"
    if status.st_uid != os.getuid():
        return "belongs to somebody else"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others can write to it"
    if not os.access(folder, os.W_OK | os.X_OK):
        return "is not writable"
    return None


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
        base, problems = _cache_base()
        kept = f"at every start ({problems or 'no folder to keep it in'})" if base is None else f"once (kept in {base})"
        log.warning("compiling the model of the machine, %s: this takes up to a minute", kept)

    def on_end(self, event: Any) -> None:
        """There is nothing to say."""


register("numba:compile", _CompilationNotice())
