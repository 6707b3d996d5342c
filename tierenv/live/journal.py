"""Notes of knobs: what was found before the first write of ours, and what of ours a knob may hold.

The folder and its form are those of the exported scripts (`original/KNOB` and `applied/KNOB` under /run/tierenv, every
value of ours a line, the last one last), so a script takes back what a controller has left. A file beside them says
that they are a controller's: what a script has set on purpose no controller takes back. A note is written before its
knob: whenever a process is killed, the note is right. Whoever changes notes holds the lock on them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from tierenv.live.files import NEW, NOTES, read_number, read_text, replace_whole, write_existing
from tierenv.live.kernel import KNOBS, KnobValues, is_value_of

_OWNER = "controller"
"""There as long as the notes are a controller's; an exported script removes it once its own setting is in force."""
_MODE = 0o600


class WrittenByOthers(Exception):
    """A knob holds what neither was found nor is ours."""


class Unreadable(Exception):
    """A note is there and tells nothing, which is not the same as none."""


@dataclass(frozen=True)
class Restored:
    """What came of putting things back."""

    lines: list[str]
    """What was done, a line a knob."""
    is_complete: bool
    """Whether nothing is left to do."""
    of_others: list[str]
    """Knobs that somebody else has written since, which are left as they are."""


class Journal:
    """The notes of one machine.

    Args:
        root: put before every path.
        locked: the folder of the notes as `locked_notes` opened it; None for who writes no knob.
    """

    def __init__(self, root: str, locked: int | None = None) -> None:
        self.root = root
        self._folder = root + NOTES
        self._locked = locked
        self._found: KnobValues = {}
        """What this process found, should the notes be removed under it."""
        self._written: dict[str, list[int]] = {}
        """What of ours these knobs may hold."""

    @property
    def is_ours(self) -> bool:
        """Whether the notes, if there are any, are a controller's."""
        return os.path.exists(f"{self._folder}/{_OWNER}")

    @property
    def is_there(self) -> bool:
        """Whether the folder that was locked is still there, and in it all that this process has noted."""
        if self._locked is not None:
            try:
                here = os.stat(self._folder)
            except OSError:
                return False
            if not os.path.samestat(here, os.fstat(self._locked)):
                return False
        return all(self.is_ours and os.path.exists(self._file("original", path)) for path in self._found)

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
        found = read_number(self.root + path)
        if found != expected:
            raise WrittenByOthers(f"{path} ({expected} -> {found})")
        if not is_value_of(path, value) or not is_value_of(path, found):
            return f"{found} -> {value} is nothing to write there"
        if found == value:
            return None
        try:
            ours = self._ours(path)
            self._note(path, found, [*ours, value])
            reason = self._set(path, value)
            if reason is None:
                self._keep("applied", path, [value])
                return None
            now = read_number(self.root + path)
            if now == found and not ours:
                self._forget(path)
            elif now is not None and now != found:
                self._claim(path, value, now, [*ours, value])
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

    def restore(self) -> Restored:
        """Put back what was found, whatever notes of a controller or this process's memory tell.

        A knob that somebody else has written since is left as it is. Notes of an exported script are left alone.
        """
        if not self.is_ours and not self._found:
            return Restored([], True, [])
        is_complete = True
        lines: list[str] = []
        of_others: list[str] = []
        for path in self._restoring_order():
            line, is_done = self._restore(path, of_others)
            lines += [line] * bool(line)
            is_complete &= is_done
        if is_complete:
            _remove(f"{self._folder}/{_OWNER}")
        return Restored(lines, is_complete, of_others)

    def _restore(self, path: str, of_others: list[str]) -> tuple[str, bool]:
        """The same of one knob: a line on it, and whether nothing is left to do."""
        original, ours = self._found.get(path), self._written.get(path, [])
        if original is None and self.is_ours:
            try:
                original, ours = self._original(path), self._ours(path)
            except Unreadable as error:
                return f"{path}: {error}; left as it is, the note stays", False
        now = read_number(self.root + path)
        if original is None:  # at most the rest of a note, of a process killed before its first write or after its last
            return "", self._forget(path)
        if not is_value_of(path, original):
            return f"{path}: the note of it holds {original}, which it cannot; left as it is, the note stays", False
        if now == original:
            line = f"{path} is {original} already"
        elif now is not None and now not in ours:
            of_others.append(path)
            line = f"{path} was changed to {now} by somebody else; left as it is, it held {original} before"
        else:
            reason = self._set(path, original)
            if reason is not None:
                return f"{path} cannot be put back to {original}: {reason}; its note stays", False
            line = f"{path}: {now} -> {original}"
        return line, self._forget(path)

    def _claim(self, path: str, value: int, now: int, ours: list[int]) -> None:
        """Tell what the kernel makes of a value, which is ours, from what somebody else wrote in the same moment."""
        self._set(path, value)
        if read_number(self.root + path) not in (now, value):
            raise WrittenByOthers(f"{path} ({value} -> {now})")
        self._keep("applied", path, [*ours, now])

    def _original(self, path: str) -> int | None:
        """What was found in a knob before it was written, None where it was not. Raises `Unreadable`."""
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
        noted = {**self.noted(), **self._found}

        def goes_up(path: str) -> bool:
            now = read_number(self.root + path)
            return path in noted and now is not None and noted[path] > now

        upward = [path for path in KNOBS if goes_up(path)]
        return [path for path in KNOBS if path not in upward] + upward[::-1]

    def _note(self, path: str, found: int, ours: list[int]) -> None:
        is_new = self._original(path) is None
        if is_new and not self.is_ours:
            replace_whole(f"{self._folder}/{_OWNER}", f"{os.getpid()}\n", _MODE, f"{self._folder}/{NEW}")
        self._keep("applied", path, ours)
        if is_new:
            self._found.setdefault(path, found)
            self._keep("original", path, [self._found[path]])

    def _keep(self, kind: str, path: str, values: list[int]) -> None:
        file = self._file(kind, path)
        os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
        if os.path.realpath(file) != file:
            raise OSError(f"{file} is reached through a symbolic link")
        replace_whole(file, "".join(f"{value}\n" for value in values), _MODE, f"{self._folder}/{NEW}")
        if kind == "applied":
            self._written[path] = values

    def _forget(self, path: str) -> bool:
        """Drop the note of a knob, the original first: without it there is none. Returns whether it could."""
        self._found.pop(path, None)
        self._written.pop(path, None)
        return not self.is_ours or all([_remove(self._file(kind, path)) for kind in ("original", "applied")])

    def _set(self, path: str, value: int) -> str | None:
        """Write a knob and look whether the kernel took it."""
        try:
            write_existing(self.root + path, str(value))
        except OSError as error:
            return error.strerror or str(error)
        now = read_number(self.root + path)
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
