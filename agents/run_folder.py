"""The folder of a training run: what is in it, under which names, and reading it.

    config.yaml          the resolved configuration; trains the run again
    scenarios/           the scenarios it refers to, whole
    manifest.json        versions, git revision, machine, threads, command, time spent, what observations and
                         actions mean
    progress.csv, tb/    the learner's figures, for people and TensorBoard
    checkpoints/         step_<environment steps>.zip
    best/                model.zip and evaluation.json of the best evaluation
    evaluations.json     all evaluations

The folder needs nothing outside itself: it may be moved, and what it was made from may change. Everything but
progress.csv and tb/ appears under its name only when whole (`tierenv.train.run_dir` writes it).
"""

from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from tierenv.errors import ConfigError
from tierenv.reading import read_json
from tierenv.records import NamedRecord, load_record
from tierenv.scenario import Scenarios


class RunConfiguration(NamedRecord):
    """What of config.yaml a policy needs; the rest concerns the learner."""

    model_config = ConfigDict(extra="ignore")

    algorithm: str
    """Of stable-baselines3, in small letters."""
    scenarios: Scenarios
    """Those it was trained on."""


class RunFolder:
    """A run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_path = path / "config.yaml"
        self.manifest_path = path / "manifest.json"
        self.progress_path = path / "progress.csv"
        self.tensorboard_path = path / "tb"
        self.best_model = path / "best" / "model.zip"
        self.best_evaluation_path = path / "best" / "evaluation.json"
        self.evaluations_path = path / "evaluations.json"

    def scenario_path(self, name: str) -> Path:
        """Where the scenario of that name stands."""
        return self.path / "scenarios" / f"{name}.yaml"

    def checkpoint_path(self, timesteps: int) -> Path:
        """Where the model stands that has seen so many environment steps."""
        return self.path / "checkpoints" / f"step_{timesteps:010d}.zip"

    @property
    def checkpoints(self) -> list[Path]:
        """Models on the way, the newest first."""
        return sorted(self.path.glob("checkpoints/step_*.zip"), reverse=True)

    @property
    def is_run(self) -> bool:
        """Whether this is a run's folder at all."""
        return self.config_path.is_file()

    @cached_property
    def configuration(self) -> RunConfiguration:
        """What was trained on what. Raises `ConfigError`, also if this is no run's folder."""
        if not self.is_run:
            raise ConfigError(f"{self.path}: neither a bundle (policy.json) nor a run folder ({self.config_path.name})")
        return load_record("algorithms", RunConfiguration, str(self.config_path))

    @property
    def manifest(self) -> dict[str, Any]:
        """What manifest.json says; empty without one. Raises `ConfigError`."""
        return read_json(self.manifest_path) if self.manifest_path.exists() else {}

    @property
    def best_evaluation(self) -> dict[str, Any] | None:
        """The best evaluation, None before the first. Raises `ConfigError`."""
        return read_json(self.best_evaluation_path) if self.best_evaluation_path.exists() else None
