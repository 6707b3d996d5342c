"""Words of others made harmless, and numbers for people."""

import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tierenv.train.statistics import Estimate

MOST_CHARACTERS = 300
"""Of a text out of a file."""
MOST_LABEL_CHARACTERS = 25
"""Of a name in a picture."""

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_UNSEEN = {"Cc", "Cf", "Co", "Cn", "Cs"}
"""Unicode's categories of what nobody sees and what changes how the rest is seen: control characters, marks of writing
direction, halves of surrogate pairs, what has no meaning."""


def clean(content: Any) -> Any:
    """What a JSON file holds with every text, keys included, as `plain`."""
    if isinstance(content, str):
        return plain(content)
    if isinstance(content, list):
        return [clean(entry) for entry in content]
    if isinstance(content, dict):
        return {plain(key): clean(value) for key, value in content.items()}
    return content


def plain(text: str) -> str:
    """A text on one line of characters that are seen as they are, and not too long."""
    shown = "".join(
        " " if character.isspace() else _REPLACEMENT if unicodedata.category(character) in _UNSEEN else character
        for character in text[: MOST_CHARACTERS + 1]
    )
    return shown if len(shown) <= MOST_CHARACTERS else f"{shown[: MOST_CHARACTERS - 1]}…"


def cut(name: str) -> str:
    """The end of a name, as long as there is room for in a picture."""
    return name if len(name) <= MOST_LABEL_CHARACTERS else f"…{name[1 - MOST_LABEL_CHARACTERS :]}"


def short(policy: str) -> str:
    """The last part of a path, for policies that are folders."""
    return Path(policy).name or policy


def percent(share: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """A share in percent."""
    if share is None or not math.isfinite(share):
        return "-"
    number = round(100 * share, digits) + 0.0  # no -0.0
    return f"{number:{'+' if signed and number else ''}.{digits}f} %"


def percent_interval(estimate: Estimate | None, digits: int = 1, *, signed: bool = False) -> str:
    """A share in percent with its interval."""
    if estimate is None:
        return "-"
    value = percent(estimate.value, digits, signed=signed)
    if estimate.interval is None:
        return value
    return f"{value} [{', '.join(percent(end, digits, signed=signed)[:-2] for end in estimate.interval)}]"


def with_interval(value: float, interval: Sequence[float] | None, number: str = ".1f") -> str:
    """A number with its interval."""
    if interval is None:
        return format(value, number)
    low, high = interval
    return f"{value:{number}} [{low:{number}}, {high:{number}}]"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def counted(number: int, one: str, several: str = "") -> str:
    """A number of things; of several the word with an s unless another is given."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def four_digits(number: float | None) -> str:
    """A number in as many digits as say something."""
    if number is None:
        return "-"
    return f"{number:,.0f}" if 1000 <= abs(number) < 1e15 else f"{number:.4g}"
