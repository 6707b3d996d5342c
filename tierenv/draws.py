"""Draws: what stands in place of a value in a family's forms and platforms, and how a value comes of it.

`{draw: log-uniform, from: 4GiB, to: 64GiB}` may stand wherever a file has a value. What is drawn depends on where the
draw stands and on the seed alone: another draw beside it, or an order of keys, changes nothing.
"""

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from tierenv.errors import ConfigError
from tierenv.records import Record, validate_record
from tierenv.units import (
    format_bytes,
    format_bytes_per_s,
    format_number,
    format_seconds,
    parse_bytes,
    parse_bytes_per_s,
    parse_seconds,
)

MAX_VALUES = 1000
"""That a choice is made of."""
MAX_DRAWS = 1000
"""In one form or platform."""
MAX_DEPTH = 40
"""Of values in values: deeper than anything a scenario holds."""
MAX_NUMBER = 1e18
LEAST_LOGARITHMIC = 1e-18
"""What a logarithm is uniform from, at least."""
MAX_STEPS = 1e12
"""That a number may be of: a double tells them apart."""
MOST_QUOTED = 40
"""Characters of a file in a message."""
DIGITS = 4
"""Of what is drawn, unless the draw says a step: the same on every machine, and short to read."""

End = int | float | str
"""A number, or a text with a unit."""


class Quantity(NamedTuple):
    """A number and what it counts."""

    number: float
    unit: str = ""
    """A key of `_UNITS`; "" for a plain number."""
    is_whole: bool = False
    """Whether it is a plain number without a fraction."""

    def value(self) -> int | float | str:
        """As a file has it."""
        if self.unit == "size":
            return f"{round(self.number)}B"
        if self.unit:
            return f"{float(self.number)!r}{_UNITS[self.unit].suffix}"
        return round(self.number) if self.is_whole else float(self.number)

    def __str__(self) -> str:
        """For people."""
        return _UNITS[self.unit].write(self.number) if self.unit else format_number(self.number)


class _Unit(NamedTuple):
    parse: Callable[[object], float]
    suffix: str
    write: Callable[[float], str]


_UNITS = {
    "size": _Unit(parse_bytes, "B", format_bytes),
    "time": _Unit(parse_seconds, "s", format_seconds),
    "rate": _Unit(parse_bytes_per_s, "B/s", format_bytes_per_s),
}


def quantity_of(value: object) -> Quantity:
    """What a number or a text with a unit stands for. Raises `ValueError` for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not abs(value) <= MAX_NUMBER:
            raise ValueError(f"{str(value)[:20]}: must be a number of at most {MAX_NUMBER:g}")
        return Quantity(float(value), "", isinstance(value, int))
    for name, unit in _UNITS.items():
        try:
            number = unit.parse(value)
        except ValueError:
            continue
        if number <= MAX_NUMBER:
            return Quantity(number, name)
    raise ValueError(
        f"{quoted(value)}: must be a number, or a size, time or rate with its unit, such as 4GiB, 100ns or 9GB/s"
    )


def quoted(value: object) -> str:
    """A value of a file for a message: a text's beginning, or what it is instead of one."""
    if isinstance(value, str):
        return repr(str(value[:MOST_QUOTED])) + "..." * (len(value) > MOST_QUOTED)
    is_short = value is None or isinstance(value, bool | int | float)
    return str(value)[:MOST_QUOTED] if is_short else f"a {type(value).__name__}"


