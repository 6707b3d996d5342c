"""What a job of a sweep does: in any process of any machine that sees its folder, from a description of it alone.

A description and what came of it are data that JSON holds. A job keeps what it has done in its folder as it goes, so
that another process goes on with it when the first one dies, and knows what it has done when it comes again.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

from tierenv.agents.run_folder import RunFolder
from tierenv.errors import ConfigError
from tierenv.files import locked, remove_temporaries
from tierenv.progress import ReportProgress
from tierenv.reading import read_json
from tierenv.records import validate_record
from tierenv.sim import threads as simulator_threads
from tierenv.train.config import Suite, TrainingConfig
from tierenv.train.html_report.run import STEPS
from tierenv.train.journal import digest, journal_of
from tierenv.train.run_dir import RunDirectory, write_json
from tierenv.train.search import search_scenarios

log = logging.getLogger(__name__)

Facts = dict[str, str | int | float | None]
"""What a job came to, by name."""


class Job(Protocol):
    """One training or one search."""

    kind: ClassVar[str]
    """Its row of `KINDS`."""

    @property
    def name(self) -> str:
        """For people, and of its folder."""
        ...

    @property
    def identity(self) -> str:
        """SHA-256 of all that decides what it comes to."""
        ...

    @property
    def threads(self) -> int:
        """Processors that it uses."""
        ...

    def to_json(self) -> dict[str, Any]:
        """What `from_json` makes it of."""
        ...

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The job that a description is of. Raises `ConfigError`."""
        ...

    def perform(self, folder: Path, command: str, report_progress: ReportProgress) -> Facts:
        """Do it, or the rest of it, in a folder of its own.

        Raises:
            ConfigError: if it cannot be done.
            KeyboardInterrupt: if it was stopped; what is done is kept.
        """
        ...

    def share_done(self, folder: Path) -> float:
        """How much of it is done, as far as its folder tells, from 0 to 1."""
        ...

    def kept(self, folder: Path) -> int:
        """A number that grows as work is done that no kill takes back."""
        ...


@dataclass(frozen=True)
class TrainingJob:
    """A training; its folder is a run folder."""

    kind: ClassVar[str] = "training"
    config: TrainingConfig
    model_threads: int
    """Processors of the model, in place of the configuration's; they decide nothing."""

    @property
    def name(self) -> str:
        """Of configuration and seed."""
        return f"{self.config.name}-s{self.config.seed}"

    @cached_property
    def identity(self) -> str:
        """Of the configuration."""
        return digest([self.kind, self.config.identity])

    @property
    def threads(self) -> int:
        """Learner and model take turns."""
        return max(self.config.torch_threads, self.model_threads)

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return {"config": self.config.model_dump(mode="json"), "model_threads": self.model_threads}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """See `Job`."""
        config = validate_record(TrainingConfig, content["config"], "training").resolved()
        return cls(config, content["model_threads"])

    def perform(self, folder: Path, command: str, report_progress: ReportProgress) -> Facts:
        """Train, from the newest checkpoint if there is one."""
        from tierenv.train.learn import learn

        run = RunFolder(folder)
        with _free(folder):
            has_model = bool(run.checkpoints) or run.best_model.exists()
        # One that never came to a model begins anew, with the same episodes as if nothing had been.
        open_run = RunDirectory.resume if has_model else RunDirectory.create
        with open_run(folder, self.config, command) as directory:
            here = self.config.model_copy(update={"simulator_threads": self.model_threads})
            result = learn(here, directory, report_progress)
            times_resumed = directory.manifest.times_resumed
        if result.is_interrupted:
            raise KeyboardInterrupt
        best = result.best
        return {
            "timesteps": result.timesteps,
            "resumed_from": result.timesteps - result.new_timesteps if times_resumed else None,
            "times_resumed": times_resumed,
            "normalised_time": None if best is None else best.normalised_time,
            "best_timesteps": None if best is None else best.timesteps,
        }

    def share_done(self, folder: Path) -> float:
        """By the last row of progress.csv."""
        return min(1.0, last_steps(RunFolder(folder).progress_path) / self.config.timesteps)

    def kept(self, folder: Path) -> int:
        """Environment steps of the newest checkpoint, as its name says."""
        newest = next(iter(RunFolder(folder).checkpoints), None)
        return 0 if newest is None else int(newest.stem.removeprefix("step_"))


