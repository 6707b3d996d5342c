"""What a caller hands over: refused in one line that says what was given and what is allowed."""

import math
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import ArrayLike

from tierenv.errors import ConfigError


def check_shape(name: str, values: ArrayLike, shape: Sequence[int]) -> None:
    """Raise `ConfigError` unless an array, or what is to become one, has this shape."""
    expected = tuple(shape)
    try:
        given = np.shape(values)
    except ValueError:
        raise ConfigError(f"{name}: must have shape {expected}, got rows of different lengths") from None
    if given != expected:
        raise ConfigError(f"{name}: must have shape {expected}, got {given}")


def whole_number(name: str, value: object, least: int, most: int | None = None) -> int:
    """A whole number within limits as an int. Raises `ConfigError`, also for true and false."""
    allowed = f"of at least {least}" if most is None else f"from {least} to {most}"
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        number = int(value)
        if number >= least and (most is None or number <= most):
            return number
    raise ConfigError(f"{name}={value!r}: must be a whole number {allowed}")


def positive_number(name: str, value: object, most: float = math.inf) -> float:
    """A number above 0, at most `most`, as a float. Raises `ConfigError`, also for true and false."""
    allowed = "above 0" if most == math.inf else f"above 0 and at most {most:g}"
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        with suppress(OverflowError):
            if 0 < (number := float(value)) <= most:
                return number
    raise ConfigError(f"{name}={value!r}: must be a number {allowed}")


def seed_of(seed: object) -> int:
    """A seed as an int. Raises `ConfigError`."""
    return whole_number("seed", seed, least=0)
