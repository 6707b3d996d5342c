"""NUMA balancing as the kernel lets it be set: its knobs, the rules that couple them, and settings in their terms.

Sources: kernel/sched/fair.c (task_scan_min, task_nr_scan_windows, numa_promotion_rate_limit), Linux 6.12.
"""

from __future__ import annotations

from dataclasses import dataclass

from tierenv.live.arithmetic import UNLIMITED
from tierenv.live.policy import Setting

MEMORY_TIERING = 2
"""/proc/sys/kernel/numa_balancing: 1 would be balancing between nodes."""
UNLIMITED_MIB_PER_S = 65536
"""The rate limit as booted, which no memory comes up to."""
MAX_SCAN_MIB_PER_S = 2560
"""MAX_SCAN_WINDOW: with windows of this many MiB a process is marked once a second at most."""
MIB = 1 << 20
PAGE_BYTES = 4096

_SYSCTL = "/proc/sys/kernel/numa_balancing"
_DEBUGFS = "/sys/kernel/debug/sched/numa_balancing"

MODE = _SYSCTL
RATE_LIMIT = f"{_SYSCTL}_promote_rate_limit_MBps"
SCAN_SIZE = f"{_DEBUGFS}/scan_size_mb"
PERIOD_MIN = f"{_DEBUGFS}/scan_period_min_ms"
PERIOD_MAX = f"{_DEBUGFS}/scan_period_max_ms"
SCAN_DELAY = f"{_DEBUGFS}/scan_delay_ms"
HOT_THRESHOLD = f"{_DEBUGFS}/hot_threshold_ms"

_MOST_UNSIGNED, _MOST_SIGNED = 2**32 - 1, 2**31 - 1
KNOBS = {
    MODE: (0, 3),
    RATE_LIMIT: (0, _MOST_SIGNED),
    SCAN_SIZE: (1, _MOST_UNSIGNED),
    PERIOD_MIN: (1, _MOST_UNSIGNED),
    PERIOD_MAX: (1, _MOST_UNSIGNED),
    SCAN_DELAY: (0, _MOST_UNSIGNED),
    HOT_THRESHOLD: (0, _MOST_UNSIGNED),
}
"""All files that are ever written beside our own, in the order of writing, with the least and the greatest value that
the kernel can live with: it divides by the scan size and takes any for debugfs."""

KnobValues = dict[str, int]
"""By path."""


def is_value_of(path: str, value: int | None) -> bool:
    """Whether a knob may hold a value."""
    if path not in KNOBS or value is None:
        return False
    least, most = KNOBS[path]
    return least <= value <= most


@dataclass(frozen=True)
class Projection:
    """A setting as the files take it."""

    knobs: KnobValues
    remarks: tuple[str, ...]
    """What of the setting the kernel does not take as it is, for the log."""


def scan_windows(resident_pages: int, window_pages: int) -> int:
    """Windows that the kernel counts in resident memory, as task_nr_scan_windows does.

    Its round_up() takes a bit mask, so sizes that are no power of two give other numbers than a division.
    """
    return (((max(resident_pages, 1) - 1) | (window_pages - 1)) + 1) // window_pages


def window_floor_ms(size_mib: int) -> int:
    """Least time between two windows of a size."""
    return 1000 // max(1, MAX_SCAN_MIB_PER_S // size_mib)


def project(setting: Setting, resident_pages: int) -> Projection:
    """A setting in the kernel's terms: the pass as long as its windows' floor makes it, whole MiB and ms.

    Args:
        setting: of the daemon numa-balancing; never an error, whatever it holds.
        resident_pages: of all that is steered.
    """
    size_mib = max(1, (setting["scan_size_bytes"] + MIB // 2) // MIB)
    windows = scan_windows(resident_pages, size_mib * MIB // PAGE_BYTES)
    floor_ms = window_floor_ms(size_mib)
    pass_ms = max(1, setting["scan_period_ms"], floor_ms * windows)
    throttle, rate_limit = setting["throttle_bytes_per_s"], UNLIMITED_MIB_PER_S
    if throttle < UNLIMITED_MIB_PER_S * MIB:
        rate_limit = max(int(throttle > 0), (throttle + MIB // 2) // MIB)
    remarks = []
    if pass_ms > setting["scan_period_ms"]:
        remarks.append(
            f"scan_period_ms {setting['scan_period_ms']} becomes {pass_ms}: {windows} windows of {size_mib} MiB take "
            f"{floor_ms} ms each at least"
        )
    knobs = {
        MODE: MEMORY_TIERING,
        RATE_LIMIT: rate_limit,
        SCAN_SIZE: size_mib,
        PERIOD_MIN: pass_ms,
        PERIOD_MAX: pass_ms,
        SCAN_DELAY: max(floor_ms, (pass_ms + windows // 2) // windows, 1),
        HOT_THRESHOLD: max(1, setting["hot_threshold_ms"]),
    }
    return Projection(knobs, tuple(remarks))


def setting_of(knobs: KnobValues) -> Setting:
    """The setting in force, as knobs that were read say it; the period is that of the longest pass."""
    rate_limit = knobs[RATE_LIMIT]
    return {
        "scan_period_ms": knobs[PERIOD_MAX],
        "scan_size_bytes": knobs[SCAN_SIZE] * MIB,
        "throttle_bytes_per_s": UNLIMITED if rate_limit >= UNLIMITED_MIB_PER_S else rate_limit * MIB,
        "hot_threshold_ms": knobs[HOT_THRESHOLD],
    }


def writing_order(now: KnobValues, wanted: KnobValues) -> tuple[str, ...]:
    """Knobs that change, so ordered that the shortest pass is never longer than the longest one."""
    changed = [path for path in KNOBS if wanted.get(path, now[path]) != now[path]]
    if PERIOD_MIN in changed and PERIOD_MAX in changed and wanted[PERIOD_MIN] > now[PERIOD_MAX]:
        changed.remove(PERIOD_MAX)
        changed.insert(changed.index(PERIOD_MIN), PERIOD_MAX)
    return tuple(changed)
