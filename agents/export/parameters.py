"""Format `parameters`: a static setting as JSON."""

import json
import math

from tierenv.agents.export import ExportRequest
from tierenv.agents.export.modelled import modelled_setting
from tierenv.files import atomic_write_text
from tierenv.tunables import TUNABLES

_UNITS = {"_ms": "ms", "_bytes_per_s": "bytes/s", "_bytes": "bytes"}
"""Unit by the ending of a tunable's name."""


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
                "name": row.name,
                "value": value if math.isfinite(value) else None,
                "unit": unit_of(row.name),
                "meaning": row.meaning,
                "kernel_path": {"kmmscand-v1": row.v1_path},
            }
            for row, value in zip(TUNABLES, modelled.setting, strict=True)
        ],
    }
    atomic_write_text(request.output, json.dumps(content, indent=2, allow_nan=False) + "\n")


def unit_of(name: str) -> str:
    """Unit of a tunable, which its name ends in."""
    return next(unit for ending, unit in _UNITS.items() if name.endswith(ending))
