"""From what is said of a machine to fields of a platform: the best word for each, how sure it is, and who differs.

What a benchmark measured comes before the firmware's word, and that before a guess by distances. Bandwidths of writes
are taken as what a byte written costs beside one that is read, so that a measured bandwidth stands whoever tells that
ratio.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tierenv.platform import MemoryTier, Platform
from tierenv.train.machine.loaded_latency import Fitted, fit
from tierenv.train.machine.observed import (
    Bandwidth,
    Kind,
    LoadedLatencies,
    Observation,
    Said,
    in_gb_per_s,
    in_ns,
)
from tierenv.train.machine.tiers import NO_DISTANCE, Tiers
from tierenv.units import MIB

MEASURED_LATENCY, MEASURED_BANDWIDTH, MEASURED_DIFFERENCE = 1.02, 1.05, 1.1
"""One standard deviation of what a benchmark measures, as a factor: about what runs of it differ by, on one machine."""
FIRMWARE = 1.3
"""Of what the firmware says: rated, not measured, and for the nearest initiator."""
BY_DISTANCE = 2.0
"""Of a latency by ratio of distances. They are set for the scheduler: firmware gives a CXL node, twice as far as DRAM,
14 as well as 60 where DRAM has 10."""
IN_PROPORTION = 1.5
"""Of what is taken from another machine in proportion."""
FAR_APART = 1.1
"""Factor by which two sources differ when that is worth a word."""
FASTEST_WRITES = 10.0
"""Of reads. Links of CXL carry both ways at once, so that a mix may be served faster than reads; the law has no such
thing."""
OWN_DISTANCE = 10
"""Of a node from itself (ACPI, SLIT)."""

_RANK: dict[Kind, int] = {"measured": 0, "kernel": 1, "firmware": 2, "distances": 3, "assumed": 4}


@dataclass(frozen=True)
class Finding:
    """A value of a field, in the model's unit: seconds, bytes, bytes per second."""

    value: float
    said: Said
    prior: float | None
    """Factor of one standard deviation; None is exact."""


@dataclass
class Findings:
    """What is known of a machine."""

    fields: dict[str, Finding] = field(default_factory=dict)
    """By field of `Platform`, such as cxl.idle_latency."""
    remarks: list[str] = field(default_factory=list)
    """What people should know, one line each."""


def findings(machine: Observation, tiers: Tiers, like: Platform) -> Findings:
    """All that is said of the modelled nodes; `like` gives proportions that nobody tells."""
    found = Findings(remarks=[*tiers.remarks, *machine.remarks])
    targets = [rate.target for rate in machine.bandwidths] + [table.target for table in machine.loaded]
    if None in targets and not any(node.has_cpus for node in machine.nodes.values()):
        found.remarks.append(
            "nobody tells how many nodes have CPUs, so what MLC read of all is taken for one node's: give --numactl"
        )
    fast = _Node(machine, tiers, tiers.fast, found.remarks).read(like.dram.idle_latency)
    fast_idle_s = fast["idle_latency"].value if "idle_latency" in fast else like.dram.idle_latency
    nodes = [_Node(machine, tiers, node, found.remarks).read(fast_idle_s) for node in tiers.slow]
    for tier, known, assumed in (("dram", fast, like.dram), ("cxl", _together(nodes, found.remarks), like.cxl)):
        known |= _in_proportion(known, assumed, like.name)
        found.fields |= {f"{tier}.{name}": known[name] for name in MemoryTier.model_fields if name in known}
    if any(node.has_cpus for node in machine.nodes.values()):
        found.fields["sockets"] = Finding(2 if tiers.others else 1, Said("kernel", "nodes with CPUs and memory"), None)
    if remote := _remote_latency(machine, tiers):
        found.fields["remote_latency"] = remote
    return found


