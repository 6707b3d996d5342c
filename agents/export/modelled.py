"""A static setting with what is to be said about where it comes from, for the formats that export one."""

from dataclasses import dataclass
from typing import Any

from tierenv import __version__
from tierenv.agents.heuristics.best_static import read_best_static
from tierenv.agents.heuristics.static import StaticPolicy
from tierenv.agents.policy import POLICIES, load_policy
from tierenv.errors import ConfigError
from tierenv.scenario import Scenario
from tierenv.tunables import TunableSetting

CAVEAT = "modelled, not measured on your machine"


@dataclass(frozen=True)
class ModelledSetting:
    """One setting and its origin."""

    policy: str
    scenario: Scenario
    setting: TunableSetting
    provenance: dict[str, Any]


def modelled_setting(policy: str, scenario: Scenario | None) -> ModelledSetting:
    """The setting a static policy holds. Raises `ConfigError` for any other policy."""
    if policy.partition(":")[0] not in ("static", "best-static"):
        kind = "does not hold one setting" if policy in POLICIES else "is not a static policy"
        raise ConfigError(
            f"policy {policy!r} {kind}: this format takes static:... and best-static; "
            "for a learned policy use --format bundle"
        )
    if scenario is None:
        raise ConfigError(f"policy {policy!r}: name the scenario it is for (--scenario)")
    loaded = load_policy(policy, scenario)
    if not isinstance(loaded, StaticPolicy):
        raise TypeError(f"{policy} should have made a StaticPolicy")
    provenance: dict[str, Any] = {"tierenv": __version__, "caveat": CAVEAT}
    if policy == "best-static":
        best = read_best_static()[scenario.name]
        provenance |= {
            "command": best.command,
            "git_revision": best.git_revision,
            "settings_tried": best.trials,
            "mean_s": best.mean_s,
            "seeds": list(best.seeds),
        }
    return ModelledSetting(policy, scenario, loaded.setting, provenance)
