"""What the kernel tells in /sys and /proc: nodes, distances, memory tiers, and the firmware's latencies and bandwidths.

The machine's own, or a copy of these, as `cp` and `tar` make it (tar fills up files of the kernel's with zeros):

    sys/devices/system/node/nodeN/{meminfo,cpulist,distance}, nodeN/access{0,1}/initiators, has_cpu
    sys/devices/virtual/memory_tiering/memory_tierN/nodelist
    proc/cpuinfo

Under access0 stand the latencies [ns] and bandwidths [MB/s] of the HMAT, or of a CXL device's CDAT, from the nearest
initiator of any kind, under access1 from the nearest CPU (Documentation/admin-guide/mm/numaperf.rst,
Documentation/ABI/stable/sysfs-devices-node). What the firmware does not tell is 0 there.
"""

import os
from pathlib import Path

from tierenv.errors import ConfigError
from tierenv.live.facts import MAX_LATENCY_NS, MAX_MB_PER_S, NODES
from tierenv.live.files import Refused, read_text
from tierenv.live.machine import TIERS, nodes_by_tier, tiers_of, total_pages
from tierenv.train.machine.observed import (
    MAX_NODE,
    Bandwidth,
    Latency,
    Observation,
    Said,
)
from tierenv.units import MAX_BYTES, PAGE_BYTES

CPUINFO = "/proc/cpuinfo"
MAX_NAME_LENGTH = 80
"""Characters of a processor's name."""


def read_sysfs(folder: Path) -> Observation:
    """What the tree below a folder tells. Raises `ConfigError`: without nodes, or where files are not the kernel's."""
    root = "" if os.path.realpath(folder) == "/" else os.path.realpath(folder)
    seen = Observation(str(folder), lists_all_nodes=True)
    try:
        names = os.listdir(root + NODES)
    except OSError as error:
        raise ConfigError(
            f"{root}{NODES}: {error.strerror}: --sysfs takes a folder that holds the machine's sys/devices/system/node"
        ) from None
    numbers = sorted(int(name[4:]) for name in names if name.startswith("node") and name[4:].isdecimal())
    if not numbers or numbers[-1] > MAX_NODE:
        raise ConfigError(f"{root}{NODES}: has no node0 to node{MAX_NODE}, or one beyond")
    for number in numbers:
        _read_node(seen, root, number, numbers)
    _read_tiers(seen, root)
    seen.processor = _processor(root)
    return seen


def _read_node(seen: Observation, root: str, number: int, numbers: list[int]) -> None:
    folder = f"{root}{NODES}/node{number}"
    try:
        memory_bytes = total_pages(root, number) * PAGE_BYTES
    except Refused as error:
        raise ConfigError(f"{folder}/meminfo: {str(error).partition(' ')[2]}") from None
    except OSError as error:
        raise ConfigError(f"{folder}/meminfo: {error.strerror}") from None
    if memory_bytes > MAX_BYTES:
        raise ConfigError(f"{folder}/meminfo: a node of more than {MAX_BYTES >> 40} TiB")
    has_cpus = bool(_text(f"{folder}/cpulist").strip())
    seen.see(number, has_cpus, memory_bytes, source="meminfo")
    if distances := _text(f"{folder}/distance", is_needed=False).split():
        if len(distances) != len(numbers) or not all(word.isdecimal() and len(word) <= 4 for word in distances):
            raise ConfigError(f"{folder}/distance: must hold {len(numbers)} numbers, as there are folders of nodes")
        seen.distances |= {(number, other): int(word) for other, word in zip(numbers, distances, strict=True)}
    _read_access(seen, folder, number)


def _read_access(seen: Observation, folder: str, number: int) -> None:
    """The firmware's word: that of the nearest CPU where the kernel tells it."""
    access = next((name for name in ("access1", "access0") if os.path.isdir(f"{folder}/{name}/initiators")), None)
    if access is None:
        return
    values = {
        (way, what): _attribute(f"{folder}/{access}/initiators/{way}_{what}", most)
        for way in ("read", "write")
        for what, most in (("latency", MAX_LATENCY_NS), ("bandwidth", MAX_MB_PER_S))
    }
    for way in ("read", "write"):
        said = {what: Said("firmware", f"HMAT, {access} {way}_{what} of node {number}") for _, what in values}
        if latency_ns := values[way, "latency"]:
            seen.latencies.append(Latency(1e-9 * latency_ns, number, None, said["latency"], is_store=way == "write"))
        if mb_per_s := values[way, "bandwidth"]:
            share = 1.0 if way == "read" else 0.0
            seen.bandwidths.append(Bandwidth(1e6 * mb_per_s, number, None, share, said["bandwidth"]))


def _attribute(path: str, most: int) -> int:
    """A number of the kernel's, 0 where it is unknown; more than any memory has is a firmware's way to say that."""
    text = _text(path, is_needed=False).strip()
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) <= 20):
        raise ConfigError(f"{path}: must hold a whole number without a unit, as the kernel writes it")
    return int(text) if int(text) <= most else 0


def _read_tiers(seen: Observation, root: str) -> None:
    """Nodes below the top, where the kernel tells; it may have all in one tier for want of anything that tells it."""
    try:
        seen.has_one_tier = len(nodes_by_tier(root)) == 1
        seen.slow_tier = tiers_of(root)[1]
    except Refused:
        seen.slow_tier = None if seen.has_one_tier or not os.path.isdir(root + TIERS) else ()


def _processor(root: str) -> str:
    for line in _text(root + CPUINFO, is_needed=False).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return "".join(filter(str.isprintable, value.strip()))[:MAX_NAME_LENGTH]
    return ""


def _text(path: str, is_needed: bool = True) -> str:
    """What a file holds; nothing where it is missing and may be."""
    try:
        return read_text(path)
    except FileNotFoundError:
        if not is_needed:
            return ""
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