class _Range(Record):
    """A number between two others."""

    from_: Annotated[End, Field(alias="from")]
    """Least value."""
    to: End
    """Largest value, in a unit of the same kind."""
    step: End | None = None
    """It is a multiple of this; null: it has four digits, and is whole where `from` and `to` are and `times` is not."""
    times: str | tuple[str, ...] = ()
    """Names under `let` by whose values it is multiplied."""

    @field_validator("from_", "to", "step", mode="before")
    @classmethod
    def _check_end(cls, value: object) -> object:
        return _end(value)

    @model_validator(mode="after")
    def _check(self) -> Self:
        low, high = quantity_of(self.from_), quantity_of(self.to)
        if low.unit != high.unit:
            raise ValueError(f"to={high}: must be a {low.unit or 'number'} as from={low} is")
        if low.number > high.number:
            raise ValueError(f"from={low}: must be at most to={high}")
        if self.step is None:
            return self
        step = _checked_step(self.step, None if self.times else low.unit)
        if not self.times:
            _check_steps(max(abs(low.number), abs(high.number)), step)
            if math.ceil(self._in_steps(low)) > math.floor(self._in_steps(high)):
                raise ValueError(f"step={step}: no multiple of it lies between from={low} and to={high}")
        return self

    @model_serializer(mode="wrap")
    def _dump(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As a file has it, with `from`."""
        content = dump(self)
        return {{"from_": "from"}.get(key, key): value for key, value in content.items() if value not in (None, (), [])}

    def _in_steps(self, quantity: Quantity) -> float:
        """A number of steps, to the digits in which a decimal fraction is one."""
        if self.step is None:
            return quantity.number
        return float(f"{quantity.number / quantity_of(self.step).number:.12g}")

    @staticmethod
    def between(low: float, high: float, share: float) -> float:
        """The number at a share of the way from one to another."""
        raise NotImplementedError

    @property
    def names(self) -> list[str]:
        """Those under `let` that it refers to."""
        return [self.times] if isinstance(self.times, str) else list(self.times)

    @property
    def is_whole(self) -> bool:
        """Whether whole numbers are drawn, for want of a step."""
        ends = quantity_of(self.from_), quantity_of(self.to)
        return self.step is None and not self.times and all(end.is_whole for end in ends)

    def drawn(self, generator: np.random.Generator, factors: Callable[[str], Quantity]) -> Quantity:
        """A value; `factors` gives those under `let`. Raises `ValueError`.

        Whole numbers and multiples of a step are what lies around them rounded, half a step beyond the ends included:
        otherwise the ends would be drawn half as often as they should.
        """
        low, high = quantity_of(self.from_), quantity_of(self.to)
        share = generator.random()
        if self.times:
            number = self.between(low.number, high.number, share)
            return _product([Quantity(number, low.unit), *map(factors, self.names)], self.step)
        if self.step is None and not self.is_whole:
            number = _rounded(self.between(low.number, high.number, share), None)
            return Quantity(min(max(number, low.number), high.number), low.unit)
        step = quantity_of(1 if self.step is None else self.step)
        least, most = math.ceil(self._in_steps(low)), math.floor(self._in_steps(high))
        steps = min(max(round(self.between(least - 0.5, most + 0.5, share)), least), most)
        number = float(steps) if self.step is None else float(f"{steps * step.number:.12g}")
        return Quantity(number, low.unit, step.is_whole)


class Uniform(_Range):
    """A number that is as likely anywhere between two others."""

    draw: Literal["uniform"]
    """What kind of draw it is."""

    @staticmethod
    def between(low: float, high: float, share: float) -> float:
        """On the way from one end to the other."""
        return low + (high - low) * share


class LogUniform(_Range):
    """A number whose logarithm is uniform: as likely between 1 and 2 as between 2 and 4."""

    draw: Literal["log-uniform"]
    """What kind of draw it is."""

    @model_validator(mode="after")
    def _check_sign(self) -> Self:
        low = quantity_of(self.from_)
        if low.number < LEAST_LOGARITHMIC:
            words = "above 0" if low.number <= 0 else f"at least {LEAST_LOGARITHMIC:g}"
            raise ValueError(f"from={low}: must be {words}")
        return self

    @staticmethod
    def between(low: float, high: float, share: float) -> float:
        """On the way from one logarithm to the other."""
        return low * (high / low) ** share


class Choice(Record):
    """One of some values, each as likely; they may be anything that can stand there, draws included."""

    draw: Literal["choice"]
    """What kind of draw it is."""
    of: Annotated[tuple[Any, ...], Field(min_length=1, max_length=MAX_VALUES)]
    """The values."""


class Product(Record):
    """A product of what was drawn under `let`: at most one factor has a unit."""

    draw: Literal["product"]
    """What kind of draw it is."""
    of: Annotated[tuple[str, ...], Field(min_length=1, max_length=10)]
    """Names under `let`."""
    step: End | None = None
    """It is a multiple of this; null: it has four digits."""

    @property
    def names(self) -> list[str]:
        """Those under `let` that it refers to."""
        return list(self.of)

    @field_validator("step", mode="before")
    @classmethod
    def _check_end(cls, value: object) -> object:
        return _end(value)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.step is not None:
            _checked_step(self.step, None)
        return self


Draw = Uniform | LogUniform | Choice | Product
KINDS: dict[str, type[Draw]] = {"uniform": Uniform, "log-uniform": LogUniform, "choice": Choice, "product": Product}
"""By the word that says which."""


def is_draw(value: object) -> bool:
    """Whether what a file holds stands for a draw."""
    return isinstance(value, Mapping) and "draw" in value


class Parsed:
    """Makes draws of the mappings that stand for them, anywhere in a value.

    Args:
        lets: names that draws may refer to.
    """

    def __init__(self, lets: Sequence[str] = ()) -> None:
        self._lets = lets
        self._num_draws = 0

    def __call__(self, value: Any, path: str, depth: int = 0) -> Any:
        """The value with draws as records. Raises `ConfigError` that starts with where the draw stands."""
        if depth > MAX_DEPTH:
            raise ConfigError(f"{path[:100]}: is nested too deeply; must be at most {MAX_DEPTH} values in each other")
        if isinstance(value, list | tuple):
            return [self(entry, f"{path}.{index}", depth + 1) for index, entry in enumerate(value)]
        if not isinstance(value, Mapping):
            if not isinstance(value, str | int | float | None):
                raise ConfigError(
                    f"{path}: must be a text, a number, true, false or null, got a {type(value).__name__}"
                )
            return _plain(value)
        if not is_draw(value):
            return {_key(key): self(entry, f"{path}.{key}", depth + 1) for key, entry in value.items()}
        self._num_draws += 1
        if self._num_draws > MAX_DRAWS:
            raise ConfigError(f"{path}: must have at most {MAX_DRAWS} draws")
        kind = value["draw"]
        if not isinstance(kind, str) or kind not in KINDS:
            raise ConfigError(f"{path}.draw={quoted(kind)}: must be one of {', '.join(KINDS)}")
        made = validate_record(KINDS[kind], {_plain(key): _plain(entry) for key, entry in value.items()}, path)
        if isinstance(made, Choice):
            inner = tuple(self(entry, f"{path}.of.{index}", depth + 1) for index, entry in enumerate(made.of))
            return made.model_copy(update={"of": inner})
        key = "of" if isinstance(made, Product) else "times"
        for name in made.names:
            if name not in self._lets:
                known = ", ".join(let[:MOST_QUOTED] for let in self._lets) or "nothing"
                raise ConfigError(f"{path}.{key}={quoted(name)}: must be a name under let, which has {known}")
        return made


class Drawing:
    """Draws the values of one scenario.

    Args:
        seed: of the split.
        key: which of its scenarios.
        lets: values and draws by name, to which others refer.
        place: where these stand.
    """

    def __init__(
        self, seed: int, key: tuple[int, ...], lets: Mapping[str, Any] | None = None, place: str = "let"
    ) -> None:
        self._seed, self._key, self._place = seed, key, place
        self._lets = lets or {}
        self._let_values: dict[str, Any] = {}
        self._being_drawn: list[str] = []
        self.values: dict[str, str] = {}
        """What was drawn, by where the draw stands, for people."""

    def __call__(self, value: Any, path: str) -> Any:
        """A value with what is drawn in place of its draws. Raises `ConfigError`."""
        match value:
            case Choice():
                number = int(self._generator(path).integers(len(value.of)))
                chosen = value.of[number]
                if not isinstance(chosen, Record | Mapping | list | tuple):
                    self.values[path] = str(chosen)[:MOST_QUOTED]
                return self(chosen, f"{path}.of.{number}")
            case Uniform() | LogUniform() | Product():
                try:
                    quantity = self._quantity(value, path)
                except ValueError as error:
                    raise ConfigError(f"{path}: {error}") from None
                self.values[path] = str(quantity)
                return quantity.value()
            case Mapping():
                return {key: self(entry, f"{path}.{key}") for key, entry in value.items()}
            case list() | tuple():
                return [self(entry, f"{path}.{index}") for index, entry in enumerate(value)]
        return value

    def _quantity(self, draw: Uniform | LogUniform | Product, path: str) -> Quantity:
        if isinstance(draw, Product):
            return _product([self._let(name) for name in draw.of], draw.step)
        return draw.drawn(self._generator(path), self._let)

    def _let(self, name: str) -> Quantity:
        """What stands under `let`, drawn once. Raises `ValueError`, also for names that lead back to themselves."""
        if name in self._being_drawn:
            raise ValueError(f"{self._place}.{name}: leads back to itself")
        if name not in self._let_values:
            self._being_drawn.append(name)
            self._let_values[name] = self(self._lets[name], f"{self._place}.{name}")
            self._being_drawn.pop()
        return quantity_of(self._let_values[name])

    def _generator(self, path: str) -> np.random.Generator:
        """The random numbers of one place: those of a child of the seed, by the CRC-32 of where the draw stands."""
        key = (*self._key, zlib.crc32(path.encode("utf-8", "surrogatepass")))
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=key))


def _key(key: Any) -> Any:
    """A key as a file should have it: YAML 1.1 reads true and false in on and off."""
    return {True: "on", False: "off"}[key] if isinstance(key, bool) else _plain(key)


def _plain(value: Any) -> Any:
    """Texts of a value, and of a list, without the folder of their file."""
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, str) else value


def _end(value: object) -> object:
    """What may be an end or a step. Raises `ValueError` for a list or the like, of which nothing is quoted."""
    if value is not None and not isinstance(value, int | float | str):
        raise ValueError(f"must be a number or a text, got {quoted(value)}")
    return value


def _checked_step(step: End, unit: str | None) -> Quantity:
    """Refuse a step that is none, or none of a unit (None: of any)."""
    found = quantity_of(step)
    if found.number <= 0:
        raise ValueError(f"step={found}: must be above 0")
    if unit is not None and found.unit != unit:
        raise ValueError(f"step={found}: must be a {unit or 'number'} as from and to are")
    return found


def _check_steps(number: float, step: Quantity) -> None:
    """Refuse a number of more steps than can be told apart, or counted."""
    if not number <= MAX_STEPS * step.number:
        raise ValueError(f"step={step.number:.4g}: must be at least {1 / MAX_STEPS:g} of the number, {number:.4g}")


def _product(factors: Sequence[Quantity], step: End | None) -> Quantity:
    units = [factor.unit for factor in factors if factor.unit]
    if len(units) > 1:
        raise ValueError(f"multiplies a {units[0]} by a {units[1]}; at most one factor may have a unit")
    unit = units[0] if units else ""
    if step is not None and quantity_of(step).unit != unit:
        raise ValueError(f"step={quantity_of(step)}: must be a {unit or 'number'}, which the product is")
    if step is None and len(factors) == 1:
        return factors[0]
    number = math.prod(factor.number for factor in factors)
    if not abs(number) <= MAX_NUMBER:
        raise ValueError(f"comes to {number:.3g}; must be at most {MAX_NUMBER:g}")
    return Quantity(_rounded(number, step), unit, step is not None and quantity_of(step).is_whole)


def _rounded(number: float, step: End | None) -> float:
    """To a multiple of the step, or to some digits. Raises `ValueError` for too small a step."""
    if step is None:
        return float(f"{number:.{DIGITS}g}")
    found = quantity_of(step)
    _check_steps(abs(number), found)
    return float(f"{round(number / found.number) * found.number:.12g}")
