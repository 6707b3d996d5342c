"""The one error a user's input can cause."""

import difflib
from collections.abc import Iterable

LONGEST_MESSAGE = 1000
"""Characters; what a message quotes may be a file's whole content."""


class ConfigError(ValueError):
    """Bad input: one line that names the file, the field, the value and what is allowed.

    What it quotes is somebody else's: characters that do not print are shown as escapes, and of a long message the
    middle is left out.
    """

    def __init__(self, message: str) -> None:
        shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in message)
        if len(shown) > LONGEST_MESSAGE:
            half = LONGEST_MESSAGE // 2
            shown = f"{shown[:half]} ... {shown[-half:]}"
        super().__init__(shown)


def close_match(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" for the nearest known word, or an empty string."""
    matches = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
