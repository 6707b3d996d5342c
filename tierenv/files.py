"""Files and folders that are either whole or absent, even when the program dies while writing them."""

import errno
import fcntl
import glob
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from tierenv.errors import ConfigError

_BAD_PATH = {
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
}
"""What can be wrong with a user's path; a full disk, say, is not theirs and stays an OSError."""


def atomic_write_text(path: str | Path, text: str, *, executable: bool = False) -> None:
    """Write a text file under a temporary name and rename it into place; missing parent folders are made.

    Pipes and devices (`/dev/stdout`) are written directly. Raises `ConfigError` for a path that cannot be
    written.
    """
    atomic_write_bytes(path, text.encode(), executable=executable)


def atomic_write_bytes(path: str | Path, content: bytes, *, executable: bool = False) -> None:
    """As `atomic_write_text`, for bytes."""
    with _refused_by_name(path), _written_beside(path, content, executable) as put_in_place:
        put_in_place()


def atomic_write_texts(texts: Mapping[Path, str]) -> None:
    """Write files that belong together, as `atomic_write_text` does: the first appears when all are on the disk."""
    with ExitStack() as stack:
        written = {}
        for path, text in texts.items():
            with _refused_by_name(path):
                written[path] = stack.enter_context(_written_beside(path, text.encode()))
        for path, put_in_place in written.items():
            with _refused_by_name(path):
                put_in_place()


@contextmanager
def _written_beside(path: str | Path, content: bytes, executable: bool = False) -> Iterator[Callable[[], None]]:
    """Write a file under a temporary name; yields what puts it in place."""
    target = _where_it_leads(path)
    if target.is_dir():
        raise OSError(errno.EISDIR, "is a folder, not a file")
    if target.exists() and not target.is_file():
        yield partial(_write_directly, target, content)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with _temporary_file(target) as (temporary, descriptor):
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        os.fsync(descriptor)
        if executable:
            os.chmod(descriptor, os.stat(descriptor).st_mode | 0o111)
        yield partial(_rename, temporary, target)


def _write_directly(target: Path, content: bytes) -> None:
    target.write_bytes(content)


def _rename(temporary: Path, target: Path) -> None:
    temporary.replace(target)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; rename it to `path` at the end.

    If an exception leaves the block, nothing is left behind. Raises `ConfigError` when `path` already
    holds something: a folder cannot be replaced in one step.
    """
    with _refused_by_name(path):
        target = _where_it_leads(path)
        if target.is_dir() and not any(target.iterdir()):
            target.rmdir()
        if target.exists():
            raise OSError(errno.EEXIST, "already exists; remove it or choose another path")
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target)
        temporary = _temporary_name(target)
        temporary.mkdir()
    try:
        with locked(temporary):
            yield temporary
            for file in temporary.rglob("*"):
                _sync(file)
            temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a file or folder, which the kernel takes back from a process that dies.

    Raises `BlockingIOError` if somebody else holds it and there is no waiting.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def remove_temporaries(folder: Path) -> None:
    """Remove what writers that were killed left anywhere in a folder that nobody else writes to."""
    for path in list(folder.rglob(".*.tmp")):
        if _TEMPORARY.fullmatch(path.name):
            _remove(path)


def check_output(path: str | Path) -> None:
    """Raise `ConfigError` for a file that cannot be written: before the work, not after it."""
    with _refused_by_name(path):
        target = _where_it_leads(path)
        if target.is_dir():
            raise OSError(errno.EISDIR, "is a folder, not a file")
        place = target if target.exists() else next(parent for parent in target.parents if parent.exists())
        if not (place.is_dir() or place == target) or not os.access(place, os.W_OK):
            raise OSError(errno.EACCES, "cannot be written")


@contextmanager
def _refused_by_name(path: str | Path) -> Iterator[None]:
    """Make a `ConfigError` that names the path of what is wrong with it."""
    try:
        yield
    except OSError as error:
        if error.errno not in _BAD_PATH:  # a full disk, say
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise ConfigError(f"{path}: {error.strerror}") from None


def _where_it_leads(path: str | Path) -> Path:
    """What a path stands for, through links: a link stays one. Raises OSError for one that leads in a circle."""
    with suppress(FileNotFoundError):
        mode = os.stat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            return Path(path)  # /dev/stdout leads to what has no name
    return Path(path).resolve()


_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


def _temporary_name(target: Path) -> Path:
    """A hidden name in the same folder, hence on the same file system.

    Not from `tempfile`, which makes files and folders that only their owner can read.
    """
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")


@contextmanager
def _temporary_file(target: Path) -> Iterator[tuple[Path, int]]:
    """A new file, locked as long as its writer lives, and its descriptor; removed unless it was renamed."""
    _remove_abandoned(target)
    while True:
        path = _temporary_name(target)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.stat(descriptor).st_nlink:  # else another writer took it for abandoned before it was locked
                yield path, descriptor
                return
        finally:
            path.unlink(missing_ok=True)
            os.close(descriptor)


def _remove_abandoned(target: Path) -> None:
    """Remove the temporaries of this target whose writers were killed."""
    for name in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
        if _TEMPORARY.fullmatch(name.name):
            try:
                with locked(name, wait=False):
                    _remove(name)
            except OSError:
                pass  # being written, or somebody else's


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Have the disk hold what was written."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
