"""The output of `numactl -H`, of several versions and kernels."""

from pathlib import Path

import pytest

from tests.train.machine.made import FILES
from tierenv.errors import ConfigError
from tierenv.train.machine.numactl import read_numactl
from tierenv.units import MIB

TWO_SOCKETS = (FILES / "numactl-2.0.16-two-sockets.txt").read_text()


def test_nodes_sizes_cpus_and_distances_are_read() -> None:
    seen = read_numactl(FILES / "numactl-2.0.16-two-sockets.txt")
    assert {number: (node.has_cpus, node.memory_bytes) for number, node in seen.nodes.items()} == {
        0: (True, 257556 * MIB),
        1: (True, 258031 * MIB),
        2: (False, 129017 * MIB),
    }
    assert (seen.distances[1, 2], seen.distances[2, 1], len(seen.distances)) == (34, 34, 9)
    assert seen.lists_all_nodes


def test_numbers_of_nodes_may_have_gaps_and_distances_be_missing() -> None:
    seen = read_numactl(FILES / "numactl-2.0.11-no-distances.txt")
    assert list(seen.nodes) == [0, 4] and not seen.distances
    assert read_numactl(FILES / "numactl-2.0.16-one-node.txt").nodes[0].has_cpus


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (TWO_SOCKETS, "", "is not what `numactl -H` prints"),
        (TWO_SOCKETS, "available: 2 nodes (0-1)\n", "is not what `numactl -H` prints"),
        ("258031 MB", "258031 GB", "numactl.txt:6: a size that is not in MB"),
        ("258031 MB", "258031", "numactl.txt:6: a size that is not in MB, as numactl prints it, or is cut off"),
        ("258031 MB", "1e9 MB", "numactl.txt:6: a size that is none"),
        ("258031 MB", "999999999 MB", "numactl.txt:6: a size that is none"),
        ("available: 3", "available: 4", "numactl.txt: is cut off: 3 nodes, not 4"),
        ("node 2 cpus:\n", "", "numactl.txt: does not tell the CPUs of node 2"),
        ("  2:  24  34  10 \n", "", "numactl.txt: is cut off: distances of 2 nodes, not of 3"),
        ("  24  34  10", "  24  34", "numactl.txt:15: is cut off: 2 distances, not 3"),
        ("node 2 ", "node 2000 ", "numactl.txt:8: a node above 1023"),
    ],
)
def test_other_files_units_and_ends_are_one_line(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "numactl.txt"
    assert old in TWO_SOCKETS
    path.write_text(TWO_SOCKETS.replace(old, new))
    with pytest.raises(ConfigError) as error:
        read_numactl(path)
    assert message in str(error.value) and str(tmp_path) in str(error.value)


def test_nodes_without_memory_alone_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "numactl.txt"
    path.write_text("available: 1 nodes (0)\nnode 0 cpus: 0\nnode 0 size: 0 MB\nnode 0 free: 0 MB\n")
    with pytest.raises(ConfigError, match="no node has memory"):
        read_numactl(path)
