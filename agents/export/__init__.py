"""Exporters: a policy in the form another program takes. One file per format, each with a line in `FORMATS`.

An exporter writes all of its output or none.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tierenv.errors import ConfigError, close_match
from tierenv.scenario import Scenario


@dataclass(frozen=True)
class ExportFormat:
    """One row of the table."""

    summary: str
    module: str
    """Module of this package whose `write(policy, scenario, output)` does it."""


FORMATS = {
    "parameters": ExportFormat("a static setting as JSON, with units and kernel paths", "parameters"),
    "sysfs": ExportFormat("a shell script that sets what a released kernel lets one set", "sysfs"),
    "bundle": ExportFormat("a learned policy as a folder without pickles, for the numpy runtime", "bundle"),
}


def export_policy(policy: str, format_name: str, output: Path, scenario: Scenario | None = None) -> None:
    """Write a policy in a format. Raises `ConfigError` if it cannot take that form.

    Args:
        policy: name or path, as `load_policy` takes it.
        format_name: a key of `FORMATS`.
        output: file or folder to write.
        scenario: that a policy given by name was modelled on; a run folder knows its own.
    """
    if format_name not in FORMATS:
        hint = close_match(format_name, FORMATS)
        raise ConfigError(f"unknown format {format_name!r}{hint}; run: tierenv list formats")
    module = import_module(f"tierenv.agents.export.{FORMATS[format_name].module}")
    module.write(policy, scenario, output)
