"""sweep.json: the jobs of a sweep and what came of each. The process that runs the sweep writes it, and no other."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field

from tierenv.errors import ConfigError
from tierenv.reading import read_json
from tierenv.records import Name, Record, validate_record
from tierenv.train.provenance import git_revision
from tierenv.train.run_dir import write_json
from tierenv.train.sweep.jobs import Job, Outcome

INDEX = "sweep.json"

State = Literal["unfinished", "finished", "failed"]


class Entry(Record):
    """One job."""

    model_config = ConfigDict(extra="ignore")

    name: Name
    kind: str
    identity: str
    state: State = "unfinished"
    facts: dict[str, str | int | float | None] | None = None
    """What a finished one came to."""
    reason: str | None = None
    """Why one failed."""
    starts: Annotated[int, Field(ge=0)] = 0
    """How often a process was to begin it, or to go on with it."""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    """Of the process that ended it."""
    git_revision: str | None = None
    """Of the sources that ended it."""


class Entries(Record):
    """The content of sweep.json."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    jobs: tuple[Entry, ...] = ()


class Index:
    """What came of the jobs of a sweep so far, kept in its folder.

    Args:
        path: of the file.
        command: that runs the sweep.
        entries: by the names of the jobs, those of earlier plans included.
        jobs: of the sweep.
    """

    def __init__(self, path: Path, command: str, entries: dict[str, Entry], jobs: Sequence[Job]) -> None:
        self._path = path
        self._command = command
        self._entries = entries
        self._names = [job.name for job in jobs]
        self._revision = git_revision()

    @classmethod
    def open(cls, folder: Path, command: str, jobs: Sequence[Job]) -> Self:
        """The index of a folder, new if there is nothing in it.

        Raises:
            ConfigError: if the folder is something else's, or one of its jobs has another content by now.
        """
        path = folder / INDEX
        if path.exists():
            found = validate_record(Entries, read_json(path), str(path)).jobs
        elif others := sorted(other.name for other in folder.iterdir() if not other.name.startswith(".")):
            raise ConfigError(f"{folder}: holds {others[0]} and no {INDEX}; choose another --output")
        else:
            found = ()
        entries = {entry.name: entry for entry in found}
        for job in jobs:
            entry = entries.setdefault(job.name, Entry(name=job.name, kind=job.kind, identity=job.identity))
            if entry.identity != job.identity:
                raise ConfigError(
                    f"{folder / job.name}: was begun with another configuration; choose another --output, or another "
                    "name of the file that has changed"
                )
        index = cls(path, command, entries, jobs)
        index._write()
        return index

    @property
    def entries(self) -> list[Entry]:
        """Of the jobs of the sweep, in its order."""
        return [self._entries[name] for name in self._names]

    @property
    def other_revisions(self) -> set[str]:
        """Of the sources that ended jobs, where these are not the ones at hand."""
        ended = {str(entry.git_revision) for entry in self.entries if entry.state == "finished"}
        return ended - {str(self._revision)}

    def began(self, job: Job) -> None:
        """Note a start."""
        self._set(job, starts=self._entries[job.name].starts + 1)

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Note what came of a job."""
        fields = {key: value for key, value in asdict(outcome).items() if key != "state"}
        state = "unfinished" if outcome.state == "interrupted" else outcome.state
        self._set(job, **fields, state=state, git_revision=self._revision)

    def to_json(self) -> dict[str, Any]:
        """What `tierenv sweep --json` writes."""
        return self._content(self.entries)

    def _content(self, entries: Sequence[Entry]) -> dict[str, Any]:
        return {
            "schema": 1,
            "git_revision": self._revision,
            "jobs": [entry.model_dump(mode="json") for entry in entries],
        }

    def _set(self, job: Job, **fields: Any) -> None:
        self._entries[job.name] = self._entries[job.name].model_copy(update=fields)
        self._write()

    def _write(self) -> None:
        write_json(self._path, self._content(list(self._entries.values())) | {"command": self._command})
