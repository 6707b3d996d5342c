"""What `numactl -H` prints: nodes, their CPUs, their memory in MB of 2^20 bytes, and distances."""

import re
from pathlib import Path

from tierenv.errors import ConfigError
from tierenv.reading import read_text
from tierenv.train.machine.observed import MAX_NODE, Observation
from tierenv.units import MAX_BYTES, MIB

MAX_FILE_BYTES = 1 << 20

_NODE = re.compile(r"node ([0-9]{1,4}) (cpus|size|free):\s*(.*)")
_DISTANCES = re.compile(r"node((?:\s+[0-9]{1,4})+)")
_ROW = re.compile(r"([0-9]{1,4}):((?:\s+[0-9]{1,4})+)")


def read_numactl(path: Path) -> Observation:
    """What a file of its output says. Raises `ConfigError`: another file, cut off, in another unit, without memory."""
    lines = [line.strip() for line in read_text(path, MAX_FILE_BYTES).splitlines()]
    seen = Observation(str(path), lists_all_nodes=True)
    columns: list[int] = []
    for number, line in enumerate(lines, 1):
        origin = f"{path}:{number}"
        if found := _NODE.fullmatch(line):
            _see(seen, _node(found[1], origin), found[2], found[3], origin)
        elif found := _DISTANCES.fullmatch(line):
            columns = [_node(word, origin) for word in found[1].split()]
        elif columns and (found := _ROW.fullmatch(line)):
            distances = list(map(int, found[2].split()))
            if len(distances) != len(columns):
                raise ConfigError(f"{origin}: is cut off: {len(distances)} distances, not {len(columns)}")
            row = _node(found[1], origin)
            seen.distances |= {(row, column): value for column, value in zip(columns, distances, strict=True)}
    _check_is_whole(seen, lines, columns, path)
    return seen


def _node(word: str, origin: str) -> int:
    if int(word) > MAX_NODE:
        raise ConfigError(f"{origin}: a node above {MAX_NODE}")
    return int(word)


def _see(seen: Observation, node: int, what: str, value: str, origin: str) -> None:
    if what == "cpus":
        seen.see(node, has_cpus=bool(value))
    elif what == "size" and value != "<not available>":
        number, _, unit = value.partition(" ")
        if unit != "MB":
            raise ConfigError(f"{origin}: a size that is not in MB, as numactl prints it, or is cut off")
        if not re.fullmatch("[0-9]{1,9}", number) or int(number) * MIB > MAX_BYTES:
            raise ConfigError(f"{origin}: a size that is none")
        seen.see(node, memory_bytes=int(number) * MIB, source=f"numactl -H, {Path(seen.origin).name}")


def _check_is_whole(seen: Observation, lines: list[str], columns: list[int], path: Path) -> None:
    announced = next((re.match(r"available: ([0-9]{1,4}) nodes", line) for line in lines if "available:" in line), None)
    if not seen.nodes or announced is None:
        raise ConfigError(f"{path}: is not what `numactl -H` prints: no line of available nodes, or none of a node")
    if len(seen.nodes) != int(announced[1]):
        raise ConfigError(f"{path}: is cut off: {len(seen.nodes)} nodes, not {announced[1]}")
    for number, node in seen.nodes.items():
        if node.has_cpus is None:
            raise ConfigError(f"{path}: does not tell the CPUs of node {number}")
    rows = {row for row, _ in seen.distances}
    if columns and rows != seen.nodes.keys():
        raise ConfigError(f"{path}: is cut off: distances of {len(rows)} nodes, not of {len(seen.nodes)}")
    if not any(node.memory_bytes for node in seen.nodes.values()):
        raise ConfigError(f"{path}: no node has memory: nothing to go by")
