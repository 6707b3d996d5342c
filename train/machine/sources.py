"""The table of sources: who says something of a machine, and what reads it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tierenv.errors import ConfigError
from tierenv.train.machine.mlc import read_mlc
from tierenv.train.machine.numactl import read_numactl
from tierenv.train.machine.observed import Observation, together
from tierenv.train.machine.sysfs import read_sysfs


@dataclass(frozen=True)
class Source:
    """One kind of source."""

    name: str
    """Also its option of `tierenv platform`."""
    summary: str
    read: Callable[[Path], Observation]
    """What a file, or a folder, says. Raises `ConfigError`."""


SOURCES = {
    source.name: source
    for source in (
        Source("mlc", "Intel Memory Latency Checker: latencies, bandwidths, latencies under load", read_mlc),
        Source("numactl", "numactl -H: nodes, their memory, distances", read_numactl),
        Source("sysfs", "/sys and /proc: the same, memory tiers, and what the firmware says (HMAT)", read_sysfs),
    )
}
"""In the order in which they are asked."""

HERE = Path("/")


def read_machine(given: Mapping[str, Sequence[Path]]) -> Observation:
    """What files and folders say of one machine, by source; without any, what this machine's kernel tells.

    Raises `ConfigError` for what cannot be read, and where they cannot be of one machine.
    """
    if unknown := given.keys() - SOURCES.keys():
        raise ConfigError(f"unknown source {min(unknown)!r}; known: {', '.join(SOURCES)}")
    inputs = {name: paths for name, paths in given.items() if paths} or {"sysfs": [HERE]}
    return together([source.read(path) for name, source in SOURCES.items() for path in inputs.get(name, ())])
