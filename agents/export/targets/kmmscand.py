"""Target `kmmscand`: what the series' V1 lets an administrator set (kscand in V2 and V3)."""

from tierenv.agents.export.targets import (
    KernelFile,
    TargetSetting,
    refuse_zero_throttle,
    throttle_of,
    whole_number,
)
from tierenv.daemon import AccessedBitDaemon, load_daemon
from tierenv.errors import ConfigError
from tierenv.scenario import Scenario
from tierenv.tunables import TUNABLES, Setting
from tierenv.units import format_bytes, format_bytes_per_s

VARIANT = "kmmscand-v1"
"""Whose range of scan periods holds for a setting of another daemon than those of the series."""


def apply_to(setting: Setting, scenario: Scenario) -> TargetSetting:
    """The scan period alone. Raises `ConfigError` for one that no kernel of the series takes."""
    refuse_zero_throttle(setting, "echo 0 > /sys/kernel/mm/kmmscand/scan_enabled")
    row = TUNABLES["scan_period"]
    modelled = scenario.daemon
    is_of_series = isinstance(modelled, AccessedBitDaemon) and not modelled.tunable_at_run_time
    daemon = modelled if is_of_series else load_daemon(VARIANT)
    bounds = daemon.tunables[row.name]
    period_ms = whole_number(row.symbol, setting["scan_period"], "ms", "kmmscand")
    if not bounds.min <= period_ms <= bounds.max:
        raise ConfigError(
            f"{row.symbol}={period_ms}: the kernel clamps it to {bounds.min:g} to {bounds.max:g} ({daemon.name}); "
            "use --format parameters"
        )
    path = str(row.v1_path)
    return TargetSetting(
        target="kmmscand",
        files=(KernelFile(path, period_ms, (path.replace("kmmscand", "kscand"),), row.name),),
        applied={
            "scan_period": f"{period_ms}: the first period of processes that start afterwards, which the kernel "
            "then adapts; running processes keep theirs",
            "scan_size": f"{format_bytes(setting['scan_size'])}: NOT applied, not exposed",
            "throttle": f"{format_bytes_per_s(throttle_of(setting))}: NOT applied, does not exist",
        },
        remarks=(),
        if_missing="this kernel has no kmmscand",
    )
