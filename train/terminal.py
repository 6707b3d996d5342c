"""Standard output and error as a command needs them, whatever it was started with.

They may be closed, be read by a program that stops reading, or have an encoding that lacks what is printed. None of it
is a reason to give up, for the files a command writes matter more than what it says.
"""

import codecs
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TextIO

UNREAD = 128 + 13
"""Exit code of a command whose reader went away, as if SIGPIPE had ended it."""

_PLAIN = {"•": "*", "…": "...", "–": "-", "—": "-", "×": "x"} | dict(zip("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\|/-\\|/", strict=True))
"""What stands for characters of help and progress that an encoding may lack; of others the escape is shown."""


def on_any_terminal(command: Callable[..., int]) -> Callable[..., int]:
    """A command that returns its exit code, on streams that take whatever it prints.

    Where somebody stopped reading its output it goes on in silence, and returns `UNREAD` if it would have returned 0.
    """

    @wraps(command)
    def run(*arguments: Any) -> int:
        with _lasting("stderr"), _lasting("stdout") as output:
            code = command(*arguments)
            try:
                sys.stdout.flush()
            except OSError as error:  # a full disk, which the command may have met before
                if code == 0:
                    print(f"tierenv: standard output: {error.strerror}", file=sys.stderr)
                return code or 1
        return UNREAD if code == 0 and output is not None and output.is_unread else code

    return run


class _Output(io.FileIO):
    """A descriptor that takes what nobody reads any more."""

    is_unread = False
    tolerated: type[OSError] = BrokenPipeError

    def write(self, data: Any) -> int:
        """Write some of the data, and say how much."""
        try:
            return super().write(data)
        except self.tolerated:
            self.is_unread = True
            return len(data)


@contextmanager
def _lasting(name: str) -> Iterator[_Output | None]:
    """Put a stream of `sys` on an `_Output`; not one that somebody else has put in place, as tests do."""
    original: TextIO | None = getattr(sys, name)
    if original is not getattr(sys, f"__{name}__"):
        yield None
        return
    if original is None:  # closed; the descriptor would go to the first file that is opened, and get the output
        output, encoding = _Output(os.open(os.devnull, os.O_WRONLY), "w"), "utf-8"
    else:
        output, encoding = _Output(original.fileno(), "w", closefd=False), original.encoding
    if name == "stderr":
        output.tolerated = OSError  # nobody could be told
    stream = io.TextIOWrapper(
        io.BufferedWriter(output),
        encoding=encoding,
        errors="tierenv.plain",
        line_buffering=name == "stderr" or output.isatty(),
    )
    setattr(sys, name, stream)
    try:
        yield output
    finally:
        setattr(sys, name, original)


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """Handle characters that cannot be encoded."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(_PLAIN.get(char) or char.encode("ascii", "backslashreplace").decode() for char in missing), error.end


codecs.register_error("tierenv.plain", _plain)
