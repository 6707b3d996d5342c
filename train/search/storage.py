"""The file of --storage: what was tried, as a journal of Optuna, which its own tools read.

A search writes every setting that it has run as a finished trial: coordinates of the action as parameters, the
objective over that without migration as value, the rest as attributes. A later search of the same name proposes its
settings anew and takes what they came to from there, as long as they are the same to the last bit. Beyond that nothing
of the file is believed: no sampler ever sees its studies, so that nothing in it is unpickled.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from tierenv.daemon import Daemon
from tierenv.errors import ConfigError
from tierenv.extras import require
from tierenv.files import locked
from tierenv.reading import read_bytes
from tierenv.records import Record, validate_record
from tierenv.train.journal import digest, sources_digest
from tierenv.train.provenance import versions

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import JournalStorage
    from optuna.trial import FrozenTrial

MOST_BYTES = 256 << 20
"""Of a file; a trial takes less than 1 KiB."""

OWN = "tierenv"
"""Attribute of a study that holds its `StudyIdentity`."""

_LINE_START = b'{"op_code":'
"""Every line of a journal starts like this."""

ANOTHER = "give another --storage"


class Outcome(Record):
    """What a setting came to, as a trial of a file keeps it."""

    value: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Objective over that without migration; of several scenarios the mean."""
    objective: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    env_steps: Annotated[int, Field(ge=1, le=2**62)]
    machine_s: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    policy: str
    """The setting for people."""


class StudyIdentity(Record):
    """What decides what a search tries and what it finds, but for the number of trials."""

    model_config = ConfigDict(populate_by_name=True)

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    scenarios: tuple[str, ...]
    """`Scenario.identity` of each."""
    sampler: str
    sampler_seed: int
    seeds: tuple[int, ...]
    """Of the screening."""
    made_by: str
    """`maker`."""


def maker() -> str:
    """Digest of tierenv's sources and of the versions of what it stands on."""
    return digest([sources_digest(), versions()])


_MEANINGS = {
    "scenarios": "another scenario or daemon of that name",
    "sampler": "another sampler",
    "sampler_seed": "another --sampler-seed",
    "seeds": "other seeds of the screening (--seeds)",
    "made_by": "another version of tierenv or of its packages, whose model or samplers may differ",
}
"""Fields of a `StudyIdentity` that may differ."""


class TrialStore(Protocol):
    """Keeps what settings came to."""

    def recall(self, first: int, coordinates: NDArray[np.float64]) -> list[Outcome]:
        """What is known of settings, from trial `first` on: of the first of them, of all or of none."""
        ...

    def add(self, coordinates: NDArray[np.float64], outcomes: Sequence[Outcome]) -> None:
        """Keep what settings came to, of which nothing was known."""
        ...


class _Nowhere:
    def recall(self, first: int, coordinates: NDArray[np.float64]) -> list[Outcome]:
        return []

    def add(self, coordinates: NDArray[np.float64], outcomes: Sequence[Outcome]) -> None:
        pass


NOWHERE: TrialStore = _Nowhere()
"""Keeps nothing."""


class StoredStudy:
    """A study of a file.

    Args:
        study: Optuna's.
        tunables: names of the coordinates.
        place: the file and the study, for messages.
    """

    def __init__(self, study: "Study", tunables: Sequence[str], place: str) -> None:
        self._study = study
        self._tunables = tunables
        self._place = place
        self._trials = study.get_trials(deepcopy=False)

    def recall(self, first: int, coordinates: NDArray[np.float64]) -> list[Outcome]:
        """As `TrialStore`. Raises `ConfigError` for a trial that is not the one that is proposed now."""
        trials = self._trials[first : first + len(coordinates)]
        return [self._outcome(trial, row) for trial, row in zip(trials, coordinates.tolist(), strict=False)]

    def _outcome(self, trial: "FrozenTrial", coordinates: list[float]) -> Outcome:
        place = f"{self._place}: trial {trial.number}"
        if trial.state.name != "COMPLETE" or trial.params != dict(zip(self._tunables, coordinates, strict=True)):
            raise ConfigError(f"{place}: is not what this search tries then; {ANOTHER}")
        own = {key: value for key, value in trial.user_attrs.items() if key in Outcome.model_fields}
        return validate_record(Outcome, own | {"value": trial.value}, place)

    def add(self, coordinates: NDArray[np.float64], outcomes: Sequence[Outcome]) -> None:
        """As `TrialStore`: each is in the file when this returns."""
        import optuna

        distribution = optuna.distributions.FloatDistribution(-1.0, 1.0)
        for row, outcome in zip(coordinates.tolist(), outcomes, strict=True):
            self._study.add_trial(
                optuna.trial.create_trial(
                    value=outcome.value,
                    params=dict(zip(self._tunables, row, strict=True)),
                    distributions=dict.fromkeys(self._tunables, distribution),
                    user_attrs=outcome.model_dump(exclude={"value"}),
                )
            )


