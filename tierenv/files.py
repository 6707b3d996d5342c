"""Files and folders that are either whole or absent, even when the program dies while writing them."""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    with _refused_by_name(path):
        target = _where_it_leads(path)
        if target.is_dir():
            raise OSError(errno.EISDIR, "is a folder, not a file")
        if target.exists() and not target.is_file():
            target.write_bytes(content)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_name(target)
        try:
            _write_durably(temporary, content)
            if executable:
                temporary.chmod(temporary.stat().st_mode | 0o111)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


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
        temporary = _temporary_name(target)
        temporary.mkdir()
    try:
        yield temporary
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
        if error.errno not in _BAD_PATH:
            raise
        raise ConfigError(f"{path}: {error.strerror}") from None


def _where_it_leads(path: str | Path) -> Path:
    """What a path stands for, through links: a link stays one. Raises OSError for one that leads in a circle."""
    with suppress(FileNotFoundError):
        mode = os.stat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            return Path(path)  # /dev/stdout leads to what has no name
    return Path(path).resolve()


def _temporary_name(target: Path) -> Path:
    """A hidden name in the same folder, hence on the same file system.

    Not from `tempfile`, which makes files and folders that only their owner can read.
    """
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
