"""Format `bundle`: the network of a training run, see tierenv.agents.bundle."""

import json
from pathlib import Path
from typing import Any

from tierenv.agents.bundle import DOCUMENT, write_bundle
from tierenv.agents.learned import CONFIG, LearnedPolicy, training_scenarios
from tierenv.agents.policy import POLICIES, find_policy_folder
from tierenv.errors import ConfigError
from tierenv.scenario import Scenario, read_yaml

_FROM_MANIFEST = ("command", "git_revision", "versions", "times_resumed")
"""What of a run's manifest.json goes into the bundle; machine and times stay behind."""


def write(policy: str, _scenario: Scenario | None, output: Path) -> None:
    """Write the best model of a run folder; the bundle is for the daemon the run was trained on."""
    if policy.partition(":")[0] in POLICIES:
        raise ConfigError(
            f"policy {policy!r} is not learned: format bundle takes a run folder; "
            "for a static policy use --format parameters or sysfs"
        )
    folder = find_policy_folder(policy)
    if (folder / DOCUMENT).is_file():
        raise ConfigError(f"{folder}: is a bundle already; copy the folder")
    scenarios = training_scenarios(folder)
    learned = LearnedPolicy.load(folder)
    write_bundle(
        output,
        name=output.resolve().name,
        model=learned.network(),
        daemon=scenarios[0].daemon,
        scenarios=[scenario.name for scenario in scenarios],
        training=_provenance(folder),
    )


def _provenance(folder: Path) -> dict[str, Any]:
    """Whatever of configuration, manifest and best evaluation the run folder holds."""
    provenance: dict[str, Any] = {"config": read_yaml(folder / CONFIG)}
    manifest = _read_json(folder / "manifest.json")
    provenance |= {key: manifest[key] for key in _FROM_MANIFEST if key in manifest}
    return provenance | {"evaluation": _read_json(folder / "best" / "evaluation.json")}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
    return content if isinstance(content, dict) else {}
