"""Target `kmmscand`: what the series' V1 lets an administrator set (kscand in V2 and V3)."""

from tierenv.agents.export.targets import (
    KernelFile,
    TargetSetting,
    demotion_remark,
    refuse_zero_throttle,
    whole_number,
)
from tierenv.daemon import DaemonVariant
from tierenv.errors import ConfigError
from tierenv.records import load_record
from tierenv.scenario import Scenario
from tierenv.tunables import TUNABLES, TunableSetting
from tierenv.units import format_bytes, format_bytes_per_s

VARIANT = "kmmscand-v1"
"""Whose range of scan periods holds."""


def apply_to(setting: TunableSetting, scenario: Scenario) -> TargetSetting:
    """The scan period alone. Raises `ConfigError` for one that no kernel of the series takes."""
    refuse_zero_throttle(setting, "echo 0 > /sys/kernel/mm/kmmscand/scan_enabled")
    period_row = TUNABLES[0]
    bounds = load_record("daemons", DaemonVariant, VARIANT).ranges.by_name[period_row.name]
    period_ms = whole_number(period_row.name, setting.scan_period_ms, "ms", "kmmscand")
    if not bounds.min <= period_ms <= bounds.max:
        raise ConfigError(
            f"{period_row.name}={period_ms}: the kernel clamps it to {bounds.min:g} to {bounds.max:g} ({VARIANT}); "
            "use --format parameters"
        )
    path = str(period_row.v1_path)
    return TargetSetting(
        target="kmmscand",
        files=(KernelFile(path, period_ms, (path.replace("kmmscand", "kscand"),), period_row.name),),
        applied={
            "scan_period_ms": f"{period_ms}: the first period of processes that start afterwards, which the kernel "
            "then adapts; running processes keep theirs",
            "scan_size_bytes": f"{format_bytes(setting.scan_size_bytes)}: NOT applied, not exposed",
            "throttle_bytes_per_s": f"{format_bytes_per_s(setting.throttle_bytes_per_s)}: NOT applied, does not exist",
        },
        remarks=(demotion_remark(scenario),),
        if_missing="this kernel has no kmmscand",
    )
