"""Files and folders that are either whole or absent, even when the program dies while writing them."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tierenv.errors import ConfigError

_BAD_PATH = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError, FileExistsError)
"""What can be wrong with a user's path; a full disk, say, is not theirs and stays an OSError."""


def atomic_write_text(path: str | Path, text: str, *, executable: bool = False) -> None:
    """Write a text file under a temporary name and rename it into place; missing parent folders are made.

    Pipes and devices (`/dev/stdout`) are written directly. Raises `ConfigError` for a path that cannot be
    written.
    """
    atomic_write_bytes(path, text.encode(), executable=executable)


def atomic_write_bytes(path: str | Path, content: bytes, *, executable: bool = False) -> None:
    """As `atomic_write_text`, for bytes."""
    target = Path(path)
    try:
        if target.is_dir():
            raise IsADirectoryError(None, "is a folder, not a file")
        if target.exists() and not target.is_file():
            target.write_bytes(content)
            return
        target = target.resolve()  # through links, so that a link stays one
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_name(target)
        try:
            _write_durably(temporary, content)
            if executable:
                temporary.chmod(temporary.stat().st_mode | 0o111)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except _BAD_PATH as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; rename it to `path` at the end.

    If an exception leaves the block, nothing is left behind. Raises `ConfigError` when `path` already
    holds something: a folder cannot be replaced in one step.
    """
    target = Path(path).resolve()
    try:
        if target.is_dir() and not any(target.iterdir()):
            target.rmdir()
        if target.exists():
            raise FileExistsError(None, "already exists; remove it or choose another path")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_name(target)
        temporary.mkdir()
    except _BAD_PATH as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    try:
        yield temporary
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
