"""The folder of a training run.

    config.yaml          the resolved configuration; trains the run again
    scenarios/           the scenarios it named, whole, as they were
    manifest.json        versions, git revision, machine, threads, command, time spent, what observations and
                         actions mean
    progress.csv, tb/    the learner's figures, for people and TensorBoard
    checkpoints/         step_<environment steps>.zip
    best/                model.zip and evaluation.json of the best evaluation
    evaluations.json     all evaluations

Everything but progress.csv and tb/ appears under its name only when whole.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import yaml

from tierenv.agents.definition import action_definition, observation_definition
from tierenv.errors import ConfigError
from tierenv.files import atomic_write_bytes, atomic_write_text
from tierenv.records import read_yaml, validate_record
from tierenv.scenario import load_scenario
from tierenv.train.config import TrainingConfig
from tierenv.train.provenance import git_revision, machine, versions

RUNS = Path("runs")


class RunDirectory:
    """A run's folder, new or resumed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path | None, config: TrainingConfig, command: str) -> "RunDirectory":
        """Make the folder, by default runs/<config>-s<seed>. Raises `ConfigError` if it holds something."""
        run = cls(path or RUNS / f"{config.name}-s{config.seed}")
        if run.path.exists() and not run.path.is_dir():
            raise ConfigError(f"{run.path}: is a file; choose another --run-dir")
        if run.path.exists() and any(run.path.iterdir()):
            raise ConfigError(f"{run.path}: already exists; continue it with --resume or choose another --run-dir")
        records = [load_scenario(scenario) for scenario in config.scenarios]
        for record in records:
            atomic_write_text(run.path / "scenarios" / f"{record.name}.yaml", to_yaml(record.model_dump(mode="json")))
        atomic_write_text(run.path / "config.yaml", to_yaml(config.model_dump(mode="json")))
        run.update_manifest(
            command=command,
            git_revision=git_revision(),
            versions=versions(),
            machine=machine(),
            times_resumed=0,
            observation=observation_definition(records[0].daemon),
            action=action_definition(records[0].daemon),
        )
        return run

    @classmethod
    def resume(cls, path: Path | None, config: TrainingConfig, command: str) -> "RunDirectory":
        """Open a folder to continue. Raises `ConfigError` if it is not this configuration's."""
        run = cls(path or RUNS / f"{config.name}-s{config.seed}")
        if not run.config_path.is_file():
            raise ConfigError(f"{run.path}: no run to resume; leave out --resume to start one")
        started = validate_record(TrainingConfig, read_yaml(run.config_path), str(run.config_path))
        for field in TrainingConfig.model_fields:
            old, new = getattr(started, field), getattr(config, field)
            if old != new and field not in ("timesteps", "summary"):
                raise ConfigError(
                    f"{run.config_path}: {field}: this run has {_short(old)}, the configuration given has "
                    f"{_short(new)}; a run resumes with the configuration it started with"
                )
        manifest = run.manifest
        atomic_write_text(run.config_path, to_yaml(config.model_dump(mode="json")))
        run.update_manifest(
            command=command, git_revision=git_revision(), times_resumed=manifest.get("times_resumed", 0) + 1
        )
        return run

    @property
    def config_path(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def best_model(self) -> Path:
        """The model of the best evaluation."""
        return self.path / "best" / "model.zip"

    @property
    def best_evaluation(self) -> dict[str, Any] | None:
        """The best evaluation, None before the first."""
        path = self.path / "best" / "evaluation.json"
        return read_json(path) if path.exists() else None

    @property
    def manifest(self) -> dict[str, Any]:
        """What manifest.json says."""
        return read_json(self.path / "manifest.json")

    def update_manifest(self, **fields: Any) -> None:
        """Set fields of the manifest, keeping the others."""
        known = self.manifest if (self.path / "manifest.json").exists() else {"schema": 1}
        write_json(self.path / "manifest.json", known | fields)

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """All evaluations so far, oldest first."""
        path = self.path / "evaluations.json"
        return list(read_json(path)["evaluations"]) if path.exists() else []

    def write_evaluations(self, evaluations: list[dict[str, Any]]) -> None:
        """Replace the evaluations."""
        write_json(self.path / "evaluations.json", {"schema": 1, "evaluations": evaluations})

    def write_best(self, model: bytes, evaluation: dict[str, Any]) -> None:
        """Replace the best model."""
        atomic_write_bytes(self.best_model, model)
        write_json(self.path / "best" / "evaluation.json", evaluation)

    def write_checkpoint(self, timesteps: int, model: bytes) -> Path:
        """Store a model under the steps it has seen."""
        path = self.path / "checkpoints" / f"step_{timesteps:010d}.zip"
        atomic_write_bytes(path, model)
        return path

    def latest_checkpoint(self) -> Path | None:
        """The newest checkpoint whose archive is whole, None without one."""
        for path in sorted(self.path.glob("checkpoints/step_*.zip"), reverse=True):
            if _is_whole_archive(path):
                return path
        return None


def to_yaml(content: dict[str, Any]) -> str:
    """YAML in the order of the keys."""
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def read_json(path: Path) -> dict[str, Any]:
    """The object a JSON file of ours holds. Raises `ConfigError`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold an object, got {type(content).__name__}")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file for machines that people read too. NaN and infinity raise ValueError."""
    atomic_write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _is_whole_archive(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
