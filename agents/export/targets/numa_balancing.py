"""Target `numa-balancing`: the kernel's NUMA balancing in memory-tiering mode, for settings of the daemon of that name.

It unmaps a window of scan_size_mb every scan period and promotes slow-tier pages that are touched soon after. The
kernel divides scan_period_min_ms and scan_period_max_ms by the number of windows the resident memory has, so the files
take the time of a whole pass; equal, they leave its adaptation no room. Threads start with scan_delay_ms instead, which
is not divided. (kmmscand.md sections 7.1 to 7.3)
"""

import math

from tierenv.agents.export.targets import (
    KernelFile,
    TargetSetting,
    throttle_of,
    whole_number,
)
from tierenv.daemon import MEMORY_TIERING, scan_windows
from tierenv.errors import ConfigError
from tierenv.scenario import Scenario
from tierenv.tunables import UNLIMITED_BYTES_PER_S, Setting
from tierenv.units import GIB, MIB, PAGE_BYTES, format_bytes, format_bytes_per_s

UNLIMITED_MIB_PER_S = round(UNLIMITED_BYTES_PER_S / MIB)

_MAX_SCAN_MIB_PER_S = 2560
"""MAX_SCAN_WINDOW of kernel/sched/fair.c."""
_SYSCTL = "/proc/sys/kernel/numa_balancing"
_DEBUGFS = "/sys/kernel/debug/sched/numa_balancing"


def apply_to(setting: Setting, scenario: Scenario) -> TargetSetting:
    """All tunables, the pass as long as the kernel makes it at least. Raises `ConfigError` for what rounding spoils."""
    name = "numa-balancing"
    size_mib = whole_number("scan_size", setting["scan_size"] / MIB, "MiB", name)
    floor_ms = 1000 // max(1, _MAX_SCAN_MIB_PER_S // size_mib)
    windows = scan_windows(scenario.pages * PAGE_BYTES, size_mib * MIB)
    pass_ms = max(whole_number("scan_period", setting["scan_period"], "ms", name), floor_ms * windows)
    window_ms = max(1, round(pass_ms / windows))
    threshold_ms = whole_number("hot_threshold", setting["hot_threshold"], "ms", name)
    resident = format_bytes(scenario.pages * PAGE_BYTES)
    return TargetSetting(
        target=name,
        files=(
            KernelFile(_SYSCTL, MEMORY_TIERING),
            KernelFile(f"{_SYSCTL}_promote_rate_limit_MBps", _rate_limit(setting, scenario), tunable="throttle"),
            KernelFile(f"{_DEBUGFS}/scan_size_mb", size_mib, tunable="scan_size"),
            KernelFile(f"{_DEBUGFS}/scan_period_min_ms", pass_ms, tunable="scan_period"),
            KernelFile(f"{_DEBUGFS}/scan_period_max_ms", pass_ms, tunable="scan_period"),
            KernelFile(f"{_DEBUGFS}/scan_delay_ms", window_ms, tunable="scan_period", is_optional=True),
            KernelFile(f"{_DEBUGFS}/hot_threshold_ms", threshold_ms, tunable="hot_threshold"),
        ),
        applied={
            "scan_period": f"{setting['scan_period']:g}: {pass_ms} ms for a pass, at the least and at the most, which "
            f"the kernel divides by the {windows} windows of {resident}; {window_ms} ms as scan_delay_ms, with which "
            "threads start",
            "scan_size": f"{format_bytes(setting['scan_size'])}: {size_mib} MiB",
            "throttle": _throttle_text(setting, scenario),
            "hot_threshold": f"{setting['hot_threshold']:g}: {threshold_ms} ms, from which the kernel moves its own",
        },
        remarks=(
            "kernel.numa_balancing becomes 2, memory tiering, without balancing between sockets (3 is both)",
            "pages count as hot by hint-fault latency, not by Accessed bits",
            "memory that a process has bound to nodes (MPOL_BIND, numactl --membind) is never scanned, which this "
            "file cannot see",
        ),
        if_missing="this kernel has no NUMA balancing of memory tiers (CONFIG_NUMA_BALANCING, Linux 6.1 and newer)",
    )


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
