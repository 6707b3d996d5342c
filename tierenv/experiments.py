"""Experiments: what somebody published of real machines, as rows that a model can be held against.

An experiment is a YAML file of configs/measurements or of anybody's: a scenario, runs that each change something of it,
and rows that say which quantity of which run was published and how near a model has to come. A CSV of completion times
(`tierenv.measurements`) is one, too.
"""

import math
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from tierenv.errors import close_match
from tierenv.measurements import Cell, at_size, check_runs, read_measurements
from tierenv.quantities import QUANTITIES
from tierenv.records import (
    BytesPerSecond,
    Fraction,
    Name,
    NamedRecord,
    Record,
    Reference,
    Seconds,
    load_record,
    packaged,
    resolve,
    validate_record,
    with_changes,
)
from tierenv.scenario import Scenario

Number = Annotated[float, Field(ge=-1e15, le=1e15)]
Role = Literal["fitted", "check"]
RunName = Annotated[
    Name, BeforeValidator(lambda name: {True: "on", False: "off"}[name] if isinstance(name, bool) else name)
]
"""Name of a run; on and off are such, though YAML reads other values in them."""
TIMES_SCENARIO = "abench-8g"
"""What a CSV by itself was measured with: workload and fast tier of this scenario."""


class Tolerance(Record):
    """How near the model has to come to what was published, in one of these ways."""

    share: Annotated[float, Field(gt=0, le=100)] | None = None
    """Share of the published number that it may be off by."""
    factor: Annotated[float, Field(gt=1, le=1e6)] | None = None
    """Factor that it may be off by, either way."""
    points: Annotated[float, Field(gt=0, le=1e15)] | None = None
    """Difference that it may be off by, in the unit of the row; of a change these are percentage points."""
    between: tuple[Number, Number] | None = None
    """Least and greatest number allowed, whatever was published."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            kinds = ", ".join(type(self).model_fields)
            raise ValueError(f"must have one of {kinds}, got {', '.join(given) or 'none'}")
        if self.between is not None and self.between[0] >= self.between[1]:
            raise ValueError(f"between={list(self.between)}: must be the lesser number first")
        return self

    def holds(self, modelled: float, published: float) -> bool:
        """Whether a number is near enough."""
        if self.share is not None:
            return abs(modelled - published) <= self.share * abs(published)
        if self.factor is not None:
            return published != 0 and 1 / self.factor <= modelled / published <= self.factor
        if self.points is not None:
            return abs(modelled - published) <= self.points
        assert self.between is not None
        return self.between[0] <= modelled <= self.between[1]

    def __str__(self) -> str:
        """A few characters for people."""
        if self.share is not None:
            return f"{100 * self.share:g} %"
        if self.factor is not None:
            return f"x {self.factor:g}"
        if self.points is not None:
            return f"+-{self.points:g}"
        assert self.between is not None
        return f"{self.between[0]:g} to {self.between[1]:g}"


class Row(Record):
    """One published number."""

    id: Name
    """What people call it; rows of an experiment differ by it."""
    quantity: str
    """What was measured, a name from `tierenv list quantities`, which says the unit."""
    run: RunName | None = None
    """Run it was measured in; null for the scenario itself, for quantities that need no run."""
    beside: RunName | None = None
    """Run it is compared with."""
    compare: Literal["value", "difference", "change", "ratio"] = "value"
    """value: of the run; beside another run: run - beside, run / beside - 1 in percent, or run / beside."""
    published: Number
    """The number, in the unit of the quantity; a change is in percent."""
    less: Seconds = 0.0
    """For seconds: start-up that the published time includes and the model does not have."""
    fast_share: Fraction | None = None
    """For access_time and slowdown: share of the accesses that lands on the fast tier."""
    tier: Literal["dram", "cxl"] | None = None
    """For loaded_latency: which tier."""
    traffic: Annotated[BytesPerSecond, Field(ge=0, le=1e15)] | None = None
    """For loaded_latency: what flows."""
    tolerance: Tolerance | None = None
    """How near is near enough; null: the row is only shown."""
    required: Literal["sign", "tolerance"] | None = None
    """What fails if it does not hold: the sign of a difference or change, or the tolerance; null: nothing does."""
    fitted: bool | None = None
    """Whether something of the model was fitted to this number; null: as the experiment's role says."""
    comment: str = ""
    """How the number was come by, for people."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.quantity not in QUANTITIES:
            raise ValueError(
                f"quantity={self.quantity!r}: unknown{close_match(self.quantity, QUANTITIES)}; "
                "run: tierenv list quantities"
            )
        if (self.compare == "value") != (self.beside is None):
            raise ValueError(f"compare={self.compare!r}: must be value without beside, and something else with it")
        kind = QUANTITIES[self.quantity]
        for name in ("fast_share", "tier", "traffic"):
            if (name in kind.takes) != (getattr(self, name) is not None):
                wanted = "is required" if name in kind.takes else "must be left out"
                raise ValueError(f"{name}: {wanted} with quantity {self.quantity}")
        if kind.of_run is not None and self.run is None:
            raise ValueError(f"run: is required with quantity {self.quantity}")
        if self.less > 0 and not (
            self.quantity == "seconds" and self.compare == "value" and self.less < self.published
        ):
            raise ValueError("less: must be below published, of seconds that are compared with nothing")
        if self.required == "sign" and not self.has_sign:
            raise ValueError("required='sign': must be a difference or a change, and published not 0")
        if self.required == "tolerance" and self.tolerance is None:
            raise ValueError("required='tolerance': needs a tolerance")
        return self

    @property
    def expected(self) -> float:
        """The published number as far as a model can have it."""
        return self.published - self.less

    @property
    def has_sign(self) -> bool:
        """Whether the number says in which direction something goes."""
        return self.compare in ("difference", "change") and self.published != 0

    @property
    def unit(self) -> str:
        """Of the number."""
        return {"change": "%", "ratio": "x"}.get(self.compare, QUANTITIES[self.quantity].unit)

    def compared(self, value: float, baseline: float | None) -> float | None:
        """The number out of the quantity in the run and in the one beside it; None where there is none."""
        if baseline is not None:
            if self.compare == "difference":
                value -= baseline
            else:
                ratio = value / baseline if baseline else math.nan
                value = ratio if self.compare == "ratio" else 100 * (ratio - 1)
        return value if math.isfinite(value) else None


class Run(Record):
    """What differs from the experiment's scenario, as fields of a scenario, and which part of the run is counted."""

    model_config = ConfigDict(extra="allow")

    since: Seconds = 0.0
    """Time at which counting starts."""
    duration: Annotated[Seconds, Field(gt=0)] | None = None
    """Time at which the run is cut off; null: it goes to its end."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.duration is not None and self.since >= self.duration:
            raise ValueError(f"since={self.since:g}s: must be below duration={self.duration:g}s")
        return self

    @property
    def changes(self) -> dict[str, Any]:
        """Fields of a scenario, as read."""
        return self.model_extra or {}


@dataclass(frozen=True)
class PlannedRun:
    """A run to be simulated."""

    scenario: Scenario
    since: float = 0.0
    """See `Run`."""
    duration: float | None = None
    """See `Run`."""

    @cached_property
    def identity(self) -> tuple[str, float, float | None]:
        """By which runs are the same, whichever experiments they belong to."""
        return self.scenario.identity, self.since, self.duration


class Experiment(NamedRecord):
    """Published numbers of one experiment, with what is needed to run it in the model."""

    source: str = ""
    """Where the numbers come from."""
    role: Role
    """fitted: something of the model was fitted to it; check: nothing was."""
    scenario: Annotated[Scenario, Reference("scenarios")]
    """What runs; the changes of `runs` are made to it."""
    times: Annotated[str, BeforeValidator(lambda name: _absolute(name))] | None = None
    """CSV of completion times, in place of runs and rows: workload and fast tier are the scenario's."""
    runs: Annotated[dict[RunName, Run], Field(max_length=200)] = {}
    """What was run, by name."""
    rows: Annotated[tuple[Row, ...], Field(max_length=1000)] = ()
    """What was published."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.times is None) == (not self.rows) or (self.times is not None and self.runs):
            raise ValueError("rows: must be given, with their runs, or times in place of both")
        ids = [row.id for row in self.rows]
        for index, row in enumerate(self.rows):
            if ids.index(row.id) < index:
                raise ValueError(f"rows.{index}.id={row.id!r}: is given twice")
            for field in ("run", "beside"):
                name = getattr(row, field)
                if name is not None and name not in self.runs:
                    raise ValueError(
                        f"rows.{index}.{field}={name!r}: unknown run{close_match(name, self.runs)}; "
                        f"runs: {', '.join(self.runs)}"
                    )
        if self.times is not None:
            check_runs(self._cells, self.scenario, self.times)
        _ = self.planned  # raises where a run cannot be
        return self

    @cached_property
    def planned(self) -> dict[str, PlannedRun]:
        """The runs, by name."""
        if self.times is not None:
            return {_cell_id(cell): PlannedRun(cell.scenario(self.scenario)) for cell in self._cells}
        return {
            name: PlannedRun(with_changes(self.scenario, run.changes, f"runs.{name}"), run.since, run.duration)
            for name, run in self.runs.items()
        }

    @cached_property
    def all_rows(self) -> tuple[Row, ...]:
        """The rows, those of `times` included."""
        return self.rows or tuple(
            Row(id=_row_id(cell), quantity=cell.quantity, run=_cell_id(cell), published=cell.value)
            for cell in self._cells
        )

    def is_fitted(self, row: Row) -> bool:
        """Whether something of the model was fitted to the row."""
        return self.role == "fitted" if row.fitted is None else row.fitted

    @cached_property
    def _cells(self) -> list[Cell]:
        if self.times is None:
            return []
        return at_size(read_measurements(self.times), self.scenario, self.times)


def _absolute(name_or_path: Any) -> Any:
    """Where a CSV stands, for later readers who do not know the folder of the file that named it."""
    if not isinstance(name_or_path, str):
        return name_or_path
    return os.path.abspath(resolve("measurements", name_or_path))


def _cell_id(cell: Cell) -> str:
    return f"{cell.system}, {cell.size_gib:g} GiB"


def _row_id(cell: Cell) -> str:
    return _cell_id(cell) if cell.quantity == "seconds" else f"{_cell_id(cell)}: {cell.quantity}"


def load_experiment(name_or_path: str) -> Experiment:
    """Read an experiment from a packaged name or a path, or make one of a CSV of times. Raises `ConfigError`."""
    path = resolve("measurements", name_or_path)
    if is_times(path):
        values = {"name": path.stem, "role": "check", "scenario": TIMES_SCENARIO, "times": name_or_path}
        return validate_record(Experiment, values, str(path))
    return load_record("measurements", Experiment, name_or_path)


def is_times(path: Path) -> bool:
    """Whether a file of measurements is a CSV of times, and not an experiment."""
    return path.suffix == ".csv"


def packaged_experiments() -> list[str]:
    """Names of the experiments that come with the package."""
    return [name for name, path in packaged("measurements").items() if not is_times(path)]
