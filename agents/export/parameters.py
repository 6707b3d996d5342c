"""Format `parameters`: a static setting as JSON."""

import json
import math

from tierenv.agents.export import ExportRequest
from tierenv.agents.export.modelled import modelled_setting
from tierenv.files import atomic_write_text
from tierenv.tunables import TUNABLES


def write(request: ExportRequest) -> None:
    """Write the setting: each tunable's value (null: unlimited), unit and kernel path (null: not exposed)."""
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
                "kernel_path": {"kmmscand-v1": TUNABLES[name].v1_path},
            }
            for name, value in modelled.setting.values.items()
        ],
    }
    atomic_write_text(request.output, json.dumps(content, indent=2, allow_nan=False) + "\n")
