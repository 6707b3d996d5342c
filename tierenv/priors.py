"""What a calibration fits, and how well each of it is known before: one table, and the marks of platform and workload.

A number that a file marks with a prior, {value: 130ns, prior: 1.05, source: MLC}, is fitted with the value as median
and the prior as the factor of one standard deviation; `prior: fixed` is never fitted. A row of PARAMETERS that is
marked without a prior has the table's spread about the value, one that has no mark the table's prior. All else stays as
it is.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tierenv.errors import ConfigError
from tierenv.records import FIXED, has_marks, validate_record
from tierenv.scenario import Scenario

MAX_PRIOR_SDS = 3.5
"""Bounds of a parameter in standard deviations of its prior."""


@dataclass(frozen=True)
class Parameter:
    """Something that is fitted, or could be."""

    field: str
    """Field of `Scenario`, dotted: of its platform or its workload."""
    unit: str
    """As in YAML; "" for a plain number."""
    scale: float
    """One `unit` in the field's own unit."""
    prior: float
    """Median [unit]."""
    prior_sd: float
    """Standard deviation of the logarithm."""
    source: str

    def value_of(self, scenario: Scenario) -> float:
        """The scenario's value [unit]."""
        value: Any = scenario
        for part in self.field.split("."):
            value = getattr(value, part)
        return float(value) / self.scale


PARAMETERS = (
    Parameter(
        "workload.memory_parallelism",
        "",
        1,
        2.5,
        0.5,
        "independent accesses: as many as the core finds among its instructions",
    ),
    Parameter("workload.think", "ns", 1e-9, 40, 0.5, "assumed: a random number, a division and a loop for each access"),
    Parameter("platform.page_walk_per_doubling", "ns", 1e-9, 8, 0.7, "assumed: one walk in ten more goes to memory"),
    Parameter(
        "platform.numa_start_period_factor",
        "",
        1,
        1.4,
        0.5,
        "the rules give 1, or 2 where all threads look a moment early",
    ),
    Parameter("platform.numa_shared_move_share", "", 1, 0.01, 1.0, "assumed: base NUMAB1 promotes little"),
)
"""What a run of a benchmark tells and nothing else does. Latencies and bandwidths of the tiers are measured with other
programs: the times cannot tell a near, narrow card from a far, wide one."""

_PLACE = re.compile(r"(platform|workload)\.([a-z0-9_]+|(dram|cxl)\.[a-z0-9_]+)")
"""Fields that can be fitted: of the machine, of a tier of it, and of the program. What there are several of depends on
the others: fractions of classes add up to 1."""


INTERVAL_SDS = 1.96
"""Half width of a 95 % interval in standard deviations."""
INFORMED = 0.75
"""Share of what is known of a parameter that has to come from the rows for it to be theirs: half the prior's spread."""


@dataclass(frozen=True)
class Fixed:
    """What a file keeps from being fitted."""

    field: str
    """As of a parameter."""
    value: str
    """As it is written."""
    source: str


@dataclass(frozen=True)
class Priors:
    """What is fitted and what, though it could be, is not."""

    fitted: tuple[Parameter, ...]
    fixed: tuple[Fixed, ...]


def priors_of(like: Scenario, files: Mapping[str, Any]) -> Priors:
    """What is fitted of a scenario. Raises `ConfigError`.

    Args:
        like: the scenario.
        files: what the files of its platform and its workload hold, by these words, marks included.
    """
    table = {parameter.field: parameter for parameter in PARAMETERS}
    fixed = []
    for part, content in files.items():
        for place, mark in _marks(content):
            field, prior = f"{part}.{place}", mark.get("prior")
            if prior == FIXED:
                fixed.append(Fixed(field, str(mark["value"]), mark.get("source", "")))
                table.pop(field, None)
            elif prior is not None or field in table:
                table[field] = _marked(field, mark, table.get(field), like)
    return Priors(tuple(table.values()), tuple(fixed))


def _marks(content: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """The numbers with marks in what a file holds: dotted place and what stands there."""
    if has_marks(content):
        yield ".".join(place), content
    elif isinstance(content, dict):
        for key, inner in content.items():
            if key != "access_share":  # whose keys are names of classes
                yield from _marks(inner, (*place, str(key)))
    elif isinstance(content, list):
        for index, inner in enumerate(content):
            yield from _marks(inner, (*place, str(index)))


def _marked(field: str, mark: dict[str, Any], row: Parameter | None, like: Scenario) -> Parameter:
    """A marked number as a parameter, whose spread is its prior or, where it has none, that of the table's row."""
    if not _PLACE.fullmatch(field):
        raise ConfigError(
            f"{field}: cannot be fitted; a prior may stand with a number of the platform, of its dram or cxl and "
            f"of the workload itself, and anywhere as prior: {FIXED}"
        )
    written, source = mark["value"], mark.get("source", "")
    unit = re.sub(r"^[\s0-9.eE+-]*", "", written).strip() if isinstance(written, str) else ""
    spread = math.log(mark["prior"]) if "prior" in mark else row.prior_sd if row else 0.0
    parameter = Parameter(field, unit, 1.0, 1.0, spread, source or (row.source if row else ""))
    own_value = parameter.value_of(like)
    if not 0 < own_value < math.inf:
        raise ConfigError(f"{field}: must be above 0 and have an end to be fitted; a prior is a factor")
    if unit:
        parameter = replace(parameter, scale=own_value / float(written.strip().removesuffix(unit)))
    elif _is_whole(field, like):
        raise ConfigError(f"{field}: is a whole number and cannot be fitted; must be prior: {FIXED}, or without prior")
    return replace(parameter, prior=own_value / parameter.scale)


def _is_whole(field: str, like: Scenario) -> bool:
    value: Any = like
    for part in field.split("."):
        value = getattr(value, part)
    return isinstance(value, int)


def with_values(scenario: Scenario, parameters: Sequence[Parameter], values: Sequence[float]) -> Scenario:
    """The scenario with other values of parameters, in their units; not validated."""
    for parameter, value in zip(parameters, values, strict=True):
        scenario = _with_value(scenario, parameter.field.split("."), value * parameter.scale)
    return scenario


def _with_value(record: Any, path: list[str], value: float) -> Any:
    name, *inner = path
    old = getattr(record, name)
    if inner:
        return record.model_copy(update={name: _with_value(old, inner, value)})
    return record.model_copy(update={name: round(value) if isinstance(old, int) else value})


def bounds_of(parameter: Parameter, like: Scenario, parameters: Sequence[Parameter]) -> tuple[float, float]:
    """Limits of the logarithm of a parameter over its prior, all others at theirs.

    MAX_PRIOR_SDS at most, and no value that the records refuse. Raises `ConfigError` where they refuse the median.
    """
    limit = MAX_PRIOR_SDS * parameter.prior_sd
    start = with_values(like, parameters, [each.prior for each in parameters])
    if not _is_valid(start):
        raise ConfigError(f"{parameter.field}: the medians of the priors together make no valid scenario")
    low, high = (
        next(
            sign * limit * share / 10
            for share in range(10, -1, -1)
            if _is_valid(with_values(start, [parameter], [parameter.prior * math.exp(sign * limit * share / 10)]))
        )
        for sign in (-1, 1)
    )
    if low == high:
        raise ConfigError(f"{parameter.field}: nothing near its value is allowed; must be prior: {FIXED}")
    return low, high


def _is_valid(scenario: Scenario) -> bool:
    try:
        validate_record(type(scenario), scenario.model_dump(), "")
    except ConfigError:
        return False
    return True
