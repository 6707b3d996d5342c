"""The machine as /proc and /sys tell it: nodes and their tiers, counters, resident memory.

One `Reading` is all that a decision needs, taken within a millisecond or so.
"""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tierenv.live.facts import NODES, told_facts
from tierenv.live.files import Refused, read_number, read_text
from tierenv.live.kernel import KNOBS, PAGE_BYTES, KnobValues

TIERS = "/sys/devices/virtual/memory_tiering"
STAT_REFRESH = "/proc/sys/vm/stat_refresh"
"""Read first: counters of nodes lag up to a second otherwise."""
VMSTAT = "/proc/vmstat"
PRESSURE = "/proc/pressure/memory"

OBSERVED = ("numa_pte_updates", "numa_hint_faults", "pgpromote_success", "pgpromote_candidate", "pgdemote_kswapd")
"""Counters that a policy of NUMA balancing can be made of, Linux 6.12 and newer, by their names in /proc/vmstat."""
GUARDED = ("pgmigrate_fail", "pgfault")
"""Of the guard: failed migrations, and one that never stands still where programs run."""
DEMOTIONS = ("pgdemote_kswapd", "pgdemote_direct", "pgdemote_khugepaged", "pgdemote_proactive")
"""Pages demoted, by whom; not every kernel has all."""
RECORDED = (
    *("numa_hint_faults_local", "numa_pages_migrated", "pgmigrate_success", "numa_huge_pte_updates"),
    *("pgpromote_candidate_nrl", *DEMOTIONS[1:]),
)
"""Recorded where the kernel has them, never observed."""
FREE_FAST = "node0/nr_free_pages"
"""Name of the free pages of the fast tier in the table of counters (`tierenv.counters`)."""
TYPICAL_PAGES = ("nr_anon_pages", "nr_file_pages")
"""What of a node's memory can be promoted, where no process is named."""


@dataclass(frozen=True)
class Reading:
    """What was read at one time."""

    monotonic_ns: int
    boottime_ns: int
    """Runs on while the machine is suspended."""
    counters: dict[str, int]
    """Since boot, and `FREE_FAST`."""
    free_pages: dict[int, int]
    """Of every node."""
    resident_pages: int
    knobs: KnobValues
    """Those that could be read."""
    pressure_us: int | None
    """Time that some task waited for memory since boot; None where the kernel does not say."""


class Machine:
    """Nodes, tiers and sizes, found once.

    Args:
        root: put before every path.
        pids: processes whose memory is steered.
        cgroups: folders below /sys/fs/cgroup, likewise. Without either it is all memory of the tiers.
        given: facts of the tiers by hand, in place of what the firmware tells.

    Raises:
        Refused: where there are not two memory tiers, or nothing tells.
    """

    def __init__(
        self,
        root: str,
        pids: Sequence[int] = (),
        cgroups: Sequence[str] = (),
        given: Mapping[str, int] | None = None,
    ) -> None:
        self._root = root
        self._started = {pid: _start_time(root, pid) for pid in pids}
        self._cgroups = tuple(cgroups)
        self.fast_nodes, self.slow_nodes = tiers_of(root)
        self.total_pages = {node: total_pages(root, node) for node in (*self.fast_nodes, *self.slow_nodes)}
        self.facts = {**told_facts(root, self.fast_nodes, self.slow_nodes), **(given or {})}
        """Of `tierenv.live.facts.FACTS` those that are known."""

    @property
    def fast_pages(self) -> int:
        """Pages of the fast tier."""
        return sum(self.total_pages[node] for node in self.fast_nodes)

    @property
    def sizes(self) -> dict[str, int]:
        """What does not change of a sample."""
        return {"fast_node_pages": self.fast_pages, **self.facts}

    def missing_counters(self) -> list[str]:
        """Counters that a policy or the guard needs and the kernel lacks."""
        return _missing(self._vmstat())

    def read(self) -> Reading:
        """All of it. Raises `Refused` where a counter is missing, OSError where a file is."""
        self._refresh()
        counted = self._vmstat()
        node_stats = {node: self._node_stat(node) for node in self.total_pages}
        missing = _missing(counted)
        if missing:
            raise Refused(f"{VMSTAT} has no {', '.join(missing)}")
        counters = {name: counted[name] for name in (*OBSERVED, *GUARDED, *RECORDED) if name in counted}
        free_pages = {node: stats["nr_free_pages"] for node, stats in node_stats.items()}
        counters[FREE_FAST] = sum(free_pages[node] for node in self.fast_nodes)
        return Reading(
            monotonic_ns=time.monotonic_ns(),
            boottime_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            counters=counters,
            free_pages=free_pages,
            resident_pages=self._resident_pages(node_stats),
            knobs=self.knobs(),
            pressure_us=self._pressure_us(),
        )

    def knobs(self) -> KnobValues:
        """Values of the knobs, without those that cannot be read."""
        values = {path: read_number(self._root + path) for path in KNOBS}
        return {path: value for path, value in values.items() if value is not None}

    def has_ended(self) -> bool:
        """Whether processes or cgroups were named and none of them is there any more."""
        is_there = [self._is_running(pid) for pid in self._started]
        is_there += [os.path.exists(self._memory_stat(cgroup)) for cgroup in self._cgroups]
        return bool(is_there) and not any(is_there)

    def _is_running(self, pid: int) -> bool:
        """Whether it is still the process that was named, and no other one that has got its number."""
        started = _start_time(self._root, pid)
        return started is not None and started == self._started[pid]

    def _memory_stat(self, cgroup: str) -> str:
        return f"{self._root}/sys/fs/cgroup/{cgroup}/memory.stat"

    def _refresh(self) -> None:
        try:
            read_text(self._root + STAT_REFRESH)
        except OSError:
            pass  # only root may, and without it counters are up to a second old

    def _vmstat(self) -> dict[str, int]:
        return _numbers(read_text(self._root + VMSTAT))

    def _node_stat(self, node: int) -> dict[str, int]:
        return _numbers(read_text(f"{self._root}{NODES}/node{node}/vmstat"))

    def _resident_pages(self, node_stats: dict[int, dict[str, int]]) -> int:
        if not self._started and not self._cgroups:
            return sum(stats.get(name, 0) for stats in node_stats.values() for name in TYPICAL_PAGES)
        pages = 0
        for pid in filter(self._is_running, self._started):
            try:
                pages += int(read_text(f"{self._root}/proc/{pid}/statm").split()[1])
            except (OSError, ValueError, IndexError):
                pass  # it has ended
        for cgroup in self._cgroups:
            try:
                stats = _numbers(read_text(self._memory_stat(cgroup)))
            except OSError:
                continue
            pages += (stats.get("anon", 0) + stats.get("file", 0)) // PAGE_BYTES
        return pages

    def _pressure_us(self) -> int | None:
        try:
            lines = read_text(self._root + PRESSURE).splitlines()
        except OSError:
            return None
        totals = [line.rpartition("total=")[2] for line in lines if line.startswith("some ")]
        return int(totals[0]) if totals and totals[0].isdigit() else None


