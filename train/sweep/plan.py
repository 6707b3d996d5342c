"""What a sweep's file says, read from configs/sweeps/NAME.yaml or a path, and the jobs that follow from it.

Everything that can be checked without doing a job is checked here, so that none begins before all are known to be good.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, WrapValidator

from tierenv.errors import ConfigError
from tierenv.extras import require
from tierenv.records import NamedRecord, Record, check_name, content_of, load_record, resolve, validate_record
from tierenv.train.config import TrainingConfig, checked, load_suite
from tierenv.train.openings import check_opened
from tierenv.train.search import SAMPLERS, check_search
from tierenv.train.sweep.jobs import Job, SearchJob, TrainingJob

MAX_JOBS = 2_000
"""Of a sweep: sweep.json is written as a whole whenever one begins or ends."""


def _as_given(value: Any, validate: Callable[[Any], Any]) -> Any:
    """What was given, if it is valid: a path knows the file it stands in, which a validated text does not."""
    validate(value)
    return value


def _check_differ(values: Sequence[Any]) -> Sequence[Any]:
    twice = [value for index, value in enumerate(values) if value in values[:index]]
    if twice:
        raise ValueError(f"{twice[0]!r} stands there twice")
    return values


Item = TypeVar("Item")
Several = Annotated[tuple[Item, ...], Field(min_length=1), AfterValidator(_check_differ)]
NameOrPath = Annotated[str, WrapValidator(_as_given)]
Single = bool | int | float | str
Value = Annotated[Single | tuple[Single, ...] | None, WrapValidator(_as_given)]
Seed = Annotated[int, Field(ge=0, lt=1_000_000)]

OWN_FIELDS = ("seed", "simulator_threads", "name", "like")
"""Of a training, which the sweep sets."""


class Trainings(Record):
    """Every configuration with every combination of changes and every seed."""

    configurations: Several[NameOrPath]
    """Training configurations: names from `tierenv list algorithms`, or paths."""
    seeds: Several[Seed] = (0,)
    """Of networks, exploration and episodes."""
    overrides: dict[str, Several[Value]] = {}
    """Values to try for a field of the configuration, by its name; one inside another by both, as
    hyperparameters.learning_rate."""


class Searches(Record):
    """Every suite or scenario under every daemon with every sampler."""

    targets: Several[NameOrPath]
    """Suites or scenarios: names from `tierenv list suites scenarios`, or paths."""
    daemons: Several[NameOrPath] | None = None
    """Daemons in place of the scenarios' own; null for these."""
    samplers: Several[str] = ("grid",)
    """How settings are picked, as `tierenv tune --sampler`."""
    sampler_seeds: Several[Seed] = (0,)
    """Of what samplers draw, as `tierenv tune --sampler-seed`; the grid draws nothing, and is searched once."""
    trials: Annotated[int, Field(ge=1)] | None = None
    """Settings to try, as `tierenv tune --trials`; null for as many as the grid has."""
    seeds: Annotated[int, Field(ge=1)] = 4
    """Tuning episodes for each setting, as `tierenv tune --seeds`."""