class _Node:
    """What is said of one node, as the fast node's CPUs see it."""

    def __init__(self, machine: Observation, tiers: Tiers, number: int, remarks: list[str]) -> None:
        self._machine = machine
        self._fast = tiers.fast
        self._number = number
        self._remarks = remarks

    def read(self, fast_idle_s: float) -> dict[str, Finding]:
        """Findings by field of `MemoryTier`; the fast node's idle latency is what distances are multiples of."""
        latencies = self._idle_latencies()
        known = self._loaded(next((each for each in latencies if each.said.kind == "measured"), None))
        fitted = [known["idle_latency"]] if "idle_latency" in known else []
        idle = self._best("idle latency", [*latencies, *fitted, *self._by_distance(fast_idle_s)], in_ns)
        if idle:
            known["idle_latency"] = idle
        reads = self._best("bandwidth", self._bandwidths(1.0), in_gb_per_s)
        if reads:
            known.setdefault("bandwidth", reads)
        if cost := self._cost_of_writes(reads):
            known |= _divided(known, "bandwidth", "store_bandwidth", cost)
        if delay := self._delay_of_stores():
            known |= _divided(known, "idle_latency", "store_latency", delay)
        node = self._machine.nodes.get(self._number)
        if node and node.memory_bytes:
            size = node.memory_bytes // MIB * MIB
            known["capacity"] = Finding(size, Said("kernel", f"memory of node {self._number}, {node.source}"), None)
        return known

    def _is_here(self, target: int | None) -> bool:
        """Whether a source speaks of this node; those of the CPUs' own mean the fast one."""
        return target == self._number or (target is None and self._number == self._fast)

    def _is_near(self, initiator: int | None) -> bool:
        return initiator in (None, self._fast)

    def _num_nodes(self, said: Bandwidth | LoadedLatencies) -> int:
        """Nodes that were read at once."""
        return self._machine.num_cpu_nodes if said.target is None else 1

    def _idle_latencies(self, is_store: bool = False) -> list[Finding]:
        """A single measurement comes before a table of all."""
        said = [
            latency
            for latency in self._machine.latencies
            if self._is_here(latency.target) and self._is_near(latency.initiator) and latency.is_store == is_store
        ]
        return [
            Finding(latency.seconds, latency.said, _prior(latency.said, MEASURED_LATENCY))
            for latency in sorted(said, key=lambda latency: latency.initiator is not None)
        ]

    def _by_distance(self, fast_idle_s: float) -> list[Finding]:
        """A latency that is to the fast node's as the distances are; none for the fast node itself."""
        distance = self._machine.distances.get((self._fast, self._number), 0)
        if self._number == self._fast or not OWN_DISTANCE < distance < NO_DISTANCE:
            return []
        said = Said("distances", f"distances {OWN_DISTANCE} and {distance}, a guess")
        return [Finding(fast_idle_s * distance / OWN_DISTANCE, said, BY_DISTANCE)]

    def _loaded(self, idle: Finding | None) -> dict[str, Finding]:
        """Constants of the law, from the first table of reads; where the idle latency was measured, the other two."""
        tables = [table for table in self._machine.loaded if table.read_share == 1 and self._is_here(table.target)]
        if not tables:
            return {}
        table = tables[0]
        law = fit(table.bytes_per_s / self._num_nodes(table), table.seconds, idle.value if idle else None)
        if law is None:
            self._remarks.append(
                f"{table.said.source}: latencies do not rise as the law has it, so queueing_latency is assumed"
            )
            return {}
        constants = _of_law(law, Said("measured", f"{table.said.source}, fitted"))
        return constants if idle is None else {name: constants[name] for name in ("queueing_latency", "bandwidth")}

    def _bandwidths(self, read_share: float) -> list[Finding]:
        """Of a mix: those of this node first, then its part of all nodes' and the most beside a table's latencies."""
        said = [each for each in self._machine.bandwidths if self._is_here(each.target)]
        said = [each for each in said if self._is_near(each.initiator) and each.read_share == read_share]
        rates = [(each.bytes_per_s / self._num_nodes(each), each.said) for each in said if each.target is not None]
        rates += [(each.bytes_per_s / self._num_nodes(each), each.said) for each in said if each.target is None]
        rates += [
            (float(table.bytes_per_s.max()) / self._num_nodes(table), table.said)
            for table in self._machine.loaded
            if self._is_here(table.target) and table.read_share == read_share
        ]
        return [Finding(rate, said, _prior(said, MEASURED_BANDWIDTH)) for rate, said in rates]

    def _cost_of_writes(self, reads: Finding | None) -> Finding | None:
        """Time that a byte written takes the node, over that of one that is read.

        With T bytes/s of a mix whose share r is read, r / R + (1 - r) / W = 1 / T; R / W is fitted to all mixes by
        least squares of R / T.
        """
        shares = {rate.read_share for rate in self._machine.bandwidths}
        shares |= {table.read_share for table in self._machine.loaded}
        mixes = [(share, mix) for share in sorted(shares - {1.0}) for mix in self._bandwidths(share)]
        measured = [(share, mix) for share, mix in mixes if mix.said.kind == "measured"]
        peaks = [peak for peak in self._bandwidths(1.0) if peak.said.kind == "measured"]
        if measured and peaks:
            most = max(peak.value for peak in peaks)
            weight = sum((1 - share) ** 2 for share, _ in measured)
            cost = sum((1 - share) * (most / mix.value - share) for share, mix in measured) / weight
            said, prior = measured[0][1].said, MEASURED_DIFFERENCE
        else:
            rated = [mix for share, mix in mixes if mix.said.kind == "firmware" and share == 0]
            rated_reads = [peak for peak in self._bandwidths(1.0) if peak.said.kind == "firmware"]
            if not rated or not (reads := next(iter(rated_reads), reads)):
                return None
            cost, said, prior = reads.value / rated[0].value, rated[0].said, FIRMWARE
        if cost < 1 / FASTEST_WRITES:
            self._remarks.append(
                f"{said.source}: writes of node {self._number} cost next to nothing beside reads; "
                f"{FASTEST_WRITES:g} times as many are taken"
            )
        return Finding(max(cost, 1 / FASTEST_WRITES), said, prior)

    def _delay_of_stores(self) -> Finding | None:
        """Latency of a load over that of a store, where the firmware tells both and they differ."""
        stores = self._idle_latencies(is_store=True)
        loads = [latency for latency in self._idle_latencies() if latency.said.kind == "firmware"]
        if not stores or not loads or stores[0].value == loads[0].value:
            return None
        return Finding(loads[0].value / stores[0].value, stores[0].said, FIRMWARE)

    def _best(self, what: str, known: Sequence[Finding], text: Callable[[float], str]) -> Finding | None:
        """The best word, which says who differs."""
        if not known:
            return None
        best, *others = sorted(known, key=lambda finding: _RANK[finding.said.kind])
        if best.said.kind == "distances":
            self._remarks.append(
                f"the latency of node {self._number} is a guess by distances, which may be off by a factor of 2 or 3: "
                "measure it"
            )
        for other in others:
            if other.said.kind != "distances" and abs(math.log(other.value / best.value)) > math.log(FAR_APART):
                self._remarks.append(
                    f"{what} of node {self._number}: {text(best.value)} by {best.said.source}; {text(other.value)} by "
                    f"{other.said.source}, which is not taken"
                )
        return best


