"""A learned policy and where it comes from, for the formats that export one: from a run folder or from a bundle."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tierenv.agents.actors import FEED_FORWARD
from tierenv.agents.bundle import DOCUMENT, BundlePolicy, TrainedOn
from tierenv.agents.export import ExportRequest, formats_for
from tierenv.agents.export.header import Gain, Origin, describe_training, one_line
from tierenv.agents.learned import LearnedPolicy
from tierenv.agents.network import Network
from tierenv.agents.policies import POLICIES, find_policy_folder
from tierenv.agents.run_folder import RunConfiguration, RunFolder
from tierenv.agents.tree import DecisionTree
from tierenv.daemon import Daemon
from tierenv.errors import ConfigError
from tierenv.features import Feature
from tierenv.observation_spec import observation_rows
from tierenv.reading import read_yaml
from tierenv.records import validate_record

GAINS = "expected_gain"
ORIGIN = "origin"
"""Keys of a bundle's training record: its `Gain`s for machines, all of its origin for people."""

_FROM_MANIFEST = {"command", "git_revision", "versions", "times_resumed"}
"""What of a run's manifest.json goes into an export; machine and times stay behind."""


@dataclass(frozen=True)
class LearnedSource:
    """One network or tree and its origin."""

    model: Network | DecisionTree
    daemon: Daemon
    observation: tuple[Feature, ...]
    """What it observes, row by row."""
    scenarios: tuple[TrainedOn, ...]
    """What it was trained on."""
    training: dict[str, Any]
    """As policy.json holds it."""
    origin: Origin
    is_bundle: bool

    def control_interval_ms(self, name: str) -> int:
        """How often it decides. Raises `ConfigError`, which names the policy, for one that learned several."""
        intervals = {row.control_interval for row in self.scenarios if row.control_interval is not None}
        if len(intervals) != 1:
            raise ConfigError(f"{name}: was trained with {len(intervals)} control intervals; a kernel has one")
        return round(1000 * intervals.pop())


def requested_source(request: ExportRequest) -> LearnedSource:
    """What a request names. Raises `ConfigError` as `learned_source` does, and for a scenario."""
    source = learned_source(request.policy, request.gains)
    if request.scenario is not None:
        raise ConfigError(
            f"--scenario={request.scenario.name}: {request.policy} is learned and knows its own, "
            f"{one_line(source.origin.trained_for)}; leave it out"
        )
    return source


def learned_source(policy: str, gains: tuple[Gain, ...] = ()) -> LearnedSource:
    """Read a run folder's best model, or a bundle. Raises `ConfigError` for anything else, and if it is not whole.

    Args:
        policy: name or path.
        gains: what an evaluation found the policy to save; by default those a bundle brings.
    """
    if policy.partition(":")[0] in POLICIES:
        raise ConfigError(
            f"policy {policy!r} is not learned: this format takes a run folder or a bundle; formats for a static "
            f"policy: {formats_for('static')}"
        )
    folder = find_policy_folder(policy)
    if (folder / DOCUMENT).is_file():
        return _from_bundle(folder, gains)
    return _from_run(RunFolder(folder), gains)


def _from_run(run: RunFolder, gains: tuple[Gain, ...]) -> LearnedSource:
    daemon = run.configuration.daemons[0]
    name = run.path.resolve().name
    training = _provenance(run)
    origin = Origin(
        policy=name,
        training_run=describe_training(name, training),
        trained_for=run.configuration.trained_on,
        daemon=daemon.name,
        gains=gains,
    )
    policy = LearnedPolicy.load(run.path)
    if not isinstance(policy.network, Network):
        raise ConfigError(
            f"{run.path}: algorithm {run.configuration.algorithm}: a recurrent policy cannot be exported or distilled; "
            f"allowed: {', '.join(FEED_FORWARD)}"
        )
    return LearnedSource(
        model=policy.network,
        daemon=daemon,
        observation=observation_rows(policy.observation, daemon),
        scenarios=_trained_on(run.configuration),
        training=_with_origin(training, origin),
        origin=origin,
        is_bundle=False,
    )


def _from_bundle(folder: Path, gains: tuple[Gain, ...]) -> LearnedSource:
    policy = BundlePolicy.load(folder)
    document, path = policy.document, folder / DOCUMENT
    stored, rows = document.training.get(GAINS, []), document.training.get(ORIGIN, {})
    if not (isinstance(stored, list) and all(isinstance(row, dict) for row in stored) and isinstance(rows, dict)):
        raise ConfigError(f"{path}: training: {GAINS} must be a list of objects, {ORIGIN} an object")
    origin = Origin(
        policy=document.name,
        training_run=str(rows.get("training run") or describe_training(document.name, document.training)),
        trained_for=str(rows.get("trained for") or "; ".join(scenario.name for scenario in document.scenarios)),
        daemon=document.daemon.name,
        gains=gains or tuple(validate_record(Gain, row, f"{path}: training.{GAINS}") for row in stored),
    )
    return LearnedSource(
        model=policy.model,
        daemon=document.daemon,
        observation=observation_rows(policy.observation, document.daemon),
        scenarios=document.scenarios,
        training=_with_origin(document.training, origin),
        origin=origin,
        is_bundle=True,
    )


def _with_origin(training: Mapping[str, Any], origin: Origin) -> dict[str, Any]:
    return {**training, ORIGIN: origin.rows(), GAINS: [gain.model_dump(mode="json") for gain in origin.gains]}


def _trained_on(configuration: RunConfiguration) -> tuple[TrainedOn, ...]:
    """What a run was trained on, as a bundle lists it: a family's set as one. Raises `ConfigError`."""
    family, number = configuration.family, configuration.num_scenarios
    if family is None:
        return tuple(map(TrainedOn.of, configuration.given))
    name = f"{family.name}:training" + (f":{number}" if number < family.splits.training.scenarios else "")
    return (
        TrainedOn.model_construct(
            name=name,
            identity=family.identity_of_split("training"),
            control_interval=family.scenario("training", 0).control_interval,
        ),
    )


def _provenance(run: RunFolder) -> dict[str, Any]:
    """Whatever of configuration, manifest and best evaluation the run folder holds; of scenarios their names."""
    names = [entry.name for entry in _trained_on(run.configuration)]
    provenance: dict[str, Any] = {"config": read_yaml(run.config_path) | {"scenarios": names}}
    provenance |= run.manifest.model_dump(mode="json", include=_FROM_MANIFEST, exclude_unset=True)
    evaluation = run.best_evaluation
    return provenance | {"evaluation": {} if evaluation is None else evaluation.model_dump(mode="json")}
