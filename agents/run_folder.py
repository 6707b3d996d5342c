"""The folder of a training run: what is in it, under which names, and reading it.

    config.yaml          the resolved configuration; trains the run again
    scenarios/           the scenarios it refers to, whole; family.yaml in place of those of a family
    manifest.json        versions, git revision, machine, threads, command, time spent, what observations and
                         actions mean
    progress.csv, tb/    the learner's figures, for people and TensorBoard
    checkpoints/         step_<environment steps>.zip, the last few, and beside one step_<...>.replay.safetensors, what
                         an off-policy algorithm remembers
    best/                model.zip and evaluation.json of the best evaluation
    evaluations.json     all evaluations

The folder needs nothing outside itself: it may be moved, and what it was made from may change. Everything but
progress.csv and tb/ appears under its name only when whole (`tierenv.train.run_dir` writes it).
"""

from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tierenv.agents.network import Activation
from tierenv.daemon import Daemon
from tierenv.errors import ConfigError
from tierenv.family import Family
from tierenv.observation_spec import ObservationSpec
from tierenv.reading import read_json
from tierenv.records import NamedRecord, Record, RecordType, Reference, load_record, validate_record
from tierenv.scenario import Scenario, Scenarios

HiddenLayers = Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(max_length=8)]
"""Sizes of the hidden layers of policy and value function."""

MAX_CHOICES = 128
"""Of a menu: as many as a layer may have units in C."""
Choice = Annotated[tuple[Annotated[float, Field(ge=-1, le=1)], ...], Field(min_length=1)]
Menu = Annotated[tuple[Choice, ...], Field(min_length=2, max_length=MAX_CHOICES)]
"""Settings to choose from, each in the coordinates of an action."""


class RunConfiguration(NamedRecord):
    """What of config.yaml a policy needs; the rest concerns the learner."""

    model_config = ConfigDict(extra="ignore")

    given: Annotated[Scenarios, Field(alias="scenarios")] = ()
    """Those it was trained on, unless they are of a family."""
    family: Annotated[Family, Reference("families")] | None = None
    """Whose training set it was trained on."""
    family_scenarios: int | None = None
    """The first so many; None: all."""
    num_envs: int = 1
    """Environments, each of which began with one of them."""
    algorithm: str = ""
    """For messages: what its tensors are says the manifest."""
    policy_net: HiddenLayers = (64, 64)
    activation: Activation = "tanh"
    menu: Menu | None = None
    observation: ObservationSpec = ObservationSpec()
    """What it observes, where the manifest does not say it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.family is None and not self.given:
            raise ValueError("scenarios: required key is missing, or family")
        return self

    @cached_property
    def first_scenarios(self) -> tuple[Scenario, ...]:
        """What its environments began with: all it was trained on, but of a family. Raises `ConfigError`."""
        if self.family is None:
            return self.given
        return self.family.scenarios("training", min(self.num_envs, self.num_scenarios))

    @property
    def num_scenarios(self) -> int:
        """How many it was trained on. Raises `ConfigError`."""
        if self.family is None:
            return len(self.given)
        return self.family.number_of("training", self.family_scenarios)

    @property
    def daemons(self) -> list[Daemon]:
        """Those of the scenarios, which need not be drawn for it."""
        return [scenario.daemon for scenario in self.given] if self.family is None else [self.family.daemon]

    @property
    def trained_on(self) -> str:
        """The scenarios, for people."""
        if self.family is None:
            return "; ".join(map(str, self.given))
        return f"{self.num_scenarios} scenarios of family {self.family.name}"


class _RunDocument(Record):
    """A JSON file of a run's folder; what other versions put there is left unread."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class Manifest(_RunDocument):
    """The content of manifest.json: where a run comes from and how far it got."""

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    command: str | None = None
    """That was run last."""
    git_revision: str | None = None
    versions: dict[str, str] = {}
    """Of Python and packages."""
    times_resumed: Annotated[int, Field(ge=0)] = 0
    machine: dict[str, str | int] = {}
    observation: tuple[dict[str, Any], ...] | None = None
    action: tuple[dict[str, Any], ...] | None = None
    """What the numbers mean (`tierenv.agents.definition`); None where it is not known."""
    actor: str = "gaussian"
    """Which tensors of a model act: a row of `tierenv.agents.actors`."""
    timesteps: int | None = None
    """Environment steps so far, all environments together."""
    trained_s: float | None = None
    """Time trained so far, by all commands together, without evaluations [s]."""
    is_interrupted: bool | None = None
    threads: dict[str, int] = {}
    time_spent: dict[str, float] = {}
    """Of the last command [s]."""