def _missing(counted: dict[str, int]) -> list[str]:
    return [name for name in (*OBSERVED, *GUARDED) if name not in counted]


def total_pages(root: str, node: int) -> int:
    """Pages of a node. Raises `Refused` where the kernel does not tell, OSError where it does not know the node."""
    for line in read_text(f"{root}{NODES}/node{node}/meminfo").splitlines():
        words = line.split()
        if words[2:3] == ["MemTotal:"] and words[4:] == ["kB"] and words[3].isdecimal():
            return int(words[3][:20]) * 1024 // PAGE_BYTES
    raise Refused(f"{NODES}/node{node}/meminfo does not tell the node's size (MemTotal, in kB)")


def nodes_by_tier(root: str) -> dict[int, tuple[int, ...]]:
    """Nodes of the kernel's memory tiers, by number, the fastest first. Raises `Refused` where it does not tell."""
    nodes_of: dict[int, tuple[int, ...]] = {}
    for folder in glob.glob(f"{glob.escape(root)}{TIERS}/memory_tier[0-9]*"):
        number = os.path.basename(folder)[len("memory_tier") :]
        try:
            nodes = nodes_in(read_text(f"{folder}/nodelist"))
        except OSError:
            continue
        if number.isdecimal() and nodes:
            nodes_of[int(number)] = nodes
    if not os.path.isdir(root + TIERS):
        raise Refused(f"{TIERS} is missing: this kernel does not tell its memory tiers (Linux 6.1 and newer do)")
    return dict(sorted(nodes_of.items()))


def tiers_of(root: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Nodes that the kernel promotes to, and nodes that it promotes from.

    The lower a tier's number, the faster it is. The slowest one that has CPUs and all above it are the top
    (establish_demotion_targets of mm/memory-tiers.c); nothing is promoted among those.

    Raises:
        Refused: where there is no tier below them, or the kernel does not tell.
    """
    nodes_of = nodes_by_tier(root)
    with_cpus = _nodes_with_cpus(root)
    last_top = max(
        (number for number in nodes_of if with_cpus & set(nodes_of[number])), default=min(nodes_of, default=0)
    )
    if not any(number > last_top for number in nodes_of):
        only = ", ".join(str(node) for nodes in nodes_of.values() for node in nodes) or "none"
        raise Refused(
            f"all memory is in one tier (nodes {only}), so nothing would be promoted: slow memory gets a tier of its "
            "own by the firmware's HMAT (Linux 6.1 does not use it) or as CXL memory brought online by the kmem driver"
        )
    fast = tuple(node for number, nodes in nodes_of.items() if number <= last_top for node in nodes)
    return fast, tuple(node for number, nodes in nodes_of.items() if number > last_top for node in nodes)


def _nodes_with_cpus(root: str) -> set[int]:
    try:
        return set(nodes_in(read_text(f"{root}{NODES}/has_cpu")))
    except OSError:
        return set()


def _start_time(root: str, pid: int) -> str | None:
    """When a process started, as the kernel tells it; None where there is none, or one that has ended."""
    try:
        fields = read_text(f"{root}/proc/{pid}/stat").rpartition(")")[2].split()
    except OSError:
        return None
    return None if len(fields) < 20 or fields[0] in ("Z", "X") else fields[19]


def nodes_in(text: str) -> tuple[int, ...]:
    """Node numbers of a kernel's list such as 0-1,3; none where it is not one."""
    nodes: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        if not all(number.isdecimal() and len(number) <= 4 for number in (first, last or first)):
            return ()
        nodes += range(int(first), int(last or first) + 1)
    return tuple(nodes)


def _numbers(text: str) -> dict[str, int]:
    """Lines of a name and a number."""
    numbers = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if value.isdigit():
            numbers[name] = int(value)
    return numbers
