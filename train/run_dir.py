"""Writing a training run's folder (`tierenv.agents.run_folder` says what is in it), new or resumed."""

import itertools
import json
import logging
import shutil
import stat
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tierenv import __version__
from tierenv.agents.definition import action_definition, observation_definition, without_words
from tierenv.agents.run_folder import Evaluations, Manifest, RunFolder, SelectionResult
from tierenv.errors import ConfigError
from tierenv.family import Family
from tierenv.files import atomic_write_bytes, atomic_write_text, locked, remove_temporaries
from tierenv.observation_spec import MAX_COLUMNS, observation_rows
from tierenv.records import Record, load_record, validate_record
from tierenv.scenario import Scenario
from tierenv.train.config import TrainingConfig
from tierenv.train.provenance import git_revision, machine, versions

log = logging.getLogger(__name__)

RUNS = Path("runs")

CHECKPOINTS_KEPT = 3
"""The newest may turn out broken."""
MOST_NETWORKS = 24
"""Of an actor's size: with the numbers of their optimisers an actor, three critics and what they follow."""


class RunDirectory(RunFolder):
    """A run's folder that is being written, by nobody else as long as this context lasts."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._lock = ExitStack()

    @classmethod
    def create(cls, path: Path | None, config: TrainingConfig, command: str) -> Self:
        """Make the folder, by default runs/<config>-s<seed>. Raises `ConfigError` if it holds something.

        What a start left there that never came to its first model is replaced.
        """
        run = cls(path or RUNS / f"{config.name}-s{config.seed}")
        if run.path.exists() and not run.path.is_dir():
            raise ConfigError(f"{run.path}: is a file; choose another --run-dir")
        try:
            run.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{run.path}: {error.strerror}; choose another --run-dir") from None
        with run._locked_unless_it_fails():
            run._clear()
            if config.family is not None:
                atomic_write_text(run.family_path, to_yaml(config.family.model_dump(mode="json")))
            for scenario in config.scenarios if config.family is None else ():
                atomic_write_text(run.scenario_path(scenario.name), to_yaml(scenario.model_dump(mode="json")))
            run._write_configuration(config)
            daemon = config.scenarios[0].daemon
            run.update_manifest(
                command=command,
                git_revision=git_revision(),
                versions=versions(),
                machine=machine(),
                times_resumed=0,
                observation=observation_definition(observation_rows(config.observation, daemon)),
                action=action_definition(daemon),
                actor=config.find_algorithm().actor,
            )
        return run

    @classmethod
    def resume(cls, path: Path | None, config: TrainingConfig, command: str) -> Self:
        """Open a folder to continue. Raises `ConfigError` if it is not this configuration's."""
        run = cls(path or RUNS / f"{config.name}-s{config.seed}")
        if not run.is_run:
            raise ConfigError(f"{run.path}: no run to resume; leave out --resume to start one")
        with run._locked_unless_it_fails():
            run._check_kinds()
            remove_temporaries(run.path)
            started = load_record("algorithms", TrainingConfig, str(run.config_path))
            for field in TrainingConfig.model_fields:
                old, new = getattr(started, field), getattr(config, field)
                if field == "scenarios" and config.family is not None:
                    continue  # they follow from it
                is_same = _identities(old) == _identities(new) if field in ("scenarios", "family") else old == new
                if not is_same and field not in ("timesteps", "wall_time", "summary"):
                    raise ConfigError(
                        f"{run.config_path}: {field}: this run has {_short(old)}, the configuration given has "
                        f"{_short(new)}; a run resumes with the configuration it started with"
                    )
            run._check_observation(config)
            run._pair_best()
            if config.family is None:
                config = config.model_copy(update={"scenarios": started.scenarios})
            run._write_configuration(config)
            times_resumed = run.manifest.times_resumed + 1
            run.update_manifest(command=command, git_revision=git_revision(), times_resumed=times_resumed)
        return run

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.close()

    @contextmanager
    def _locked_unless_it_fails(self) -> Iterator[None]:
        """Take the lock; only a context that is left by an exception gives it back."""
        try:
            self._lock.enter_context(locked(self.path, wait=False))
        except BlockingIOError:
            raise ConfigError(
                f"{self.path}: another tierenv train is writing this run; wait for its end, or choose another --run-dir"
            ) from None
        try:
            yield
        except BaseException:
            self._lock.close()
            raise

    def _check_observation(self, config: TrainingConfig) -> None:
        """Refuse to go on with a network whose features mean something else by now. Raises `ConfigError`."""
        observed = self.manifest.observation
        rows = observation_rows(config.observation, config.scenarios[0].daemon)
        if observed is not None and without_words(observed) != without_words(observation_definition(rows)):
            raise ConfigError(
                f"{self.manifest_path}: observation: defined otherwise than in tierenv {__version__}; start a new run"
            )

    def _check_kinds(self) -> None:
        """Refuse links, which lead out of the folder, and what hangs or fails when it is read. Raises `ConfigError`."""
        files = {self.config_path, self.family_path, self.manifest_path, self.progress_path, self.evaluations_path}
        files |= {self.best_model, self.best_evaluation_path, *self.path.glob("checkpoints/step_*")}
        folders = set(self.top_level) - files
        for path in self.path.rglob("*"):
            kind = path.lstat().st_mode
            if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                raise ConfigError(f"{path}: is a link, a pipe or a device, which no run holds; remove it")
            if path in files and not stat.S_ISREG(kind):
                raise ConfigError(f"{path}: must be a file; remove the folder")
            if path in folders and not stat.S_ISDIR(kind):
                raise ConfigError(f"{path}: must be a folder; remove the file")

    def _clear(self) -> None:
        """Remove what a start left that never began. Raises `ConfigError` where there is anything else."""
        self._check_kinds()
        if self.checkpoints or self.best_model.exists():
            raise ConfigError(f"{self.path}: already exists; continue it with --resume or choose another --run-dir")
        remove_temporaries(self.path)
        ours = {path.name for path in self.top_level}
        if others := sorted(path.name for path in self.path.iterdir() if path.name not in ours):
            raise ConfigError(f"{self.path}: holds {others[0]}, which no run does; choose another --run-dir")
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _pair_best(self) -> None:
        """Let best/evaluation.json be about the best model: a stop between the two may have kept them apart."""
        if not self.best_model.exists():
            self.best_evaluation_path.unlink(missing_ok=True)
            return
        timesteps = self.timesteps_of(self.best_model)
        try:
            best = self.best_evaluation
        except ConfigError as error:
            log.warning("%s; written anew", error)
            best = None
        if best is not None and best.timesteps == timesteps:
            return
        found = [entry for entry in self.evaluations if entry.timesteps == timesteps]
        if found:
            _write_record(self.best_evaluation_path, found[-1])
        else:
            log.warning("%s: no evaluation is known of it; the next one takes its place", self.best_model)
            self.best_evaluation_path.unlink(missing_ok=True)

    def _write_configuration(self, config: TrainingConfig) -> None:
        """Write config.yaml, which refers to the scenarios, or the family, beside it."""
        content = config.model_dump(mode="json", exclude={"scenarios", "family"})
        if config.family is not None:
            content["family"] = str(self.family_path.relative_to(self.path))
        else:
            paths = [self.scenario_path(scenario.name).relative_to(self.path) for scenario in config.scenarios]
            content["scenarios"] = [str(path) for path in paths]
        atomic_write_text(self.config_path, to_yaml(content))

    def update_manifest(self, **fields: Any) -> None:
        """Set fields of the manifest, keeping the others."""
        values = self.manifest.model_dump(mode="json", exclude_unset=True) | {"schema": 1} | fields
        _write_record(self.manifest_path, validate_record(Manifest, values, str(self.manifest_path)))

    def write_evaluations(self, evaluations: list[SelectionResult]) -> None:
        """Replace the evaluations."""
        _write_record(self.evaluations_path, Evaluations(schema=1, evaluations=tuple(evaluations)))  # type: ignore[call-arg]

    def write_best(self, model: bytes, evaluation: SelectionResult) -> None:
        """Replace the best model."""
        atomic_write_bytes(self.best_model, model)
        _write_record(self.best_evaluation_path, evaluation)

    def write_checkpoint(self, timesteps: int, model: bytes, replay: bytes | None = None) -> Path:
        """Store a model under the steps it has seen, beside the last few before it.

        Args:
            timesteps: environment steps it has seen.
            model: its archive.
            replay: the transitions it remembers, of which the last alone are kept; they stand there before the model.
        """
        path = self.checkpoint_path(timesteps)
        if replay is not None:
            atomic_write_bytes(self.replay_path(path), replay)
        atomic_write_bytes(path, model)
        for old in self.checkpoints[CHECKPOINTS_KEPT:]:
            old.unlink()
        for old in self.path.glob("checkpoints/step_*.replay.safetensors"):
            if old != self.replay_path(path):
                old.unlink()
        return path

    def latest_checkpoint(self) -> Path | None:
        """The newest model that is whole, of the checkpoints and then the best one; None where there is none at all.

        Raises `ConfigError` where all are broken: to begin anew is not for us to decide.
        """
        models = [*self.checkpoints, *([self.best_model] if self.best_model.exists() else [])]
        for path in models:
            timesteps = self.timesteps_of(path)
            if timesteps is not None and path in (self.best_model, self.checkpoint_path(timesteps)):
                return path
            log.warning("%s: is broken; going on from the one before", path)
        if models:
            raise ConfigError(f"{self.path}: no model in it is whole; choose another --run-dir to begin anew")
        return None

    def timesteps_of(self, model: Path) -> int | None:
        """Environment steps a model has seen, None if its archive is not whole or too large for the networks."""
        try:
            with zipfile.ZipFile(model) as archive:
                if sum(member.file_size for member in archive.infolist()) > self._most_bytes or archive.testzip():
                    return None
                timesteps = json.loads(archive.read("data"))["num_timesteps"]
        except Exception:  # zipfile does not say what it raises for an archive that is spoiled
            return None
        return timesteps if isinstance(timesteps, int) and 0 <= timesteps < 1 << 53 else None

    @property
    def _most_bytes(self) -> int:
        """Room for a model: its networks, the optimisers' two numbers for each weight, and what is beside."""
        sizes = (MAX_COLUMNS, *self.configuration.policy_net, MAX_COLUMNS)
        weights = sum((inputs + 1) * outputs for inputs, outputs in itertools.pairwise(sizes))
        return MOST_NETWORKS * 4 * weights + (8 << 20)


def to_yaml(content: dict[str, Any]) -> str:
    """YAML in the order of the keys."""
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def to_json(content: dict[str, Any]) -> str:
    """JSON for machines that people read too. NaN and infinity raise ValueError."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `to_json` to a file."""
    atomic_write_text(path, to_json(content))


def _write_record(path: Path, record: Record) -> None:
    write_json(path, record.model_dump(mode="json", by_alias=True, exclude_unset=True))


def _identities(given: tuple[Scenario, ...] | Family | None) -> list[str]:
    """By which scenarios, or families, are the same, whatever their names."""
    entries = given if isinstance(given, tuple) else [given]
    return ["" if entry is None else entry.identity for entry in entries]


def _short(value: object) -> str:
    if isinstance(value, tuple) and value and isinstance(value[0], Scenario):
        return ", ".join(f"{entry.name} ({entry.short_identity})" for entry in value)
    if isinstance(value, Family):
        return f"{value.name} ({value.short_identity})"
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
