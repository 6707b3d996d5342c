"""Target `damon`: a DAMON scheme that migrates hot memory of the slow node to the fast one.

DAMON looks at one page of each region every sampling interval and counts over an aggregation in how many looks the page
had been touched. The daemon asks every page once a pass, and its access rule wants it touched in one pass, or in two in
a row. So an aggregation is that many passes, of `LOOKS_IN_A_PASS` looks each: with one look a pass DAMON would know
neither how hot a region is nor where it ends. Hot is a region that was found touched in as many looks as the rule wants
passes. Regions are coarser than pages, so the scheme's young filter asks each page once more before it moves. Weights
follow the kernel's sample module mtier. (kmmscand.md section 11)
"""

import math

from tierenv.agents.export.targets import (
    TargetSetting,
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

LOOKS_IN_A_PASS = 10
"""So an aggregation of two passes has 20 samples, as DAMON's own defaults have."""
MIN_SAMPLE_US = 5_000
MAX_SAMPLE_US = 10_000_000
"""Between these the kernel chooses where it tunes the interval by itself (DAMON_STAT, DAMON_RECLAIM): a shorter one
costs more than it tells, in a longer one nearly all memory is touched."""


def apply_to(setting: Setting, scenario: Scenario) -> TargetSetting:
    """Period and size as the time of a pass, the throttle as a quota. Raises `ConfigError` for what DAMON cannot do."""
    refuse_zero_throttle(setting, "do not start the scheme (a quota of 0 bytes means no quota)")
    chunks = num_chunks(setting, scenario)
    pass_us = 1e3 * setting["scan_period"] * chunks
    sample_us = whole_number("scan_period", pass_us / LOOKS_IN_A_PASS, "us", "damon")
    if not MIN_SAMPLE_US <= sample_us <= MAX_SAMPLE_US:
        least_s, most_s = (LOOKS_IN_A_PASS * limit / 1e6 for limit in (MIN_SAMPLE_US, MAX_SAMPLE_US))
        raise ConfigError(
            f"scan_period_ms={setting['scan_period']:g}: a pass over {format_bytes(scenario.size)} takes "
            f"{pass_us / 1e6:g} s, and DAMON can tell hot memory in one of {least_s:g} to {most_s:g} s; choose another "
            "period or scan size"
        )
    daemon = scenario.daemon
    passes = 2 if isinstance(daemon, AccessedBitDaemon) and daemon.access_rule == "second-access" else 1
    looks = passes * LOOKS_IN_A_PASS
    aggregation_us = looks * sample_us
    throttle = throttle_of(setting)
    quota = 0
    if math.isfinite(throttle):
        quota = whole_number("throttle", throttle * aggregation_us / 1e6, "bytes", "damon")
    warnings: tuple[str, ...] = ()
    if quota > scenario.size:
        warnings = (
            f"throttle: the quota of an aggregation, {format_bytes(quota)}, is more than the "
            f"{format_bytes(scenario.size)} there are, so it holds nothing back: choose a shorter pass",
        )
    pass_text = f"one pass over {format_bytes(scenario.size)} is {LOOKS_IN_A_PASS} samples of {sample_us} us"
    quota_text = f"{quota} bytes an aggregation, {aggregation_us} us, from the first" if quota else "no quota"
    return TargetSetting(
        target="damon",
        files=(),
        applied={
            "scan_period": f"{setting['scan_period']:g}: {pass_text}; hot is what at least {passes} of {looks} looks "
            "find touched",
            "scan_size": f"{format_bytes(setting['scan_size'])}: in the time of a pass",
            "throttle": f"{format_bytes_per_s(throttle)}: {quota_text}",
        },
        remarks=(
            f"pages move in bursts, at the end of every aggregation of {aggregation_us} us",
            "DAMON watches 10 to 1000 regions of the slow node, not single pages; a filter asks each page once more",
            "scheme weights are those of the kernel's mtier sample, not of the setting",
        ),
        values={
            "SAMPLE_US": str(sample_us),
            "AGGREGATION_US": str(aggregation_us),
            "HOT_LOOKS": str(passes),
            "QUOTA_BYTES": str(quota),
        },
        warnings=warnings,
        if_missing="this kernel has no DAMON sysfs interface (CONFIG_DAMON_SYSFS)",
    )