@dataclass(frozen=True)
class SearchJob:
    """A search of static settings; its folder holds search.json, which is what `tierenv tune --json` writes."""

    kind: ClassVar[str] = "search"
    name: str
    suite: Suite
    sampler: str
    sampler_seed: int
    trials: int | None
    seeds: int
    """Tuning episodes for each setting."""
    threads: int

    @cached_property
    def identity(self) -> str:
        """Of all but the name, and the threads, which decide nothing."""
        return digest([self.kind, self.suite.identity, self.sampler, self.sampler_seed, self.trials, self.seeds])

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        fields = ("name", "sampler", "sampler_seed", "trials", "seeds", "threads")
        return {"suite": self.suite.model_dump(mode="json")} | {field: getattr(self, field) for field in fields}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """See `Job`."""
        return cls(**(content | {"suite": validate_record(Suite, content["suite"], "search")}))

    def perform(self, folder: Path, command: str, report_progress: ReportProgress) -> Facts:
        """Search, with what a journal in the folder knows from before."""
        with _free(folder):
            found = self._found(folder)
            if found is None:
                remove_temporaries(folder)
                simulator_threads.set_num_threads(min(self.threads, simulator_threads.NUM_PROCESSORS))
                with journal_of(JOURNAL, self.identity, folder=folder) as journal:
                    plan = self.suite, self.sampler, self.trials, self.seeds, self.sampler_seed
                    result = search_scenarios(*plan, journal=journal, report_progress=report_progress)
                    found = result.to_json() | {"identity": self.identity, "command": command}
                    write_json(folder / SEARCH, found)
        for stale in _journals(folder):  # of other sources, before
            stale.unlink(missing_ok=True)
        return _search_facts(found)

    def _found(self, folder: Path) -> dict[str, Any] | None:
        """What search.json holds, if it is of this job."""
        path = folder / SEARCH
        content = read_json(path) if path.exists() else {}
        return content if content.get("identity") == self.identity else None

    def share_done(self, folder: Path) -> float:
        """Nobody knows how many batches there will be."""
        return float((folder / SEARCH).exists())

    def kept(self, folder: Path) -> int:
        """Bytes of the journal."""
        return sum(path.stat().st_size for path in _journals(folder))


JOURNAL = "search"
SEARCH = "search.json"

KINDS: dict[str, type[TrainingJob] | type[SearchJob]] = {"training": TrainingJob, "search": SearchJob}


def _search_facts(found: dict[str, Any]) -> Facts:
    """The winner: of a scenario with its objective, of a suite with its mean time over that without migration."""
    if "for_all" in found:
        winner = found["for_all"][0]
        return {"setting": winner["policy"], "relative_time": winner["relative_time"]}
    winner = found["finalists"][0]
    return {"setting": winner["policy"], "objective": winner["objective"]["mean"]}


def _journals(folder: Path) -> list[Path]:
    return list(folder.glob(f"{JOURNAL}-*.jsonl"))


@contextmanager
def _free(folder: Path) -> Iterator[None]:
    """Hold a folder, made if need be, once nobody else does.

    A process that was taken for dead may be about to die; until then it writes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder, wait=False))
        except BlockingIOError:
            log.info("%s: waiting for the process that writes there", folder)
            stack.enter_context(locked(folder))
        yield


def last_steps(progress: Path) -> float:
    """Environment steps of the last whole row of a progress.csv, 0 without one."""
    try:
        with progress.open("rb") as file:
            column = file.readline().decode().rstrip("\n").split(",").index(STEPS)
            file.seek(max(file.tell(), progress.stat().st_size - _TAIL_BYTES))
            rows = file.read().decode().split("\n")[:-1]
        return float(rows[-1].split(",")[column])
    except (OSError, ValueError, IndexError):  # none yet, or being written
        return 0.0


_TAIL_BYTES = 8 << 10
"""Longer than a row."""


@dataclass(frozen=True)
class Task:
    """A job, where it is done, and the command that wants it."""

    job: Job
    folder: Path
    command: str

    def to_text(self) -> str:
        """As JSON."""
        job = {"kind": self.job.kind} | self.job.to_json()
        return json.dumps({"job": job, "folder": str(self.folder), "command": self.command})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """What `to_text` gave. Raises `ConfigError`."""
        content = json.loads(text)
        kind = KINDS[content["job"].pop("kind")]
        return cls(kind.from_json(content["job"]), Path(content["folder"]), content["command"])

    @property
    def share_done(self) -> float:
        """See `Job`."""
        return self.job.share_done(self.folder)

    @property
    def kept(self) -> int:
        """See `Job`."""
        return self.job.kept(self.folder)


State = Literal["finished", "failed", "interrupted"]


@dataclass(frozen=True)
class Outcome:
    """What came of a job."""

    state: State
    facts: Facts | None = None
    """Of a finished one."""
    reason: str | None = None
    """Why it failed, in one line."""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    """Of the process that ended it; what was done before a stop is not counted."""

    def to_text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """What `to_text` gave."""
        return cls(**json.loads(text))


def perform(task: Task, report_progress: ReportProgress) -> Outcome:
    """Do a job. Whatever goes wrong is what comes of it."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()

    def outcome(state: State, facts: Facts | None = None, reason: str | None = None) -> Outcome:
        return Outcome(state, facts, reason, time.perf_counter() - wall_s, time.process_time() - cpu_s)

    try:
        return outcome("finished", task.job.perform(task.folder, task.command, report_progress))
    except KeyboardInterrupt:
        return outcome("interrupted")
    except ConfigError as error:
        return outcome("failed", reason=str(error))
    except Exception as error:  # of one job, which is none of the others' business
        return outcome("failed", reason=one_line(error))


def one_line(error: BaseException) -> str:
    """What an error says, and where it came from."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f" ({Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno})" if place is not None else ""
    return str(ConfigError(f"{type(error).__name__}: {' '.join(str(error).split())}{where}"))