class SelectionResult(_RunDocument):
    """One evaluation of the model during training."""

    timesteps: Annotated[int, Field(ge=0)]
    """Environment steps trained so far."""
    machine_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Modelled time of these steps, seconds that real machines would have been busy; None where it is not known."""
    normalised_time: float
    """Mean objective over what it comes to with every page fast, noise off; less is better."""
    by_scenario: dict[str, float]


class Evaluations(_RunDocument):
    """The content of evaluations.json."""

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    evaluations: tuple[SelectionResult, ...] = ()
    """Oldest first."""


class RunFolder:
    """A run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_path = path / "config.yaml"
        self.family_path = path / "family.yaml"
        self.manifest_path = path / "manifest.json"
        self.progress_path = path / "progress.csv"
        self.tensorboard_path = path / "tb"
        self.best_model = path / "best" / "model.zip"
        self.best_evaluation_path = path / "best" / "evaluation.json"
        self.evaluations_path = path / "evaluations.json"

    @property
    def top_level(self) -> list[Path]:
        """All that may stand in the folder itself."""
        folders = [self.tensorboard_path, self.best_model.parent, self.scenario_path("").parent]
        files = [self.config_path, self.family_path, self.manifest_path, self.progress_path, self.evaluations_path]
        return [*folders, self.checkpoint_path(0).parent, *files]

    def scenario_path(self, name: str) -> Path:
        """Where the scenario of that name stands."""
        return self.path / "scenarios" / f"{name}.yaml"

    def checkpoint_path(self, timesteps: int) -> Path:
        """Where the model stands that has seen so many environment steps."""
        return self.path / "checkpoints" / f"step_{timesteps:010d}.zip"

    @staticmethod
    def replay_path(checkpoint: Path) -> Path:
        """Where the transitions stand that belong to a checkpoint."""
        return checkpoint.with_suffix(".replay.safetensors")

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
        if not self.family_path.is_file():
            return load_record("algorithms", RunConfiguration, str(self.config_path))
        read = [path.stat() for path in (self.config_path, self.family_path)]
        return _of_family(str(self.config_path), tuple((each.st_mtime_ns, each.st_size) for each in read))

    @property
    def manifest(self) -> Manifest:
        """What manifest.json says; nothing without one. Raises `ConfigError`."""
        return _read(self.manifest_path, Manifest) or Manifest()

    @property
    def best_evaluation(self) -> SelectionResult | None:
        """The best evaluation, None before the first. Raises `ConfigError`."""
        return _read(self.best_evaluation_path, SelectionResult)

    @property
    def evaluations(self) -> tuple[SelectionResult, ...]:
        """All evaluations so far, oldest first. Raises `ConfigError`."""
        return (_read(self.evaluations_path, Evaluations) or Evaluations()).evaluations


@lru_cache(maxsize=4)
def _of_family(path: str, _state: tuple[tuple[int, int], ...]) -> RunConfiguration:
    """The configuration of a run on a family, whose file takes long to read: a policy is loaded for every scenario."""
    return load_record("algorithms", RunConfiguration, path)


def _read(path: Path, record: type[RecordType]) -> RecordType | None:
    try:
        return validate_record(record, read_json(path), str(path)) if path.exists() else None
    except ConfigError as error:
        raise ConfigError(f"{error}; remove the file to go on without what it says") from None
