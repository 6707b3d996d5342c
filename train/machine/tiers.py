"""Which node of a machine is modelled as the fast tier and which as the slow one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from tierenv.errors import ConfigError
from tierenv.train.machine.observed import Observation, listed

NO_DISTANCE = 255
"""What a table of distances has where there is no way."""


@dataclass(frozen=True)
class Tiers:
    """The nodes of the model."""

    fast: int
    """Of the socket in whose eyes all is seen."""
    slow: tuple[int, ...]
    """Of the slow tier, taken together if there are several."""
    others: tuple[int, ...] = ()
    """Other nodes of the fast tier."""
    remarks: list[str] = field(default_factory=list)


def tiers_of_machine(machine: Observation, fast: int | None, slow: Sequence[int]) -> Tiers:
    """The nodes to model: those that were named, or else as the kernel's memory tiers or missing CPUs tell.

    Raises `ConfigError` where a named node is not there, and where nothing tells a slow one.
    """
    for number in slow:
        _check_is_there(machine, "--slow-node", number)
    if fast is not None:
        _check_is_there(machine, "--fast-node", fast)
    if len(set(slow)) < len(slow) or (fast is not None and fast in slow):
        raise ConfigError("--slow-node, --fast-node: name each node once")
    candidates = tuple(slow) or tuple(number for number in _slow_nodes(machine, fast) if number != fast)
    if not candidates:
        raise ConfigError(_no_slow_node(machine))
    fast_nodes = [number for number in _with_cpus(machine) if number not in candidates]
    if fast is None:
        if not fast_nodes:
            raise ConfigError(
                f"no fast node found: {machine.origin} has {_what_is_there(machine)}; name one by --fast-node, or give "
                "--numactl or --sysfs"
            )
        fast = _nearest(machine, [(number, candidates[0]) for number in fast_nodes])[0]
    chosen = tuple(slow) or (_nearest(machine, [(fast, number) for number in candidates])[1],)
    others = tuple(number for number in fast_nodes if number != fast)
    return Tiers(fast, chosen, others, _remarks(machine, fast, chosen, candidates, others))


def _check_is_there(machine: Observation, option: str, number: int) -> None:
    if number not in machine.nodes and (machine.lists_all_nodes or number < 0):
        raise ConfigError(f"{option}={number}: no such node in {machine.origin}: {_what_is_there(machine)}")
    if number in machine.nodes and machine.nodes[number].memory_bytes == 0:
        raise ConfigError(f"{option}={number}: that node has no memory; {_what_is_there(machine)}")


def _with_cpus(machine: Observation) -> list[int]:
    return [number for number, node in sorted(machine.nodes.items()) if node.has_cpus and node.memory_bytes != 0]


def _without_cpus(machine: Observation) -> tuple[int, ...]:
    nodes = sorted(machine.nodes.items())
    return tuple(number for number, node in nodes if node.has_cpus is False and node.memory_bytes != 0)


def _slow_nodes(machine: Observation, fast: int | None) -> tuple[int, ...]:
    """Those below the kernel's top tier; without CPUs, where it has all in one or does not tell.

    Of a node that MLC has no row for nobody says whether it has CPUs: it counts if another is known to have some, or
    was named as the fast one.
    """
    if machine.slow_tier is not None:
        return tuple(number for number in machine.slow_tier if number in machine.nodes)
    unknown = [number for number, node in sorted(machine.nodes.items()) if node.has_cpus is None]
    return _without_cpus(machine) or tuple(unknown if _with_cpus(machine) or fast is not None else ())


def _nearest(machine: Observation, pairs: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Of pairs of a CPU's and a memory's node the nearest: by what was measured, by distances, by number."""
    measured_s = {
        (latency.initiator, latency.target): latency.seconds for latency in machine.latencies if not latency.is_store
    }
    return min(pairs, key=lambda pair: (measured_s.get(pair, math.inf), machine.distances.get(pair, NO_DISTANCE), pair))


def _what_is_there(machine: Observation) -> str:
    parts = []
    if with_cpus := _with_cpus(machine):
        parts.append(f"CPUs and memory at {_named(with_cpus)}")
    if without := _without_cpus(machine):
        parts.append(f"memory alone at {_named(without)}")
    if unknown := [number for number, node in machine.nodes.items() if node.has_cpus is None]:
        parts.append(f"memory at {_named(unknown)}")
    return " and ".join(parts) or "no node is named there"


def _named(numbers: Sequence[int]) -> str:
    return f"node{'s' * (len(numbers) > 1)} {listed(numbers)}"


def _no_slow_node(machine: Observation) -> str:
    tier = " in one memory tier" if machine.has_one_tier else ", all in top tiers" if machine.slow_tier == () else ""
    return (
        f"no slow node found: {machine.origin} has {_what_is_there(machine)}{tier}; name one by --slow-node, or give "
        "--sysfs, --numactl or --mlc of a machine that has one"
    )


def _remarks(
    machine: Observation, fast: int, chosen: Sequence[int], candidates: Sequence[int], others: Sequence[int]
) -> list[str]:
    remarks = []
    if left := set(candidates) - set(chosen):
        together = " ".join(map(str, sorted({*candidates, *chosen})))
        remarks.append(
            f"slow nodes: node {listed(chosen)} is modelled, the nearest, and not {_named(sorted(left))}; "
            f"--slow-node {together} takes them together"
        )
    if len(chosen) > 1:
        remarks.append(f"slow nodes {listed(chosen)} are modelled as one, whose pages go to each of them alike")
    if len(others) > 1:
        remarks.append(
            f"{len(others) + 1} nodes have CPUs: two are modelled, node {fast} and another that is as far as the "
            "others are on average"
        )
    if machine.has_one_tier:
        remarks.append(
            "the kernel has all memory in one tier and would promote nothing as it is: see `tierenv live check`"
        )
    return remarks
