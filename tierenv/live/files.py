"""Reading and writing of the few files that a controller touches: small, whole, and through no symbolic link.

Paths are those of the machine; `root` is put before them, empty but in tests.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

NOTES = "/run/tierenv"
"""Where the exported scripts keep theirs, too, so that each can take back what another has set."""

NEW = "new"
"""There, what is about to become a note; one name will do for whoever holds the lock."""

_MOST_BYTES = 1 << 20
"""Of any file that is read."""


class Refused(Exception):
    """What stands in the way, in one line for people."""


class Locked(Refused):
    """Somebody else changes things."""


def root_folder() -> str:
    """A copy of the tree to work on, for tests (TIERENV_ROOT, as of the exported scripts); empty for the machine."""
    root = os.environ.get("TIERENV_ROOT", "")
    return "" if not root or os.path.realpath(root) == "/" else os.path.realpath(root)


def read_text(path: str) -> str:
    """The content of a file that is no symbolic link, without the line's end. Raises OSError.

    Nor with the zeros that tar puts behind it in a copy, for the kernel says of each file that it has a page. A pipe is
    not waited for.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        parts: list[bytes] = []
        while sum(map(len, parts)) < _MOST_BYTES:
            parts.append(os.read(descriptor, _MOST_BYTES))  # the kernel gives a page or so at a time
            if not parts[-1]:
                break
        return b"".join(parts).decode("utf-8", "replace").rstrip("\n\0")
    finally:
        os.close(descriptor)


def read_number(path: str) -> int | None:
    """The number a file holds, None where it cannot be read or holds something else."""
    try:
        text = read_text(path).strip()
    except OSError:
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None


def write_existing(path: str, text: str) -> None:
    """Write a file of the kernel's, which is there and is reached through no symbolic link. Raises OSError."""
    if os.path.realpath(path) != path:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        if found.st_size > 0:  # a plain file, in tests: those of the kernel have no size
            os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{text}\n".encode())
    finally:
        os.close(descriptor)


def replace_whole(path: str, text: str, mode: int, temporary: str) -> None:
    """Write a file of ours: a new one, then a rename, so that it is whole or as before. Raises OSError.

    Args:
        path: of the file.
        text: its content.
        mode: its permissions, whatever the umask.
        temporary: of the new one, on the same file system.
    """
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        os.fchmod(descriptor, mode)
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
    os.replace(temporary, path)


def is_written_by_others(path: str) -> str | None:
    """The first of a path and its parents that another account than root and ours can write, None without one.

    Of a symbolic link both ways count: who can write the folder of the link decides where it leads.
    """
    for here in (os.path.abspath(path), os.path.realpath(path)):
        while True:
            found = os.lstat(here)
            is_link = stat.S_ISLNK(found.st_mode)  # whose own mode means nothing
            if found.st_uid not in (0, os.geteuid()) or (found.st_mode & 0o022 and not is_link):
                return here
            if here == os.path.dirname(here):
                break
            here = os.path.dirname(here)
    return None


@contextmanager
def locked_notes(root: str, wait_s: float = 0.0) -> Iterator[int]:
    """Hold the lock on the folder of the notes, as the exported scripts do; one at a time changes anything.

    Yields the folder as it was opened: should another take its place, the lock is worth nothing. A process that is
    forked meanwhile holds it, too, until it ends.

    Args:
        root: put before the folder.
        wait_s: for somebody else to let go.

    Raises:
        Locked: where somebody else holds it.
        Refused: where the folder cannot be made.
    """
    folder = root + NOTES
    try:
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        if not os.path.lexists(folder):
            os.mkdir(folder, 0o700)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(f"{folder}: {error.strerror}: the notes of what was found cannot be kept there") from None
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise Refused(f"{folder} can be written by others: remove it")
        until_s = time.monotonic() + wait_s
        while not _has_locked(descriptor):
            if time.monotonic() >= until_s:
                raise Locked(f"{folder} is locked: a controller runs, or an exported script; see status")
            time.sleep(0.05)
        try:
            os.unlink(f"{folder}/{NEW}")  # of a process that was killed
        except FileNotFoundError:
            pass
        yield descriptor
    finally:
        os.close(descriptor)


def _has_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(root: str) -> bool:
    """Whether somebody holds the notes' lock; asks without keeping others from it."""
    try:
        descriptor = os.open(root + NOTES, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def say(text: str) -> None:
    """Tell people, on stderr; that nobody listens stops nothing."""
    try:
        print(f"tierenv live: {text}", file=sys.stderr, flush=True)
    except (OSError, ValueError, AttributeError):
        pass
