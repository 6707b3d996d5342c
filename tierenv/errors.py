"""The one error a user's input can cause."""

import difflib
from collections.abc import Iterable


class ConfigError(ValueError):
    """Bad input: one line that names the file, the field, the value and what is allowed."""


def close_match(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" for the nearest known word, or an empty string."""
    matches = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
