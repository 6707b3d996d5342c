"""What tools and the kernel say of a machine, whoever says it: nodes, latencies, bandwidths, latencies under load."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tierenv.errors import ConfigError
from tierenv.units import format_bytes

Kind = Literal["measured", "firmware", "kernel", "distances", "assumed"]
"""How a value is known: by a benchmark, by the firmware's word, by the kernel's count, by a guess at it, or not."""

SIZES_AGREE = 0.05
"""Share by which sources may differ on a node's memory: what the kernel keeps for itself differs from boot to boot."""

MAX_NODE = 1023
"""The highest number of a node in kernels that distributions build (CONFIG_NODES_SHIFT=10)."""


@dataclass(frozen=True)
class Said:
    """Who says something, and how that is known."""

    kind: Kind
    source: str
    """For people: the tool, its mode, the file."""


@dataclass(frozen=True)
class Node:
    """A node of the machine; None is unknown."""

    has_cpus: bool | None = None
    memory_bytes: int | None = None
    source: str = ""
    """Who tells its memory."""


@dataclass(frozen=True)
class Latency:
    """Time of an access to an unloaded node."""

    seconds: float
    target: int | None
    """Node of the memory; None is that of the CPU itself."""
    initiator: int | None
    """Node of the CPU; None is one that the source takes for near."""
    said: Said
    is_store: bool = False


@dataclass(frozen=True)
class Bandwidth:
    """The most that a node serves."""

    bytes_per_s: float
    target: int | None
    """Node of the memory; None is that of the CPUs themselves, all nodes that have some at once."""
    initiator: int | None
    """Node of the CPUs; None is several, or one that the source takes for near."""
    read_share: float
    """Of the bytes: 1 of reads alone, 0 of writes alone."""
    said: Said


@dataclass(frozen=True)
class LoadedLatencies:
    """Latencies of a node beside traffic."""

    bytes_per_s: NDArray[np.float64]
    """float64[points]."""
    seconds: NDArray[np.float64]
    """float64[points]."""
    target: int | None
    """As of `Bandwidth`."""
    read_share: float
    said: Said


@dataclass
class Observation:
    """All that one source says, or several together."""

    origin: str
    """Who says it: for messages."""
    nodes: dict[int, Node] = field(default_factory=dict)
    lists_all_nodes: bool = False
    """Whether there are none beside."""
    distances: dict[tuple[int, int], int] = field(default_factory=dict)
    """By node of the CPU and node of the memory; 10 is near."""
    slow_tier: tuple[int, ...] | None = None
    """Nodes below the kernel's top tiers; None where the kernel was not asked, or has all in one."""
    has_one_tier: bool = False
    """Whether the kernel has all memory in one tier."""
    latencies: list[Latency] = field(default_factory=list)
    bandwidths: list[Bandwidth] = field(default_factory=list)
    loaded: list[LoadedLatencies] = field(default_factory=list)
    processor: str = ""
    """Its name."""
    remarks: list[str] = field(default_factory=list)
    """What people should know, one line each."""

    @property
    def num_cpu_nodes(self) -> int:
        """Nodes with CPUs and memory, at least 1."""
        return max(1, sum(bool(node.has_cpus) and node.memory_bytes != 0 for node in self.nodes.values()))

    def see(self, number: int, has_cpus: bool | None = None, memory_bytes: int | None = None, source: str = "") -> None:
        """Note that there is a node, and what was not known of it yet."""
        before = self.nodes.get(number, Node())
        if before.has_cpus is not None:
            has_cpus = before.has_cpus
        if before.memory_bytes is not None:
            memory_bytes, source = before.memory_bytes, before.source
        self.nodes[number] = Node(has_cpus, memory_bytes, source)


def together(observations: Sequence[Observation]) -> Observation:
    """What several sources say of one machine; of what two of them say the first stands first.

    Raises `ConfigError` where they cannot be of one machine: other nodes, other sizes, CPUs on other nodes.
    """
    for number, one in enumerate(observations):
        for other in observations[number + 1 :]:
            _check_is_same_machine(one, other)
    whole = Observation(" and ".join(each.origin for each in observations))
    for each in observations:
        for number, node in each.nodes.items():
            whole.see(number, node.has_cpus, node.memory_bytes, node.source)
        whole.lists_all_nodes |= each.lists_all_nodes
        whole.distances = each.distances | whole.distances
        whole.slow_tier = each.slow_tier if whole.slow_tier is None else whole.slow_tier
        whole.has_one_tier |= each.has_one_tier
        whole.latencies += each.latencies
        whole.bandwidths += each.bandwidths
        whole.loaded += each.loaded
        whole.processor = whole.processor or each.processor
        whole.remarks += each.remarks
    return whole


def _check_is_same_machine(one: Observation, other: Observation) -> None:
    ask = "are they of one machine?"
    for lister, seer in ((one, other), (other, one)):
        beyond = seer.nodes.keys() - lister.nodes.keys()
        if lister.lists_all_nodes and beyond:
            raise ConfigError(f"{seer.origin} has node {min(beyond)}, which {lister.origin} lacks; {ask}")
    for number in sorted(one.nodes.keys() & other.nodes.keys()):
        ours, theirs = one.nodes[number], other.nodes[number]
        if None not in (ours.has_cpus, theirs.has_cpus) and ours.has_cpus != theirs.has_cpus:
            with_cpus, without = (one, other) if ours.has_cpus else (other, one)
            raise ConfigError(f"node {number} has CPUs by {with_cpus.origin} and none by {without.origin}; {ask}")
        sizes = [size for size in (ours.memory_bytes, theirs.memory_bytes) if size is not None]
        if len(sizes) == 2 and max(sizes) - min(sizes) > SIZES_AGREE * max(sizes):
            raise ConfigError(
                f"node {number} has {format_bytes(sizes[0])} by {one.origin} and {format_bytes(sizes[1])} by "
                f"{other.origin}; {ask}"
            )


def in_ns(seconds: float) -> str:
    """A latency as tools print it, with the digits that mean something."""
    return f"{1e9 * seconds:.4g}ns"


def in_gb_per_s(bytes_per_s: float) -> str:
    """A bandwidth, likewise."""
    return f"{1e-9 * bytes_per_s:.4g}GB/s"


def listed(numbers: Iterable[int]) -> str:
    """Node numbers for people, more than two in a row as 3 to 7."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)
