"""Quantities with units: "4GiB", "100ms", "256MiB/s" to numbers and back. Written sizes are binary."""

import math
import re
from collections.abc import Mapping

PAGE_BYTES = 4096
"""Base page size of x86-64 [bytes]."""

CACHE_LINE_BYTES = 64
"""Memory traffic of one access [bytes]."""

GIB = 1 << 30
MIB = 1 << 20

MAX_BYTES = 64 << 40
"""The largest machines have so much memory."""
DAY_S = 86400.0
"""No setting of a machine is longer, and no run: a model's clock still tells nanoseconds apart then."""

_SIZES = {"B": 1, "KiB": 1 << 10, "MiB": MIB, "GiB": GIB, "TiB": 1 << 40, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
"""The decimal ones are those that memory benchmarks print bandwidths in."""
_TIMES_S = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
_TIMES_MS = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3, "min": 6e4}
_WINDOWS = re.compile(r"(?<=[0-9])\s*windows?\s*$")
_QUANTITY = re.compile(r"\s*([0-9.eE+-]+?)\s*([A-Za-z]+)(/s)?\s*")


def _parse(text: object, units: Mapping[str, float], per_second: bool, example: str) -> float:
    match = _QUANTITY.fullmatch(text) if isinstance(text, str) else None
    allowed = ", ".join(f"{unit}/s" if per_second else unit for unit in units)
    if match is None or match[2] not in units or bool(match[3]) != per_second:
        raise ValueError(f"{text!r} is not a quantity in {allowed} (for example {example!r})")
    try:
        number = float(match[1]) * units[match[2]]
    except ValueError:
        raise ValueError(f"{text!r}: {match[1]!r} is not a number") from None
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{text!r} must be finite and not negative")
    return number


def parse_bytes(text: object) -> int:
    """Parse bytes, such as "4GiB". Raises ValueError for another unit or a negative number."""
    return round(_parse(text, _SIZES, per_second=False, example="4GiB"))


def parse_seconds(text: object) -> float:
    """Parse seconds, such as "100ms". Raises ValueError for another unit or a negative number."""
    return _parse(text, _TIMES_S, per_second=False, example="100ms")


def parse_ms(text: object) -> float:
    """Parse milliseconds, such as "100ms" or "2s". Raises ValueError for another unit or a negative number."""
    return _parse(text, _TIMES_MS, per_second=False, example="100ms")


def parse_number(text: object) -> float:
    """Parse a plain number. Raises ValueError for anything else, not finite or negative."""
    if isinstance(text, bool):
        raise ValueError(f"{text!r} is not a number")
    try:
        number = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a number") from None
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{text!r} must be finite and not negative")
    return number


def parse_windows(text: object) -> float:
    """Parse a number of windows, such as 4 or "4 windows". Raises ValueError for a part of one."""
    number = parse_number(_WINDOWS.sub("", text) if isinstance(text, str) else text)
    if number != math.floor(number):
        raise ValueError(f"{text!r} must be a whole number of windows")
    return number


def parse_bytes_per_s(text: object) -> float:
    """Parse bytes per second, such as "256MiB/s", or "unlimited", infinity. Raises ValueError for another unit."""
    if text == "unlimited":
        return math.inf
    return _parse(text, _SIZES, per_second=True, example="256MiB/s")


def format_number(number: float) -> str:
    """Four digits, as people write numbers: 20000, not 2e+04."""
    return f"{float(f'{number:.4g}'):.15g}"


def format_ms(number: float) -> str:
    """Milliseconds."""
    return f"{format_number(number)}ms"


def format_windows(number: float) -> str:
    """A number of windows."""
    return f"{format_number(number)} window{'s' * (number != 1)}"


def format_seconds(seconds: float) -> str:
    """Seconds in the largest unit, up to the second, that keeps the number at or above one."""
    for unit in ("s", "ms", "us"):
        if seconds >= _TIMES_S[unit]:
            return f"{seconds / _TIMES_S[unit]:g}{unit}"
    return f"{seconds / _TIMES_S['ns']:g}ns"


def format_bytes(number: float) -> str:
    """Bytes to the largest binary unit that keeps the number at or above one, four digits at most."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if abs(number) >= _SIZES[unit]:
            return f"{number / _SIZES[unit]:.4g}{unit}"
    return f"{number:.4g}B"


def format_bytes_per_s(number: float) -> str:
    """Bytes/s in binary units, or "unlimited"."""
    return "unlimited" if math.isinf(number) else f"{format_bytes(number)}/s"
