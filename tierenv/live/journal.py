"""Notes of knobs: what was found before the first write of ours, and what of ours a knob may hold.

The folder and its form are those of the exported scripts (`original/KNOB` and `applied/KNOB` under /run/tierenv, every
value of ours a line, the last one last), so a script takes back what a controller has left. A file beside them says
that they are a controller's: what a script has set on purpose no controller takes back. A note is written before its
knob: whenever a process is killed, the note is right. Whoever changes notes holds the lock on them.
"""

from __future__ import annotations

import os

from tierenv.live.files import NEW, NOTES, read_number, read_text, replace_whole, write_existing
from tierenv.live.kernel import KNOBS, KnobValues, is_value_of

_OWNER = "controller"
"""There as long as the notes are a controller's; an exported script removes it with its own first note."""


_MODE = 0o600


class WrittenByOthers(Exception):
    """A knob holds what neither was found nor is ours."""


class Unreadable(Exception):
    """A note is there and tells nothing, which is not the same as none."""


class Journal:
    """The notes of one machine."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._folder = root + NOTES
        self._found: KnobValues = {}
        """What this process found, should the notes be removed under it."""

    @property
    def is_ours(self) -> bool:
        """Whether the notes, if there are any, are a controller's."""
        return os.path.exists(f"{self._folder}/{_OWNER}")

    @property
    def is_there(self) -> bool:
        """Whether what was noted can still be read by others."""
        return not self._found or self.is_ours

    def write(self, path: str, value: int, expected: int) -> str | None:
        """Note a knob, write it, and read it back. Returns what went wrong, None if nothing did.

        A knob that the kernel refuses is left as it is, with its note as before.

        Args:
            path: one of `KNOBS`.
            value: to write.
            expected: what it held when it was last read.

        Raises:
            WrittenByOthers: where it holds something else by now.
        """
        now = read_number(self._root + path)
        if now != expected:
            raise WrittenByOthers(f"{path} ({expected} -> {now})")
        if not is_value_of(path, value) or not is_value_of(path, now):
            return f"{now} -> {value} is nothing to write there"
        if now == value:
            return None
        try:
            ours = self._ours(path)
            self._note(path, now, [*ours, value])
            reason = self._set(path, value)
            now_s = read_number(self._root + path)
            if reason is None:
                self._keep("applied", path, [value])
            elif now_s == now and not ours:
                self._forget(path)
            else:  # what the kernel has made of it is ours, too
                self._keep("applied", path, [*ours, *([] if now_s is None else [now_s])])
        except (OSError, Unreadable) as error:
            return f"its note cannot be kept: {error}"
        return reason

    def noted(self) -> KnobValues:
        """Knobs that have a note, with what was found in them; 0 for a note that cannot be read."""
        found: KnobValues = {}
        for path in KNOBS:
            try:
                original = self._original(path)
            except Unreadable:
                original = 0
            if original is not None:
                found[path] = original
        return found

    def restore(self) -> tuple[list[str], bool]:
        """Put back what was found. Returns what was done, a line each, and whether nothing is left to do.

        A knob that somebody else has written since is left as it is. Notes of an exported script are left alone.
        """
        if not self.is_ours and not self._found:
            return [], True
        lines, is_complete = [], True
        for path in self._restoring_order():
            line, is_done = self._restore(path)
            lines += [line] * bool(line)
            is_complete &= is_done
        if is_complete:
            _remove(f"{self._folder}/{_OWNER}")
            self._found = {}
        return lines, is_complete

    def _restore(self, path: str) -> tuple[str, bool]:
        """The same of one knob."""
        try:
            noted, ours = self._original(path), self._ours(path)
        except Unreadable as error:
            return f"{path}: {error}; left as it is, the note stays", False
        original, now = noted if noted is not None else self._found.get(path), read_number(self._root + path)
        if original is None:
            return "", self._forget(
                path
            )  # the rest of a note, of a process killed before its first write or after its last
        if not is_value_of(path, original):
            return f"{path}: the note of it holds {original}, which it cannot; left as it is, the note stays", False
        if now == original:
            line = f"{path} is {original} already"
        elif noted is not None and now is not None and now not in ours:
            line = f"{path} was changed to {now} by somebody else; left as it is, it held {original} before"
        else:
            reason = self._set(path, original)
            if reason is not None:
                return f"{path} cannot be put back to {original}: {reason}; its note stays", False
            line = f"{path}: {now} -> {original}"
        return line, self._forget(path)

    def _original(self, path: str) -> int | None:
        """What was found in a knob before it was ours, None where it is not. Raises `Unreadable`."""
        numbers = self._numbers("original", path)
        if numbers is None:
            return None
        if len(numbers) != 1:
            raise Unreadable(f"{self._file('original', path)} does not hold a number")
        return numbers[0]

    def _ours(self, path: str) -> list[int]:
        """Values of ours that a knob may hold. Raises `Unreadable`."""
        return [] if self._original(path) is None else self._numbers("applied", path) or []

    def _numbers(self, kind: str, path: str) -> list[int] | None:
        file = self._file(kind, path)
        try:
            words = read_text(file).split()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unreadable(f"{file} cannot be read: {error.strerror}") from None
        if not all(word.isascii() and word.isdigit() and len(word) <= 20 for word in words):
            raise Unreadable(f"{file} does not hold numbers")
        return [int(word) for word in words]

    def _restoring_order(self) -> list[str]:
        """Knobs, so ordered that the shortest pass is never longer than the longest one on the way."""
        noted = self._found | self.noted()

        def goes_up(path: str) -> bool:
            now = read_number(self._root + path)
            return path in noted and now is not None and noted[path] > now

        upward = [path for path in KNOBS if goes_up(path)]
        return [path for path in KNOBS if path not in upward] + upward[::-1]

    def _note(self, path: str, found: int, ours: list[int]) -> None:
        is_new = self._original(path) is None
        if is_new and not self.is_ours:
            replace_whole(f"{self._folder}/{_OWNER}", f"{os.getpid()}\n", _MODE, f"{self._folder}/{NEW}")
        self._keep("applied", path, ours)
        if is_new:
            self._keep("original", path, [found])
            self._found[path] = found

    def _keep(self, kind: str, path: str, values: list[int]) -> None:
        file = self._file(kind, path)
        os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
        if os.path.realpath(file) != file:
            raise OSError(f"{file} is reached through a symbolic link")
        replace_whole(file, "".join(f"{value}\n" for value in values), _MODE, f"{self._folder}/{NEW}")

    def _forget(self, path: str) -> bool:
        """Drop the note of a knob, the original first: without it there is none. Returns whether it could."""
        self._found.pop(path, None)
        return all([_remove(self._file(kind, path)) for kind in ("original", "applied")])

    def _set(self, path: str, value: int) -> str | None:
        """Write a knob and look whether the kernel took it."""
        try:
            write_existing(self._root + path, str(value))
        except OSError as error:
            return error.strerror or str(error)
        now = read_number(self._root + path)
        return None if now == value else f"the kernel took {now} instead of {value}"

    def _file(self, kind: str, path: str) -> str:
        return f"{self._folder}/{kind}{path}"


def _remove(file: str) -> bool:
    try:
        os.unlink(file)
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True