class _Held:
    """Stands for Optuna's lock of the file, which this process holds as a whole.

    Optuna's is a link beside the file. It outlives a kill, and then the next who writes waits half a minute for it.
    """

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


class SearchFile:
    """An open file of studies.

    Args:
        path: of the file.
        storage: Optuna's view of it.
    """

    def __init__(self, path: Path, storage: "JournalStorage") -> None:
        self._path = path
        self._storage = storage

    def study(self, name: str, identity: StudyIdentity, daemon: Daemon) -> TrialStore:
        """The study of that name, made if there is none. Raises `ConfigError` for one of something else."""
        import optuna

        place = f"{self._path}: study {name}"
        try:
            is_known = name in optuna.get_all_study_names(self._storage)
            begin = optuna.load_study if is_known else optuna.create_study
            study = begin(study_name=name, storage=self._storage)
            attributes, num_trials = study.user_attrs, len(study.get_trials(deepcopy=False))
        except Exception as error:  # Optuna says nowhere what it raises for a journal that contradicts itself
            raise ConfigError(f"{place}: cannot be read: {type(error).__name__}; {ANOTHER}") from None
        if OWN in attributes or num_trials:
            _check_same(identity, attributes.get(OWN), place)
        else:
            study.set_user_attr(OWN, identity.model_dump(by_alias=True, mode="json"))
        return StoredStudy(study, list(daemon.tunables), place)


def _check_same(identity: StudyIdentity, stored: Any, place: str) -> None:
    if not isinstance(stored, dict):
        raise ConfigError(f"{place}: was not written by tierenv tune; {ANOTHER}")
    found = validate_record(StudyIdentity, stored, f"{place}: {OWN}")
    for field, meaning in _MEANINGS.items():
        if getattr(found, field) != getattr(identity, field):
            raise ConfigError(f"{place}: is of {meaning}; {ANOTHER}")


@contextmanager
def open_search_file(path: Path | None) -> Iterator[SearchFile | None]:
    """Open a file of studies, or none, for this process alone. Raises `ConfigError` if it is no journal of Optuna."""
    if path is None:
        yield None
        return
    require("tune", "--storage")
    from optuna import logging
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    logging.set_verbosity(logging.WARNING)
    content = read_bytes(path, MOST_BYTES) if path.exists() else b""
    _check_lines(content, path)
    Path(os.path.realpath(path)).parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
    try:
        with locked(path, wait=False):
            _cut_torn_line(path)
            try:
                storage = JournalStorage(JournalFileBackend(str(path), _Held()))  # type: ignore[arg-type]
            except Exception as error:  # as in `SearchFile.study`
                raise ConfigError(
                    f"{path}: is no journal of Optuna that can be read: {type(error).__name__}; {ANOTHER}"
                ) from None
            yield SearchFile(path, storage)
    except BlockingIOError:
        raise ConfigError(f"{path}: another tierenv tune is writing it; wait for its end, or {ANOTHER}") from None


def _check_lines(content: bytes, path: Path) -> None:
    """Refuse what is no journal, before anything is done to it; its last line may be torn."""
    *lines, last = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            is_entry = line.startswith(_LINE_START) and isinstance(json.loads(line), dict)
        except (ValueError, RecursionError):
            is_entry = False
        if not is_entry:
            raise ConfigError(f"{path}:{number}: is no line of a journal of Optuna; {ANOTHER}")
    if not (last.startswith(_LINE_START) or _LINE_START.startswith(last)):
        raise ConfigError(f"{path}:{len(lines) + 1}: is no line of a journal of Optuna; {ANOTHER}")


def _cut_torn_line(path: Path) -> None:
    """Take away what a kill left of a line: the next would be put behind it."""
    content = read_bytes(path, MOST_BYTES)
    if not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)