class Sweep(NamedRecord):
    """Trainings and searches that are independent of each other."""

    trainings: Trainings | None = None
    """What is trained."""
    searches: Searches | None = None
    """What is searched."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """Processors for the model in each job, in place of what configurations say; results do not depend on them."""


def load_sweep(name_or_path: str) -> tuple[Sweep, list[Job]]:
    """A sweep and its jobs, all of them checked. Raises `ConfigError`."""
    path = str(resolve("sweeps", name_or_path))
    sweep = load_record("sweeps", Sweep, path)
    jobs: list[Job] = []
    if sweep.trainings is not None:
        require("train", f"{path}: trainings")
        jobs += _trainings(sweep.trainings, sweep.threads, f"{path}: trainings")
    if sweep.searches is not None:
        jobs += _searches(sweep.searches, sweep.threads, f"{path}: searches")
    if not jobs:
        raise ConfigError(f"{path}: has neither trainings nor searches")
    names = [job.name for job in jobs]
    if twice := next((name for index, name in enumerate(names) if name in names[:index]), None):
        raise ConfigError(
            f"{path}: two jobs would be called {twice}; names of files must differ, not only their folders"
        )
    return sweep, jobs


def _trainings(trainings: Trainings, threads: int, origin: str) -> Iterator[Job]:
    for key in trainings.overrides:
        if key in OWN_FIELDS:
            raise ConfigError(f"{origin}.overrides.{key}: is set by the sweep itself; vary another field")
        if outer := next((other for other in trainings.overrides if key.startswith(f"{other}.")), None):
            raise ConfigError(f"{origin}.overrides.{key}: is part of {outer}, which is varied itself")
    axes = [[(key, value) for value in values] for key, values in trainings.overrides.items()]
    _check_count(len(trainings.configurations), len(trainings.seeds), *map(len, axes), origin=origin)
    for configuration in trainings.configurations:
        for changes in itertools.product(*axes):
            config = _training(configuration, dict(changes), origin)
            for seed in trainings.seeds:
                yield TrainingJob(config.model_copy(update={"seed": seed}), threads)


def _training(configuration: str, changes: Mapping[str, Any], origin: str) -> TrainingConfig:
    """A configuration with other values, as a file that is like it would have them."""
    try:
        values = content_of("algorithms", TrainingConfig, {"like": configuration} | _nested(changes))
    except ConfigError as error:
        raise ConfigError(f"{origin}.configurations: {str(error).removeprefix('like: ')}") from None
    place = f"{origin}: {configuration}"
    config = checked(validate_record(TrainingConfig, values, place), place)
    words = [f"{key.rpartition('.')[2]}={_word(value)}" for key, value in changes.items()]
    name = _checked_name("-".join([config.name, *words]), origin)
    return config.model_copy(update={"name": name})


def _nested(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings in mappings of what is named by several keys with points between."""
    nested: dict[str, Any] = {}
    for key, value in changes.items():
        *outer, last = key.split(".")
        inside = nested
        for word in outer:
            inside = inside.setdefault(word, {})
        inside[last] = value
    return nested


def _word(value: Any) -> str:
    """A value as part of a name: of a path that of its file."""
    if isinstance(value, list | tuple):
        return ",".join(map(_word, value))
    return Path(value).stem if isinstance(value, str) and "/" in value else str(value)


def _searches(searches: Searches, threads: int, origin: str) -> Iterator[Job]:
    daemons: Sequence[str | None] = searches.daemons or (None,)
    axes = len(searches.targets), len(daemons), len(searches.samplers), len(searches.sampler_seeds)
    _check_count(*axes, origin=origin)
    for target, daemon in itertools.product(searches.targets, daemons):
        try:
            suite = load_suite(target, daemon)
            check_opened(suite, is_opened=False)
        except ConfigError as error:
            raise ConfigError(f"{origin}: {error}") from None
        under = [] if daemon is None else [suite.scenarios[0].daemon.name]
        for sampler in searches.samplers:
            draws = sampler not in SAMPLERS or SAMPLERS[sampler].draws
            for sampler_seed in searches.sampler_seeds if draws else (0,):
                of_seed = [f"s{sampler_seed}"] if len(searches.sampler_seeds) > 1 and draws else []
                name = _checked_name("-".join([suite.name.replace(":", "-"), *under, sampler, *of_seed]), origin)
                try:
                    check_search(suite, sampler, searches.trials, searches.seeds, sampler_seed)
                except ConfigError as error:
                    raise ConfigError(f"{origin}: {name}: {error}") from None
                yield SearchJob(name, suite, sampler, sampler_seed, searches.trials, searches.seeds, threads)


def _checked_name(name: str, origin: str) -> str:
    try:
        return check_name(name)
    except ValueError as error:
        raise ConfigError(f"{origin}: a job would be called {error}") from None


def _check_count(*factors: int, origin: str) -> None:
    count = 1
    for factor in factors:
        count *= factor
    if count > MAX_JOBS:
        raise ConfigError(f"{origin}: are {count} jobs, must be at most {MAX_JOBS}")
