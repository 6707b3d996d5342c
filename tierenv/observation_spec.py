"""What a policy observes, as configuration: which features, what of their past, and what of the machine.

    observation: {stack: 4, averages: [4, 16], machine: [fast_share, latency_gap]}

For a daemon that becomes a tuple of rows of `tierenv.features`, one for each history, which is what encoder, integers,
C and bundles take. Where nothing is said it is all that the daemon supplies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, cast

from pydantic import AfterValidator, Field

from tierenv.daemon import Daemon
from tierenv.errors import ConfigError, close_match
from tierenv.features import FEATURES, Feature, all_features, feature_columns, supplied_features
from tierenv.history import GREATEST_LENGTH, NO_HISTORY, average_of, stack_of
from tierenv.records import Name, Record, validate_record

MAX_COLUMNS = 1024
"""Of an observation; a network in C takes 128 (`tierenv.agents.integer`)."""


def _no_duplicates(entries: tuple[Any, ...]) -> tuple[Any, ...]:
    twice = {str(entry) for entry in entries if entries.count(entry) > 1}
    if twice:
        raise ValueError(f"{', '.join(sorted(twice))}: given twice")
    return entries


def _average(length: int) -> int:
    return average_of(length).length


Average = Annotated[int, Field(ge=2, le=GREATEST_LENGTH), AfterValidator(_average)]
Names = Annotated[tuple[Name, ...], Field(max_length=MAX_COLUMNS), AfterValidator(_no_duplicates)]


class PastSpec(Record):
    """What an observation holds of a feature's past."""

    stack: Annotated[int, Field(ge=1, le=GREATEST_LENGTH)] = 1
    """Values of the last decisions, the present one included. 1 leaves a feature as its row has it, which for what
    comes in bursts is an average; more are the values themselves."""
    averages: Annotated[tuple[Average, ...], Field(max_length=8), AfterValidator(_no_duplicates)] = ()
    """Steps of the exponential moving averages that stand beside them, powers of two."""

    def rows_of(self, feature: Feature) -> list[Feature]:
        """A row for each history."""
        now = feature if self.stack == 1 else replace(feature, history=stack_of(self.stack))
        averages = [replace(feature, history=average_of(length)) for length in self.averages]
        return [now, *(row for row in averages if row != now)]


class ObservationSpec(PastSpec):
    """What a policy observes."""

    features: Annotated[Names, Field(min_length=1)] | None = None
    """Names of features, in the order of their columns; null for all that the daemon supplies, in that of the table."""
    overrides: dict[Name, PastSpec] = {}
    """By name of a feature, what is observed of its past in place of `stack` and `averages`."""
    machine: Names = ()
    """Names of features that tell what the machine is; they never have a past."""

    def rows_for(self, daemon: Daemon) -> tuple[Feature, ...]:
        """Rows of an observation of a daemon: features with what goes first of them, then averages, then the machine.

        Raises ValueError for a feature that there is not, or too many columns.
        """
        supplied = {feature.name: feature for feature in supplied_features(daemon)}
        of_machine = {feature.name: feature for feature in FEATURES.values() if feature.is_of_machine}
        for field, names, known in (
            ("features", self.features or (), supplied),
            ("overrides", tuple(self.overrides), supplied),
            ("machine", self.machine, of_machine),
        ):
            if unknown := [name for name in names if name not in known]:
                raise ValueError(f"{field}: {_unknown(unknown[0], known, daemon)}")
        chosen = [supplied[name] for name in (supplied if self.features is None else self.features)]
        if unseen := self.overrides.keys() - {feature.name for feature in chosen}:
            raise ValueError(f"overrides: {sorted(unseen)[0]}: not among features")
        each = [self.overrides.get(feature.name, self).rows_of(feature) for feature in chosen]
        averages = [row for rows in each for row in rows[1:]]
        averages.sort(key=lambda row: row.history.length)  # stable: of one length they keep the order of features
        return (*(rows[0] for rows in each), *averages, *(of_machine[name] for name in self.machine))


Observation = ObservationSpec | Mapping[str, Any] | Sequence[Feature] | None
"""What is to be observed: as configuration, as rows, or None for what is observed where nobody says otherwise."""


def observation_rows(observation: Observation, daemon: Daemon, origin: str = "observation") -> tuple[Feature, ...]:
    """The rows of an observation of a daemon. Raises `ConfigError` for what cannot be observed.

    Args:
        observation: see `Observation`.
        daemon: supplies the features.
        origin: starts what the error says.
    """
    if isinstance(observation, Mapping):
        observation = validate_record(ObservationSpec, dict(observation), origin)
    try:
        if observation is None:
            rows = supplied_features(daemon)
        elif isinstance(observation, ObservationSpec):
            rows = observation.rows_for(daemon)
        elif isinstance(observation, list | tuple) and all(isinstance(row, Feature) for row in observation):
            rows = tuple(cast("Sequence[Feature]", observation))
        else:
            raise ValueError("must be a mapping such as {'stack': 4, 'averages': [4, 16]}, or null")
        check_rows(rows, daemon)
    except ValueError as error:
        raise ConfigError(f"{origin}: {error}") from None
    return rows


def check_rows(rows: Sequence[Feature], daemon: Daemon) -> None:
    """Raise ValueError unless a daemon supplies these rows and their columns are of different names."""
    for row in rows:
        if not row.is_supplied_by(daemon):
            raise ValueError(f"feature {row.name}: daemon {daemon.name} does not supply it")
    number = sum(row.history.num_columns for row in rows)
    if not 1 <= number <= MAX_COLUMNS:
        raise ValueError(f"has {number} columns: must have 1 to {MAX_COLUMNS}")
    names = [column.name for column in feature_columns(rows)]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"columns {', '.join(twice[:3])}: each may be there once")
    if len({replace(row, history=NO_HISTORY) for row in rows}) > len({row.name for row in rows}):
        raise ValueError("rows of one feature may differ in their history alone")


def _unknown(name: str, known: Mapping[str, Feature], daemon: Daemon) -> str:
    """Why a name is none of those known."""
    row = next((row for row in all_features() if row.name == name), None)
    if row is None:
        problem = f"no such feature{close_match(name, known)}"
    elif row.is_of_machine:
        problem = "tells of the machine: name it in machine"
    elif row.is_supplied_by(daemon):
        problem = "does not tell of the machine: name it in features"
    else:
        problem = f"daemon {daemon.name} does not supply it"
    return f"{name}: {problem}; allowed: {', '.join(known)}"
