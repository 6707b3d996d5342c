"""What a policy may want to know of the tiers that never changes, as the firmware tells it or an operator does.

The kernel shows the latencies [ns] and bandwidths [MB/s] of HMAT, or of a CXL device's CDAT, under
nodeN/access{0,1}/initiators: access1 as seen from the nearest CPU, access0 from the nearest initiator of any kind
(Documentation/admin-guide/mm/numaperf.rst). What the firmware does not tell is 0 there, or the folder is missing.
"""

from __future__ import annotations

from collections.abc import Sequence

from tierenv.live.files import read_text

NODES = "/sys/devices/system/node"
LATENCY_GAP, FAST_BANDWIDTH, SLOW_BANDWIDTH = "latency_gap_ns", "fast_bandwidth_mb_per_s", "slow_bandwidth_mb_per_s"
FACTS = (LATENCY_GAP, FAST_BANDWIDTH, SLOW_BANDWIDTH)
"""By the names of C's struct tierenv_sample, in the order of `tierenv.features.TIER_FACTS`."""
MAX_LATENCY_NS, MAX_MB_PER_S = 1_000_000, 100_000_000
"""More is no memory's, but a firmware's way to say that it does not know."""
MOST_FACT = MAX_MB_PER_S
"""Of a number that an operator gives."""


def told_facts(root: str, fast_nodes: Sequence[int], slow_nodes: Sequence[int]) -> dict[str, int]:
    """Those of `FACTS` that the firmware tells: of reads, of a tier with several nodes what its nodes have on average.

    Args:
        root: put before every path.
        fast_nodes: of the fast tier.
        slow_nodes: of the slow one.
    """
    facts = {}
    fast_ns, slow_ns = (_mean(root, nodes, "read_latency", MAX_LATENCY_NS) for nodes in (fast_nodes, slow_nodes))
    if fast_ns and slow_ns:
        facts[LATENCY_GAP] = max(1, slow_ns - fast_ns)
    for name, nodes in ((FAST_BANDWIDTH, fast_nodes), (SLOW_BANDWIDTH, slow_nodes)):
        bandwidth = _mean(root, nodes, "read_bandwidth", MAX_MB_PER_S)
        if bandwidth:
            facts[name] = bandwidth
    return facts


def untold(needed: Sequence[str], known: dict[str, int]) -> str | None:
    """Why a policy cannot observe this machine and what to do about it; None where all it needs is known."""
    missing = [name for name in needed if name not in known]
    if not missing:
        return None
    by_hand = " ".join(f"--machine {name}=NUMBER" for name in missing)
    return (
        f"the policy observes {', '.join(missing)}, which the firmware does not tell "
        f"({NODES}/node*/access*/initiators): measure and give it by hand, {by_hand}"
    )


def _mean(root: str, nodes: Sequence[int], name: str, most: int) -> int:
    """A number of the kernel's over some nodes, 0 where one of them has none."""
    values = [_attribute(root, node, name, most) for node in nodes]
    return round(sum(values) / len(values)) if values and all(values) else 0


def _attribute(root: str, node: int, name: str, most: int) -> int:
    for access in ("access1", "access0"):
        try:
            text = read_text(f"{root}{NODES}/node{node}/{access}/initiators/{name}").strip()
        except OSError:
            continue
        if text.isascii() and text.isdecimal() and len(text) <= 20 and 0 < int(text) <= most:
            return int(text)
    return 0
