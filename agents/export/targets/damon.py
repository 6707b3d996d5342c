"""Target `damon`: a DAMON scheme that migrates hot memory of the slow node to the fast one.

DAMON looks at one page of each region every sampling interval and asks whether it was touched since. The daemon asks
that of every page once a pass, so a sampling interval is the time of a pass, and as many looks in a row make a page hot
as the daemon's access rule wants. Regions are coarser than pages, so the scheme's young filter asks each page once more
before it moves. Weights follow the kernel's sample module mtier. (kmmscand.md section 11)
"""

import math

from tierenv.agents.export.targets import (
    TargetSetting,
    demotion_remark,
    num_chunks,
    refuse_zero_throttle,
    throttle_of,
    whole_number,
)
from tierenv.daemon import AccessedBitDaemon
from tierenv.errors import ConfigError
from tierenv.scenario import Scenario
from tierenv.tunables import Setting
from tierenv.units import format_bytes, format_bytes_per_s

_LONGEST_SAMPLE_S = 600
_MAX_SAMPLE_US = 10**6 * _LONGEST_SAMPLE_S
"""DAMON only learns whether a page was touched within the sample: within a longer one nearly all memory is, and hot is
what was touched at any time. (The kernel's own limit is that of an unsigned int, 72 minutes.)"""
_RESET_MS = 1000
"""Time over which the quota counts, unless an aggregation, at whose end the scheme runs, takes longer."""


def apply_to(setting: Setting, scenario: Scenario) -> TargetSetting:
    """Period and size as the time of a pass, the throttle as a quota. Raises `ConfigError` for what DAMON cannot do."""
    refuse_zero_throttle(setting, "do not start the scheme (a quota of 0 bytes means no quota)")
    chunks = num_chunks(setting, scenario)
    sample_us = whole_number("scan_period", 1e3 * setting["scan_period"] * chunks, "us", "damon")
    if sample_us > _MAX_SAMPLE_US:
        raise ConfigError(
            f"scan_period_ms={setting['scan_period']:g}: a pass over {format_bytes(scenario.size)} takes "
            f"{sample_us / 1e6:.0f} s, a sample of more than {_LONGEST_SAMPLE_S} s tells DAMON nothing; "
            "choose a shorter period or a larger scan size"
        )
    daemon = scenario.daemon
    looks = 2 if isinstance(daemon, AccessedBitDaemon) and daemon.access_rule == "second-access" else 1
    aggregation_us = looks * sample_us
    reset_ms = max(_RESET_MS, math.ceil(aggregation_us / 1000))
    throttle = throttle_of(setting)
    quota = 0
    if math.isfinite(throttle):
        quota = whole_number("throttle", throttle * reset_ms / 1000, "bytes", "damon")
    warnings: tuple[str, ...] = ()
    if quota > scenario.size:
        warnings = (
            f"throttle: the quota of an aggregation, {format_bytes(quota)}, is more than the "
            f"{format_bytes(scenario.size)} there are, so it holds nothing back: choose a shorter pass",
        )
    pass_text = f"one pass over {format_bytes(scenario.size)}, {sample_us} us, is the sampling interval"
    quota_text = f"{quota} bytes every {reset_ms} ms" if quota else "no quota"
    return TargetSetting(
        target="damon",
        files=(),
        applied={
            "scan_period": f"{setting['scan_period']:g}: {pass_text}; hot is what {looks} looks in a row find",
            "scan_size": f"{format_bytes(setting['scan_size'])}: in the time of a pass",
            "throttle": f"{format_bytes_per_s(throttle)}: {quota_text}",
        },
        remarks=(
            f"pages move in bursts, at the end of every aggregation of {aggregation_us} us",
            "DAMON watches 10 to 1000 regions of the slow node, not single pages; a filter asks each page once more",
            "scheme weights are those of the kernel's mtier sample, not of the setting",
            demotion_remark(scenario),
        ),
        values={
            "SAMPLE_US": str(sample_us),
            "AGGREGATION_US": str(aggregation_us),
            "LOOKS": str(looks),
            "QUOTA_BYTES": str(quota),
            "RESET_MS": str(reset_ms),
        },
        warnings=warnings,
        if_missing="this kernel has no DAMON sysfs interface (CONFIG_DAMON_SYSFS)",
    )
