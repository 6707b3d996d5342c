"""A static setting and where it comes from, for the formats that export one."""

from dataclasses import dataclass
from typing import Any

from tierenv import __version__
from tierenv.agents.best_static import find_best_static
from tierenv.agents.export import ExportRequest, formats_for
from tierenv.agents.export.header import Origin
from tierenv.agents.heuristics import StaticPolicy
from tierenv.agents.policies import POLICIES, load_policy
from tierenv.errors import ConfigError
from tierenv.scenario import Scenario
from tierenv.tunables import Setting


@dataclass(frozen=True)
class ModelledSetting:
    """One setting and its origin."""

    scenario: Scenario
    setting: Setting
    origin: Origin
    provenance: dict[str, Any]
    """What is known of the search, for machines."""


def modelled_setting(request: ExportRequest) -> ModelledSetting:
    """The setting a static policy holds. Raises `ConfigError` for any other policy."""
    policy, scenario = request.policy, request.scenario
    if policy.partition(":")[0] not in ("static", "best-static"):
        kind = "does not hold one setting" if policy in POLICIES else "is not a static policy"
        raise ConfigError(
            f"policy {policy!r} {kind}: this format takes static:... and best-static; formats for a learned policy: "
            f"{formats_for('learned')}"
        )
    if scenario is None:
        raise ConfigError(f"policy {policy!r}: name the scenario it is for (--scenario)")
    if policy.startswith("best-static:"):
        raise ConfigError(f"policy {policy!r}: of another daemon write best-static and --daemon {policy[12:]}")
    loaded = load_policy(policy, scenario)
    if not isinstance(loaded, StaticPolicy):
        raise TypeError(f"{policy} should have made a StaticPolicy")
    provenance: dict[str, Any] = {"tierenv": __version__}
    training_run = "none: a static setting chosen by hand"
    if policy == "best-static":
        best = find_best_static(scenario)
        provenance |= {
            "command": best.command,
            "git_revision": best.git_revision,
            "settings_tried": best.trials,
            "mean_s": best.mean_s,
            "seeds": list(best.seeds),
        }
        training_run = (
            f"none: the best of {best.trials} static settings ({best.mean_s:.1f} s on {len(best.seeds)} tuning "
            f"episodes), {best.command}, revision {best.git_revision or 'unknown'}"
        )
    setting = loaded.setting
    origin = Origin(
        policy=policy if policy == setting.policy_name else f"{policy} ({setting.policy_name})",
        training_run=training_run,
        trained_for=str(scenario),
        daemon=scenario.daemon.name,
        gains=request.gains,
    )
    return ModelledSetting(scenario, setting, origin, provenance)
