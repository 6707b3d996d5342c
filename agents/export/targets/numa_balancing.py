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
from tierenv.errors import ConfigError
from tierenv.live.arithmetic import UNLIMITED
from tierenv.live.kernel import (
    HOT_THRESHOLD,
    PERIOD_MAX,
    PERIOD_MIN,
    RATE_LIMIT,
    SCAN_DELAY,
    SCAN_SIZE,
    UNLIMITED_MIB_PER_S,
    project,
    scan_windows,
)
from tierenv.scenario import Scenario
from tierenv.tunables import Setting
from tierenv.units import GIB, MIB, PAGE_BYTES, format_bytes, format_bytes_per_s

_CARRIED = {
    RATE_LIMIT: "throttle",
    SCAN_SIZE: "scan_size",
    PERIOD_MIN: "scan_period",
    PERIOD_MAX: "scan_period",
    SCAN_DELAY: "scan_period",
    HOT_THRESHOLD: "hot_threshold",
}
"""The tunable that a knob carries; the mode carries none."""


def apply_to(setting: Setting, scenario: Scenario) -> TargetSetting:
    """All tunables, the pass as long as the kernel makes it at least. Raises `ConfigError` for what rounding spoils."""
    name = "numa-balancing"
    size_mib = whole_number("scan_size", setting["scan_size"] / MIB, "MiB", name)
    values = {
        "scan_period_ms": whole_number("scan_period", setting["scan_period"], "ms", name),
        "scan_size_bytes": size_mib * MIB,
        "throttle_bytes_per_s": _throttle(setting, scenario),
        "hot_threshold_ms": whole_number("hot_threshold", setting["hot_threshold"], "ms", name),
    }
    knobs = project(values, scenario.pages).knobs
    windows = scan_windows(scenario.pages, size_mib * MIB // PAGE_BYTES)
    resident = format_bytes(scenario.pages * PAGE_BYTES)
    return TargetSetting(
        target=name,
        files=tuple(
            KernelFile(path, value, tunable=_CARRIED.get(path, ""), is_optional=path == SCAN_DELAY)
            for path, value in knobs.items()
        ),
        applied={
            "scan_period": f"{setting['scan_period']:g}: {knobs[PERIOD_MAX]} ms for a pass, at the least and at the "
            f"most, which the kernel divides by the {windows} windows of {resident}; {knobs[SCAN_DELAY]} ms as "
            "scan_delay_ms, with which threads start",
            "scan_size": f"{format_bytes(setting['scan_size'])}: {size_mib} MiB",
            "throttle": _throttle_text(setting, scenario),
            "hot_threshold": f"{setting['hot_threshold']:g}: {knobs[HOT_THRESHOLD]} ms, from which the kernel moves "
            "its own",
        },
        remarks=(
            "kernel.numa_balancing becomes 2, memory tiering, without balancing between sockets (3 is both)",
            "pages count as hot by hint-fault latency, not by Accessed bits",
            "memory that a process has bound to nodes (MPOL_BIND, numactl --membind) is never scanned, which this "
            "file cannot see",
        ),
        if_missing="this kernel has no NUMA balancing of memory tiers (CONFIG_NUMA_BALANCING, Linux 6.1 and newer)",
    )


def _throttle(setting: Setting, scenario: Scenario) -> int:
    """In bytes/s, a whole number of MiB/s."""
    if throttle_of(setting) == 0:
        return 0
    if math.isfinite(throttle_of(setting)):
        return MIB * whole_number("throttle", throttle_of(setting) / MIB, "MiB/s", "numa-balancing")
    if scenario.platform.cxl.bandwidth > UNLIMITED_MIB_PER_S * MIB:
        raise ConfigError(
            f"throttle_bytes_per_s=inf: the largest limit in use, {UNLIMITED_MIB_PER_S} MiB/s, is below the "
            f"slow tier's bandwidth of {scenario.platform.cxl.bandwidth / GIB:g} GiB/s"
        )
    return UNLIMITED


def _throttle_text(setting: Setting, scenario: Scenario) -> str:
    spared = "the kernel spares nodes with plenty of free memory"
    if throttle_of(setting) == 0:
        return f"0: promotes nothing, but {spared}"
    if math.isfinite(throttle_of(setting)):
        return f"{format_bytes_per_s(throttle_of(setting))}: applied; {spared}"
    bandwidth = format_bytes_per_s(scenario.platform.cxl.bandwidth)
    return f"unlimited: {UNLIMITED_MIB_PER_S} MiB/s, more than the slow tier's {bandwidth}"
