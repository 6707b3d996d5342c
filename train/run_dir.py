"""Writing a training run's folder (`tierenv.agents.run_folder` says what is in it), new or resumed."""

import json
import zipfile
from pathlib import Path
from typing import Any

import yaml

from tierenv.agents.definition import action_definition, observation_definition
from tierenv.agents.run_folder import RunFolder
from tierenv.errors import ConfigError
from tierenv.files import atomic_write_bytes, atomic_write_text
from tierenv.reading import read_json
from tierenv.records import load_record
from tierenv.scenario import Scenario
from tierenv.train.config import TrainingConfig
from tierenv.train.provenance import git_revision, machine, versions

RUNS = Path("runs")


class RunDirectory(RunFolder):
    """A run's folder that is being written."""

    @classmethod
    def create(cls, path: Path | None, config: TrainingConfig, command: str) -> "RunDirectory":
        """Make the folder, by default runs/<config>-s<seed>. Raises `ConfigError` if it holds something."""
        run = cls(path or RUNS / f"{config.name}-s{config.seed}")
        if run.path.exists() and not run.path.is_dir():
            raise ConfigError(f"{run.path}: is a file; choose another --run-dir")
        if run.path.exists() and any(run.path.iterdir()):
            raise ConfigError(f"{run.path}: already exists; continue it with --resume or choose another --run-dir")
        for scenario in config.scenarios:
            atomic_write_text(run.scenario_path(scenario.name), to_yaml(scenario.model_dump(mode="json")))
        run._write_configuration(config)
        daemon = config.scenarios[0].daemon
        run.update_manifest(
            command=command,
            git_revision=git_revision(),
            versions=versions(),
            machine=machine(),
            times_resumed=0,
            observation=observation_definition(daemon),
            action=action_definition(daemon),
        )
        return run

    @classmethod
    def resume(cls, path: Path | None, config: TrainingConfig, command: str) -> "RunDirectory":
        """Open a folder to continue. Raises `ConfigError` if it is not this configuration's."""
        run = cls(path or RUNS / f"{config.name}-s{config.seed}")
        if not run.is_run:
            raise ConfigError(f"{run.path}: no run to resume; leave out --resume to start one")
        started = load_record("algorithms", TrainingConfig, str(run.config_path))
        for field in TrainingConfig.model_fields:
            old, new = getattr(started, field), getattr(config, field)
            is_same = _identities(old) == _identities(new) if field == "scenarios" else old == new
            if not is_same and field not in ("timesteps", "summary"):
                raise ConfigError(
                    f"{run.config_path}: {field}: this run has {_short(old)}, the configuration given has "
                    f"{_short(new)}; a run resumes with the configuration it started with"
                )
        run._write_configuration(config.model_copy(update={"scenarios": started.scenarios}))
        times_resumed = run.manifest.get("times_resumed", 0) + 1
        run.update_manifest(command=command, git_revision=git_revision(), times_resumed=times_resumed)
        return run

    def _write_configuration(self, config: TrainingConfig) -> None:
        """Write config.yaml, which refers to the scenarios beside it."""
        paths = [self.scenario_path(scenario.name).relative_to(self.path) for scenario in config.scenarios]
        content = config.model_dump(mode="json") | {"scenarios": [str(path) for path in paths]}
        atomic_write_text(self.config_path, to_yaml(content))

    def update_manifest(self, **fields: Any) -> None:
        """Set fields of the manifest, keeping the others."""
        write_json(self.manifest_path, {"schema": 1} | self.manifest | fields)

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """All evaluations so far, oldest first."""
        return list(read_json(self.evaluations_path)["evaluations"]) if self.evaluations_path.exists() else []

    def write_evaluations(self, evaluations: list[dict[str, Any]]) -> None:
        """Replace the evaluations."""
        write_json(self.evaluations_path, {"schema": 1, "evaluations": evaluations})

    def write_best(self, model: bytes, evaluation: dict[str, Any]) -> None:
        """Replace the best model."""
        atomic_write_bytes(self.best_model, model)
        write_json(self.best_evaluation_path, evaluation)

    def write_checkpoint(self, timesteps: int, model: bytes) -> Path:
        """Store a model under the steps it has seen."""
        path = self.checkpoint_path(timesteps)
        atomic_write_bytes(path, model)
        return path

    def latest_checkpoint(self) -> Path | None:
        """The newest checkpoint whose archive is whole, None without one."""
        return next((path for path in self.checkpoints if _is_whole_archive(path)), None)


def to_yaml(content: dict[str, Any]) -> str:
    """YAML in the order of the keys."""
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file for machines that people read too. NaN and infinity raise ValueError."""
    atomic_write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _is_whole_archive(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def _identities(scenarios: tuple[Scenario, ...]) -> list[str]:
    """By which scenarios are the same, whatever their names."""
    return [scenario.identity for scenario in scenarios]


def _short(value: object) -> str:
    if isinstance(value, tuple) and value and isinstance(value[0], Scenario):
        return ", ".join(f"{entry.name} ({entry.short_identity})" for entry in value)
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
