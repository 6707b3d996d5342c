"""Exporters: a policy in the form another program takes. One file per format, each with a line in `FORMATS`.

An exporter writes all of its output or none. Importing this package loads nothing heavy: `tierenv export --help` lists
the formats.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tierenv.errors import ConfigError, close_match

if TYPE_CHECKING:
    from tierenv.agents.export.header import Gain
    from tierenv.scenario import Scenario


Takes = Literal["static", "learned"]
"""A setting held throughout, or a network or tree."""


@dataclass(frozen=True)
class ExportFormat:
    """One row of the table."""

    takes: tuple[Takes, ...]
    """Which policies."""
    summary: str
    module: str
    """Module of this package whose `write(request)` does it."""
    targets: tuple[str, ...] = ()
    """For static settings that a kernel takes: keys of `targets.TARGETS`, the first is the default."""
    can_demote: bool = False
    """Whether it can switch demotion on as well."""


FORMATS = {
    "parameters": ExportFormat(
        ("static",), "the setting as JSON, with units and what kernels take of it", "parameters", can_demote=True
    ),
    "sysfs": ExportFormat(
        ("static",),
        "a shell script that applies the setting to a released kernel, and takes it back",
        "sysfs",
        targets=("kmmscand", "numa-balancing", "damon"),
        can_demote=True,
    ),
    "tuned": ExportFormat(
        ("static",),
        "the setting as a TuneD profile",
        "tuned",
        targets=("kmmscand", "numa-balancing"),
        can_demote=True,
    ),
    "sysctl.d": ExportFormat(
        ("static",), "what of the setting sysctl reaches", "sysctl_d", targets=("numa-balancing",)
    ),
    "tmpfiles.d": ExportFormat(
        ("static",),
        "the setting for systemd-tmpfiles to write at boot",
        "tmpfiles_d",
        targets=("kmmscand", "numa-balancing"),
        can_demote=True,
    ),
    "bundle": ExportFormat(("learned",), "a folder without pickles, for the numpy runtime", "bundle"),
    "onnx": ExportFormat(("learned",), "for ONNX Runtime and other programs that read ONNX", "onnx"),
    "rules": ExportFormat(("learned",), "a decision tree as rules for people, beside the kernel's own rule", "rules"),
    "kernel-c": ExportFormat(("learned",), "C for the daemon, in integers only", "kernel_c"),
    "daemon": ExportFormat(
        ("static", "learned"), "the daemon itself, as the source of a module for Linux 6.12", "daemon"
    ),
    "controller": ExportFormat(
        ("static", "learned"), "one file that steers NUMA balancing of a running kernel, under a guard", "controller"
    ),
}


def formats_for(takes: Takes) -> str:
    """The formats of static or of learned policies, for messages."""
    return ", ".join(name for name, row in FORMATS.items() if takes in row.takes)


@dataclass(frozen=True)
class ExportRequest:
    """What is to be written where."""

    policy: str
    """Name or path, as `load_policy` takes it."""
    output: Path
    """File or folder."""
    scenario: "Scenario | None" = None
    """That a policy given by name is for; what is learned knows its own."""
    target: str = ""
    """Kernel mechanism a static setting is for; empty where the format has no choice of them."""
    gains: "tuple[Gain, ...]" = ()
    """What an evaluation on the model found the policy to save."""
    with_demotion: bool = False
    """Whether demotion is switched on as well."""


def export_policy(
    policy: str,
    format_name: str,
    output: Path,
    scenario: "Scenario | None" = None,
    *,
    target: str | None = None,
    gains: "tuple[Gain, ...]" = (),
    with_demotion: bool = False,
) -> None:
    """Write a policy in a format. Raises `ConfigError` if it cannot take that form.

    Args:
        policy: name or path, as `load_policy` takes it.
        format_name: a key of `FORMATS`.
        output: file or folder to write.
        scenario: that a policy given by name was modelled on; a run folder knows its own.
        target: kernel mechanism to write for, where the format has a choice; by default its first.
        gains: what an evaluation on the model found the policy to save, for the header.
        with_demotion: whether to switch demotion on as well, for formats that can.
    """
    if format_name not in FORMATS:
        hint = close_match(format_name, FORMATS)
        raise ConfigError(f"unknown format {format_name!r}{hint}; run: tierenv list formats")
    row = FORMATS[format_name]
    if target is not None and target not in row.targets:
        allowed = f"allowed: {', '.join(row.targets)}" if row.targets else "this format has no target"
        raise ConfigError(f"--target={target}: format {format_name}: {allowed}{close_match(target, row.targets)}")
    if with_demotion and not row.can_demote:
        able = ", ".join(name for name, each in FORMATS.items() if each.can_demote)
        raise ConfigError(f"--with-demotion: format {format_name} does not reach demotion_enabled in /sys; {able} do")
    target = target or next(iter(row.targets), "")
    module = import_module(f"tierenv.agents.export.{row.module}")
    module.write(ExportRequest(policy, output, scenario, target, gains, with_demotion))
