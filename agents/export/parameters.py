"""Format `parameters`: a static setting as JSON."""

import json
import math

from tierenv.agents.export import ExportRequest
from tierenv.agents.export.modelled import ModelledSetting, modelled_setting
from tierenv.agents.export.targets import DEMOTION, TARGETS, KernelFile, target_setting
from tierenv.daemon import AccessedBitDaemon
from tierenv.files import atomic_write_text
from tierenv.tunables import TUNABLES


def write(request: ExportRequest) -> None:
    """Write the setting: each tunable's value (null: unlimited) and unit, and the files of a kernel that take it.

    Raises `ConfigError` for a setting that the kernel's own mechanism, where it was modelled on that, cannot express.
    """
    modelled = modelled_setting(request)
    content = {
        "schema": 1,
        "policy": request.policy,
        "origin": modelled.origin.rows(),
        "scenario": modelled.scenario.name,
        "platform": modelled.scenario.platform.name,
        "daemon": modelled.scenario.daemon.name,
        "provenance": modelled.provenance,
        "tunables": [
            {
                "name": TUNABLES[name].symbol,
                "value": value if math.isfinite(value) else None,
                "unit": TUNABLES[name].quantity.unit,
                "meaning": TUNABLES[name].meaning,
                "kernel_path": _paths_of_series(modelled, name),
            }
            for name, value in modelled.setting.values.items()
        ],
        "kernel_files": [
            {
                "path": file.path,
                "value": file.value,
                "tunable": TUNABLES[file.tunable].symbol if file.tunable else None,
                "is_optional": file.is_optional,
            }
            for file in [DEMOTION] * request.with_demotion + _kernel_files(modelled)
        ],
    }
    atomic_write_text(request.output, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _paths_of_series(modelled: ModelledSetting, name: str) -> dict[str, str | None]:
    """Where kernels with a patch series have the tunable (null: not exposed)."""
    return {"kmmscand-v1": TUNABLES[name].v1_path} if isinstance(modelled.scenario.daemon, AccessedBitDaemon) else {}


def _kernel_files(modelled: ModelledSetting) -> list[KernelFile]:
    """What a released kernel takes whose mechanism is the one that the setting was modelled on, if there is one."""
    mechanism = modelled.scenario.daemon.mechanism
    own = [name for name, row in TARGETS.items() if row.is_modelled and row.mechanism == mechanism]
    return [file for name in own for file in target_setting(name, modelled.setting, modelled.scenario).files]
