"""Target `numa-balancing`: the kernel's NUMA balancing in memory-tiering mode.

It unmaps a window of scan_size_mb every scan period and promotes slow-tier pages that are touched soon after. The
kernel divides scan_period_min_ms and scan_period_max_ms by the number of windows the resident memory has, so the files
take the time of a whole pass; equal, they leave its adaptation no room. Threads start with scan_delay_ms instead, which
is not divided. (kmmscand.md sections 7.1 to 7.3)
"""

import math

from tierenv.agents.export.targets import (
    KernelFile,
    TargetSetting,
    demotion_remark,
    long_pass_warnings,
    throttle_of,
    whole_number,
)
from tierenv.daemon import scan_windows
from tierenv.errors import ConfigError
from tierenv.scenario import Scenario
from tierenv.tunables import Setting
from tierenv.units import GIB, MIB, format_bytes, format_bytes_per_s

MEMORY_TIERING = 2
"""Value of kernel.numa_balancing; 1, balancing between sockets, would be another bit."""

UNLIMITED_MIB_PER_S = 65536
"""The kernel's default promotion rate limit."""

_MAX_SCAN_MIB_PER_S = 2560
"""MAX_SCAN_WINDOW of kernel/sched/fair.c."""
_UINT_MAX = 2**32 - 1
_SYSCTL = "/proc/sys/kernel/numa_balancing"
_DEBUGFS = "/sys/kernel/debug/sched/numa_balancing"


def apply_to(setting: Setting, scenario: Scenario) -> TargetSetting:
    """Period, size and throttle, if the kernel's limits let them be. Raises `ConfigError` otherwise."""
    name = "numa-balancing"
    size_mib = whole_number("scan_size", setting["scan_size"] / MIB, "MiB", name)
    floor_ms = 1000 // max(1, _MAX_SCAN_MIB_PER_S // size_mib)
    windows = scan_windows(scenario.size, size_mib * MIB)
    if scenario.daemon.mechanism == "hint-faults":
        pass_ms = whole_number("scan_period", max(setting["scan_period"], floor_ms * windows), "ms", name)
        window_ms = max(1, round(pass_ms / windows))
    else:
        if setting["scan_period"] < floor_ms:
            raise ConfigError(
                f"scan_period_ms={setting['scan_period']:g}: NUMA balancing scans {size_mib} MiB no more often than "
                f"every {floor_ms} ms; choose a smaller scan size or a longer period"
            )
        window_ms = whole_number("scan_period", setting["scan_period"], "ms", name)
        pass_ms = whole_number("scan_period", setting["scan_period"] * windows, "ms", name)
    if pass_ms > _UINT_MAX:
        raise ConfigError(f"scan_period_ms={setting['scan_period']:g}: {windows} of them are more than {_UINT_MAX} ms")
    resident = format_bytes(scenario.size)
    return TargetSetting(
        target=name,
        files=(
            KernelFile(_SYSCTL, MEMORY_TIERING),
            KernelFile(f"{_SYSCTL}_promote_rate_limit_MBps", _rate_limit(setting, scenario), tunable="throttle"),
            KernelFile(f"{_DEBUGFS}/scan_size_mb", size_mib, tunable="scan_size"),
            KernelFile(f"{_DEBUGFS}/scan_period_min_ms", pass_ms, tunable="scan_period"),
            KernelFile(f"{_DEBUGFS}/scan_period_max_ms", pass_ms, tunable="scan_period"),
            KernelFile(f"{_DEBUGFS}/scan_delay_ms", window_ms, tunable="scan_period", is_optional=True),
            *_hot_threshold(setting),
        ),
        applied={
            "scan_period": f"{setting['scan_period']:g}: {pass_ms} ms for the {windows} windows of {resident}, by "
            "which the kernel divides; a larger process is scanned as often as a whole, hence faster; "
            f"{window_ms} ms as scan_delay_ms, with which threads start",
            "scan_size": f"{format_bytes(setting['scan_size'])}: {size_mib} MiB",
            "throttle": _throttle_text(setting, scenario),
            "hot_threshold": "hot_threshold_ms, from which the kernel's own moves",
        },
        remarks=(
            "kernel.numa_balancing becomes 2, memory tiering, without balancing between sockets (3 is both)",
            "pages count as hot by hint-fault latency, not by Accessed bits",
            "memory that a process has bound to nodes (MPOL_BIND, numactl --membind) is never scanned, which this "
            "file cannot see",
            demotion_remark(scenario),
        ),
        values={"PASS_S": str(math.ceil(pass_ms / 1000))},
        warnings=long_pass_warnings(pass_ms / 1000, scenario),
        if_missing="this kernel has no NUMA balancing of memory tiers (CONFIG_NUMA_BALANCING, Linux 6.1 and newer)",
    )


def _hot_threshold(setting: Setting) -> tuple[KernelFile, ...]:
    """The reference of the hot threshold, where the daemon has one."""
    if "hot_threshold" not in setting.values:
        return ()
    value_ms = whole_number("hot_threshold", setting["hot_threshold"], "ms", "numa-balancing")
    return (KernelFile(f"{_DEBUGFS}/hot_threshold_ms", value_ms, tunable="hot_threshold"),)


def _rate_limit(setting: Setting, scenario: Scenario) -> int:
    if throttle_of(setting) == 0:
        return 0
    if math.isfinite(throttle_of(setting)):
        return whole_number("throttle", throttle_of(setting) / MIB, "MiB/s", "numa-balancing")
    if scenario.platform.cxl.bandwidth > UNLIMITED_MIB_PER_S * MIB:
        raise ConfigError(
            f"throttle_bytes_per_s=inf: the largest limit in use, {UNLIMITED_MIB_PER_S} MiB/s, is below the "
            f"slow tier's bandwidth of {scenario.platform.cxl.bandwidth / GIB:g} GiB/s"
        )
    return UNLIMITED_MIB_PER_S


def _throttle_text(setting: Setting, scenario: Scenario) -> str:
    spared = "the kernel spares nodes with plenty of free memory"
    if throttle_of(setting) == 0:
        return f"0: promotes nothing, but {spared}"
    if math.isfinite(throttle_of(setting)):
        return f"{format_bytes_per_s(throttle_of(setting))}: applied; {spared}"
    bandwidth = format_bytes_per_s(scenario.platform.cxl.bandwidth)
    return f"unlimited: {UNLIMITED_MIB_PER_S} MiB/s, more than the slow tier's {bandwidth}"
