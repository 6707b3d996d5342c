"""Notes of knobs: what was found before the first write of ours, and what of ours a knob may hold.

The folder and its form are those of the exported scripts (`original/KNOB` and `applied/KNOB` under /run/tierenv, every
value of ours a line, the last one last), so either takes back what the other has set. A note is written before its
knob: whenever a process is killed, the note is right. Whoever changes notes holds the lock on them.
"""

from __future__ import annotations

import os

from tierenv.live.files import NOTES, read_number, read_text, replace_whole, write_existing
from tierenv.live.kernel import KNOBS, MOST, KnobValues


class Journal:
    """The notes of one machine."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._folder = root + NOTES

    def write(self, path: str, value: int) -> str | None:
        """Note a knob, write it, and read it back. Returns what went wrong, None if nothing did.

        A knob that the kernel refuses is left as it is, with its note as before.
        """
        found = read_number(self._root + path)
        if path not in KNOBS or found is None:
            return f"{self._root + path} cannot be read"
        if found == value:
            return None
        ours = self.ours(path)
        self._note(path, found, [*ours, value])
        reason = self._set(path, value)
        now = read_number(self._root + path)
        if reason is None:
            self._keep("applied", path, [value])
        elif now == found and not ours:
            self.forget(path)
        else:  # what the kernel has made of it is ours, too
            self._keep("applied", path, [*ours, *([] if now is None else [now])])
        return reason

    def original(self, path: str) -> int | None:
        """What was found in a knob before it was ours, None where it is not."""
        return read_number(self._file("original", path))

    def ours(self, path: str) -> list[int]:
        """Values of ours that a knob may hold."""
        if self.original(path) is None:
            return []
        try:
            lines = read_text(self._file("applied", path)).split()
        except OSError:
            return []
        return [int(line) for line in lines if line.isascii() and line.isdigit()]

    def noted(self) -> KnobValues:
        """Knobs that are ours, with what was found in them."""
        found = {path: self.original(path) for path in KNOBS}
        return {path: value for path, value in found.items() if value is not None}

    def restore(self) -> tuple[list[str], bool]:
        """Put back what was found. Returns what was done, a line each, and whether nothing is left to do.

        A knob that somebody else has written since is left as it is.
        """
        lines, is_complete = [], True
        for path in self._restoring_order():
            original, now = self.original(path), read_number(self._root + path)
            if original is None:
                self.forget(path)  # the rest of a note, of a process killed before its first write or after its last
                continue
            if original > MOST:
                lines.append(f"{path}: the note of it holds {original}, which no knob does; left as it is")
                is_complete = False
                continue
            if now is not None and now not in (original, *self.ours(path)):
                lines.append(f"{path} was changed to {now} by somebody else; left as it is, it held {original} before")
            elif now == original:
                lines.append(f"{path} is {original} already")
            else:
                reason = self._set(path, original)
                if reason is not None:
                    lines.append(f"{path} cannot be put back to {original}: {reason}; its note stays")
                    is_complete = False
                    continue
                lines.append(f"{path}: {now} -> {original}")
            self.forget(path)
        return lines, is_complete

    def forget(self, path: str) -> None:
        """Drop the note of a knob, the original first: without it there is none."""
        for kind in ("original", "applied"):
            try:
                os.unlink(self._file(kind, path))
            except FileNotFoundError:
                pass

    def _restoring_order(self) -> list[str]:
        """Knobs, so ordered that the shortest pass is never longer than the longest one on the way."""

        def goes_up(path: str) -> bool:
            original, now = self.original(path), read_number(self._root + path)
            return original is not None and now is not None and original > now

        upward = [path for path in KNOBS if goes_up(path)]
        return [path for path in KNOBS if path not in upward] + upward[::-1]

    def _note(self, path: str, found: int, ours: list[int]) -> None:
        is_new = self.original(path) is None
        self._keep("applied", path, ours)
        if is_new:
            self._keep("original", path, [found])

    def _keep(self, kind: str, path: str, values: list[int]) -> None:
        file = self._file(kind, path)
        os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
        replace_whole(file, "".join(f"{value}\n" for value in values))

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
