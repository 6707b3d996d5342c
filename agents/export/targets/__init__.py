"""How a static setting, modelled on our daemon, maps to the mechanisms of released kernels.

One row of `TARGETS` and one file per mechanism. None of them is the daemon that was modelled, so a target says what it
makes of each tunable and refuses a setting that it would silently turn into another one.
"""

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module

from tierenv.agents.export.header import comment_lines
from tierenv.errors import ConfigError
from tierenv.scenario import Scenario
from tierenv.tunables import TUNABLES, Setting

ROUNDING = 0.01
"""Relative error up to which a value may be rounded to the unit of its file."""


@dataclass(frozen=True)
class Target:
    """One row of the table."""

    summary: str
    module: str
    """Module of this package whose `apply_to(setting, scenario)` makes a `TargetSetting`."""
    needs: tuple[str, ...]
    """Tunables without which it has nothing to write."""
    mechanism: str
    """Of the daemons whose settings it takes."""
    is_modelled: bool
    """Whether such a daemon is what it sets, so that what was modelled on one is modelled of it."""
    tunables: Mapping[str, str]
    """What becomes of each tunable that it knows, by name; "resident" is the resident memory that the setting was
    modelled for. Any other is not applied."""


TARGETS = {
    "kmmscand": Target(
        summary="the promotion daemon of the kmmscand and kscand patch series, as posted",
        module="kmmscand",
        needs=("scan_period",),
        mechanism="accessed-bits",
        is_modelled=False,
        tunables={
            "scan_period": "mm_scan_period_ms, 500 to 5000: the first period of processes that start afterwards",
            "scan_size": "not applied: not exposed",
            "throttle": "not applied: does not exist; 0 is refused",
        },
    ),
    "numa-balancing": Target(
        summary="NUMA balancing in memory-tiering mode, Linux 6.1 and newer",
        module="numa_balancing",
        needs=("scan_period", "scan_size", "throttle", "hot_threshold"),
        mechanism="hint-faults",
        is_modelled=True,
        tunables={
            "scan_period": "scan_period_min_ms = scan_period_max_ms, the time of a pass, at least the kernel's floor "
            "of 1000 ms / floor(2560 MiB / scan size) for each of its windows; scan_delay_ms, the time of a window",
            "scan_size": "scan_size_mb",
            "throttle": "numa_balancing_promote_rate_limit_MBps in MiB/s, 65536 for unlimited",
            "hot_threshold": "hot_threshold_ms, from which the kernel's own moves",
        },
    ),
    "damon": Target(
        summary="a DAMON scheme that migrates hot memory of the slow node, Linux 6.11 and newer",
        module="damon",
        needs=("scan_period", "scan_size"),
        mechanism="accessed-bits",
        is_modelled=False,
        tunables={
            "scan_period": "sample_us = period x ceil(resident / scan size) / 10, a tenth of a pass, 5 ms to 10 s; "
            "aggr_us = 2 passes",
            "scan_size": "with the period: sets the time of a pass",
            "throttle": "quotas/bytes per aggregation, 0 bytes for unlimited; 0 is refused",
        },
    ),
}


@dataclass(frozen=True)
class KernelFile:
    """A file of /proc or /sys and what to write."""

    path: str
    value: int | str
    """As it is read back."""
    also_at: tuple[str, ...] = ()
    """Where other kernels have it."""
    tunable: str = ""
    """The tunable it carries, empty where it only switches the mechanism on."""
    is_optional: bool = False
    """Whether the setting makes sense on a kernel that lacks the file."""


DEMOTION = KernelFile("/sys/kernel/mm/numa/demotion_enabled", "true")
"""What every target can have besides: without it promotion stops once the fast node is full."""


@dataclass(frozen=True)
class TargetSetting:
    """A static setting in the terms of a target."""

    target: str
    files: tuple[KernelFile, ...]
    """To write, in this order; empty where numbers in files that always exist are not all there is to it."""
    applied: dict[str, str]
    """What becomes of each tunable, one line each; every value is said, applied or not."""
    remarks: tuple[str, ...]
    """What else an administrator has to know, one line each."""
    if_missing: str
    """What it means that a file is missing."""
    values: dict[str, str] = field(default_factory=dict)
    """For the part of a script that is the target's own."""
    warnings: tuple[str, ...] = ()
    """Remarks that make the setting doubtful."""

    def comment(self, prefix: str = "#") -> str:
        """What is said of the setting, as comment lines."""
        tunables = [(TUNABLES[name].symbol, text) for name, text in self.applied.items()]
        return comment_lines([*tunables, *(("note", text) for text in (*self.warnings, *self.remarks))], prefix)


def target_setting(target: str, setting: Setting, scenario: Scenario) -> TargetSetting:
    """Translate. Raises `ConfigError` for what the target cannot express."""
    if scenario.daemon.mechanism != TARGETS[target].mechanism:
        raise ConfigError(f"target {target}: {_what_it_takes(target, scenario)}")
    if missing := [name for name in TARGETS[target].needs if name not in setting.values]:
        raise ConfigError(f"target {target}: needs {', '.join(missing)}, which daemon {scenario.daemon.name} has not")
    module = import_module(f"tierenv.agents.export.targets.{TARGETS[target].module}")
    translated: TargetSetting = module.apply_to(setting, scenario)
    applied = {name: text for name, text in translated.applied.items() if name in setting.values}
    unknown = {
        name: f"{TUNABLES[name].quantity.text(value)}: NOT applied, has no counterpart"
        for name, value in setting.values.items()
        if name not in TARGETS[target].tunables
    }
    return replace(translated, applied=applied | unknown)


def _what_it_takes(target: str, scenario: Scenario) -> str:
    """Why a setting is not one of the target's, and how to come by one that is."""
    reason = f"takes no setting of daemon {scenario.daemon.name}, which promotes by other rules"
    if TARGETS[target].mechanism == "hint-faults":
        under = f"{shlex.quote(scenario.name)} --daemon numa-balancing"
        return f"{reason}; run: tierenv tune {under} --save, then export best-static --scenario {under}"
    return f"{reason}; use one of kmmscand-tunable, or target numa-balancing"


def whole_number(name: str, value: float, unit: str, target: str) -> int:
    """The value as a file takes it. Raises `ConfigError` if rounding would make it another one."""
    rounded = round(value)
    if rounded < 1 or abs(rounded - value) > ROUNDING * value:
        raise ConfigError(f"{name}={value:g} {unit}: {target} takes whole numbers of {unit}, {rounded} is too far off")
    return rounded


def refuse_zero_throttle(setting: Setting, switch_off: str) -> None:
    """A throttle of 0, "promote nothing", has no counterpart but switching the mechanism off. Raises `ConfigError`."""
    if throttle_of(setting) == 0:
        raise ConfigError(
            f"throttle_bytes_per_s=0: promotes nothing, which this target cannot express; "
            f"switch promotion off instead: {switch_off}"
        )


def throttle_of(setting: Setting) -> float:
    """The throttle [bytes/s]; a daemon without one does not hold promotions back."""
    return setting.values.get("throttle", math.inf)


def num_chunks(setting: Setting, scenario: Scenario) -> int:
    """Chunks of one pass over the resident memory."""
    return max(1, -(-scenario.size // round(setting["scan_size"])))