def _prior(said: Said, measured: float) -> float:
    return measured if said.kind == "measured" else FIRMWARE


def _of_law(law: Fitted, said: Said) -> dict[str, Finding]:
    """The constants of a fitted law, none surer than a measurement."""
    return {
        "idle_latency": Finding(law.idle_s, said, max(MEASURED_LATENCY, math.exp(law.idle_log_sd))),
        "queueing_latency": Finding(law.queueing_s, said, max(MEASURED_BANDWIDTH, math.exp(law.queueing_log_sd))),
        "bandwidth": Finding(law.bandwidth, said, max(MEASURED_BANDWIDTH, math.exp(law.bandwidth_log_sd))),
    }


def _divided(known: dict[str, Finding], name: str, result: str, by: Finding) -> dict[str, Finding]:
    """A field that is to another as was found; nothing where the other is unknown."""
    if name not in known:
        return {}
    return {result: Finding(known[name].value / by.value, by.said, by.prior)}


def _in_proportion(known: dict[str, Finding], assumed: MemoryTier, name: str) -> dict[str, Finding]:
    """What nobody tells and yet cannot be as on the other machine, for what it goes with is not."""
    guesses = {}
    for whole, part, value in (
        ("bandwidth", "store_bandwidth", assumed.store_bandwidth),
        ("idle_latency", "store_latency", assumed.store_latency),
    ):
        if whole in known and part not in known and value is not None:
            said = Said("assumed", f"assumed, to {whole} as on {name}")
            ratio = value / getattr(assumed, whole)
            guesses[part] = Finding(known[whole].value * ratio, said, IN_PROPORTION)
    return guesses


def _together(nodes: Sequence[dict[str, Finding]], remarks: list[str]) -> dict[str, Finding]:
    """Several nodes as one whose pages go to each alike: means of times, sums of what they hold and serve."""
    if len(nodes) == 1:
        return nodes[0]
    whole = {}
    for name in MemoryTier.model_fields:
        parts = [node[name] for node in nodes if name in node]
        if len(parts) < len(nodes):
            if parts:
                remarks.append(f"cxl.{name}: is known of {len(parts)} of {len(nodes)} slow nodes, so it is assumed")
            continue
        total = sum(part.value for part in parts)
        worst = max((part.said.kind for part in parts), key=_RANK.__getitem__)
        said = Said(worst, "; ".join(dict.fromkeys(part.said.source for part in parts)))
        priors = [part.prior for part in parts if part.prior is not None]
        is_mean = name.endswith("latency")
        whole[name] = Finding(total / len(parts) if is_mean else total, said, max(priors, default=None))
    return whole


def _remote_latency(machine: Observation, tiers: Tiers) -> Finding | None:
    """What other nodes of the fast tier take longer on average, by MLC's table."""

    def measured(nodes: Sequence[int]) -> list[tuple[float, Said]]:
        return [
            (latency.seconds, latency.said)
            for latency in machine.latencies
            if latency.initiator == tiers.fast and latency.target in nodes and latency.said.kind == "measured"
        ]

    remote, own = measured(tiers.others), measured([tiers.fast])
    if not remote or not own:
        return None
    longer_s = sum(seconds for seconds, _ in remote) / len(remote) - own[0][0]
    return Finding(longer_s, remote[0][1], MEASURED_DIFFERENCE) if longer_s > 0 else None
