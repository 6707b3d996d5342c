"""Who is believed, what follows from proportions, and what is said of it; which nodes are modelled."""

from pathlib import Path

import pytest

from tests.train.machine.made import FILES, latency_matrix, loaded_latency, peak_bandwidths, unpack
from tierenv.errors import ConfigError
from tierenv.platform import MemoryTier, Platform
from tierenv.records import load_record
from tierenv.train.machine.findings import Findings, findings
from tierenv.train.machine.observed import Bandwidth, Observation, Said, listed
from tierenv.train.machine.sources import SOURCES, read_machine
from tierenv.train.machine.tiers import Tiers, tiers_of_machine
from tierenv.train.verbs.platform import Platform as Verb
from tierenv.units import GIB, MIB

LIKE = load_record("platforms", Platform, "amd-epyc-cxl")
ONE_SOCKET = FILES / "numactl-2.0.12-one-socket.txt"
TWO_SOCKETS = FILES / "numactl-2.0.16-two-sockets.txt"
TIER = MemoryTier.model_construct(
    idle_latency=100e-9, queueing_latency=40e-9, bandwidth=200e9, store_bandwidth=150e9, capacity=GIB
)


def found(fast: int | None = None, slow: tuple[int, ...] = (), **given: Path) -> Findings:
    machine = read_machine({name: [path] for name, path in given.items()})
    return findings(machine, tiers_of_machine(machine, fast, slow), LIKE)


def written(folder: Path, text: str, name: str = "mlc.txt") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_every_source_has_an_option() -> None:
    assert set(SOURCES) <= set(Verb.__dataclass_fields__)


def test_a_measurement_comes_before_the_firmware_which_is_said_where_it_differs(tmp_path: Path) -> None:
    mlc = written(tmp_path, latency_matrix([[101.0, 255.6]]))
    known = found(mlc=mlc, sysfs=unpack("sysfs-6.12-two-tiers.txt", tmp_path / "root"))
    slow, fast = known.fields["cxl.idle_latency"], known.fields["dram.idle_latency"]
    assert (slow.value, slow.said.kind, slow.prior) == (pytest.approx(255.6e-9), "measured", 1.02)
    assert fast.value == pytest.approx(101e-9)
    assert [remark for remark in known.remarks if "node 0" in remark] == []
    [remark] = [remark for remark in known.remarks if "node 1" in remark]
    assert "255.6ns by MLC --latency_matrix, mlc.txt; 200ns by HMAT, access1 read_latency of node 1" in remark
    assert known.fields["cxl.bandwidth"].said.kind == "firmware" and known.fields["cxl.bandwidth"].prior == 1.3


def test_distances_are_a_guess_that_comes_last(tmp_path: Path) -> None:
    known = found(numactl=ONE_SOCKET)
    guess = known.fields["cxl.idle_latency"]
    assert (guess.value, guess.said.kind, guess.prior) == (pytest.approx(5 * LIKE.dram.idle_latency), "distances", 2.0)
    assert any("guess by distances" in remark for remark in known.remarks)
    mlc = written(tmp_path, latency_matrix([[100.0, 250.0]]))
    assert found(numactl=ONE_SOCKET, mlc=mlc).fields["cxl.idle_latency"].said.kind == "measured"
    assert "cxl.idle_latency" not in found(numactl=FILES / "numactl-2.0.11-no-distances.txt").fields


def test_what_all_nodes_read_at_once_is_shared_among_them(tmp_path: Path) -> None:
    matrix = latency_matrix([[100.0, 170.0, 250.0], [170.0, 100.0, 330.0]])
    mlc = written(tmp_path, matrix + loaded_latency(TIER, num_nodes=2) + peak_bandwidths(TIER, num_nodes=2))
    known = found(mlc=mlc).fields
    assert known["dram.bandwidth"].value == pytest.approx(200e9, rel=1e-3)
    assert known["dram.queueing_latency"].value == pytest.approx(40e-9, rel=1e-3)
    assert known["dram.store_bandwidth"].value == pytest.approx(150e9, rel=1e-3)
    assert known["remote_latency"].value == pytest.approx(70e-9)
    assert known["sockets"].value == 2


def test_writes_that_cost_nothing_are_bounded_and_said() -> None:
    said = Said("measured", "MLC")
    machine = Observation("mlc.txt", bandwidths=[Bandwidth(1e9, 1, 0, 1.0, said), Bandwidth(2.5e9, 1, 0, 0.5, said)])
    known = findings(machine, Tiers(0, (1,)), LIKE)
    assert known.fields["cxl.store_bandwidth"].value == pytest.approx(10e9)
    assert any("cost next to nothing" in remark for remark in known.remarks)


def test_stores_the_firmware_rates_slower_are_in_proportion_to_what_was_measured(tmp_path: Path) -> None:
    root = unpack("sysfs-6.12-two-tiers.txt", tmp_path / "root")
    initiators = root / "sys/devices/system/node/node1/access1/initiators"
    (initiators / "write_bandwidth").write_text("10240\n")
    (initiators / "write_latency").write_text("300\n")
    mlc = written(tmp_path, latency_matrix([[100.0, 240.0]]))
    known = found(mlc=mlc, sysfs=root).fields
    assert known["cxl.store_bandwidth"].value == pytest.approx(known["cxl.bandwidth"].value / 2)
    assert known["cxl.store_latency"].value == pytest.approx(1.5 * 240e-9)
    assert "dram.store_latency" not in known, "equal to that of loads, by which it is left out"


def test_what_nobody_tells_of_writes_is_in_proportion_to_reads() -> None:
    known = found(mlc=FILES / "mlc-3.9-modes.txt").fields
    stores, reads = known["cxl.store_bandwidth"], known["cxl.bandwidth"]
    assert stores.value / reads.value == pytest.approx(LIKE.cxl.writes / LIKE.cxl.bandwidth)
    assert stores.said.kind == "assumed" and stores.prior == 1.5


def test_capacities_are_exact(tmp_path: Path) -> None:
    known = found(numactl=TWO_SOCKETS).fields
    assert (known["dram.capacity"].value, known["cxl.capacity"].value) == (257556 * MIB, 129017 * MIB)
    assert known["dram.capacity"].prior is None
    tree = unpack("sysfs-6.12-two-tiers.txt", tmp_path)
    assert found(sysfs=tree).fields["cxl.capacity"].value == 502 * MIB


def with_two_cards(folder: Path) -> Path:
    text = TWO_SOCKETS.read_text().replace("3 nodes (0-2)", "4 nodes (0-3)").partition("node distances")[0]
    text += "node 3 cpus:\nnode 3 size: 64000 MB\nnode 3 free: 64000 MB\nnode distances:\nnode 0 1 2 3\n"
    rows = ((10, 21, 34, 24), (21, 10, 24, 34), (34, 24, 10, 40), (24, 34, 40, 10))
    text += "".join(f"{row}: {' '.join(map(str, cells))}\n" for row, cells in enumerate(rows))
    return written(folder, text, "numactl.txt")


def test_of_several_slow_nodes_one_pair_is_modelled_or_those_that_are_named(tmp_path: Path) -> None:
    machine = read_machine({"numactl": [with_two_cards(tmp_path)]})
    default = tiers_of_machine(machine, None, ())
    assert (default.fast, default.slow, default.others) == (1, (2,), (0,))
    assert "node 2 is modelled, the nearest, and not node 3; --slow-node 2 3 takes them together" in default.remarks[0]
    near_first = tiers_of_machine(machine, 0, ())
    assert (near_first.fast, near_first.slow) == (0, (3,))
    both = found(numactl=with_two_cards(tmp_path), slow=(2, 3), fast=0)
    assert both.fields["cxl.capacity"].value == (129017 + 64000) * MIB
    assert both.fields["cxl.idle_latency"].value == pytest.approx(LIKE.dram.idle_latency * (3.4 + 2.4) / 2)
    assert "as one, whose pages go to each of them alike" in both.remarks[0]


def test_another_socket_may_stand_for_the_slow_tier() -> None:
    chosen = tiers_of_machine(read_machine({"numactl": [TWO_SOCKETS]}), 0, (1,))
    assert (chosen.fast, chosen.slow, chosen.others) == (0, (1,), ())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slow": (7,)}, "--slow-node=7: no such node in "),
        ({"fast": 7}, "--fast-node=7: no such node in "),
        ({"slow": (-1,)}, "--slow-node=-1: no such node in "),
        ({"fast": 0, "slow": (0,)}, "name each node once"),
        ({"slow": (0, 1)}, "no fast node found"),
    ],
)
def test_nodes_that_are_not_there_are_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        found(numactl=ONE_SOCKET, **options)  # type: ignore[arg-type]
    assert message in str(error.value)


def test_without_a_slow_node_what_is_there_and_the_options_are_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has CPUs and memory at node 0; name one by --slow-node, or give --sysfs"):
        found(numactl=FILES / "numactl-2.0.16-one-node.txt")
    root = unpack("sysfs-6.1-one-tier.txt", tmp_path)
    assert any("all memory in one tier" in remark for remark in found(sysfs=root).remarks), (
        "a node without CPUs is slow"
    )
    (root / "sys/devices/system/node/node1/cpulist").write_text("2-3\n")
    with pytest.raises(ConfigError, match="CPUs and memory at nodes 0, 1 in one memory tier"):
        found(sysfs=root)


def test_a_node_without_cpus_that_is_faster_is_not_slow(tmp_path: Path) -> None:
    root = unpack("sysfs-6.12-two-tiers.txt", tmp_path)
    tiers = root / "sys/devices/virtual/memory_tiering"
    (tiers / "memory_tier45").rename(tiers / "memory_tier2")  # as high-bandwidth memory has it
    with pytest.raises(ConfigError, match="memory alone at node 1, all in top tiers; name one by --slow-node"):
        found(sysfs=root)
    assert found(sysfs=root, slow=(1,)).fields["cxl.capacity"].value == 502 * MIB


def test_a_node_that_mlc_alone_names_is_slow_beside_a_fast_one() -> None:
    mlc = FILES / "mlc-3.11-cxl.txt"
    known = found(mlc=mlc, fast=0).fields
    assert known["cxl.idle_latency"].value == pytest.approx(262.7e-9)
    assert "sockets" not in known, "nobody has counted them"
    with pytest.raises(ConfigError, match="has memory at node 2; name one by --slow-node"):
        found(mlc=mlc)


def test_many_nodes_are_listed_shortly() -> None:
    assert listed([9, 0, 1, 2, 3, 5, 6]) == "0 to 3, 5, 6, 9"


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (ONE_SOCKET, TWO_SOCKETS, "has node 2, which "),
        (ONE_SOCKET, "node 0 size: 65000 MB", "node 0 has 125.8GiB by "),
        (ONE_SOCKET, "node 1 cpus: 8 9", "node 1 has CPUs by "),
    ],
)
def test_sources_of_two_machines_are_refused(one: Path, other: Path | str, message: str, tmp_path: Path) -> None:
    if isinstance(other, str):
        lines = [other if line.startswith(other[:10]) else line for line in one.read_text().splitlines()]
        other = written(tmp_path, "\n".join(lines), "other.txt")
    with pytest.raises(ConfigError, match="are they of one machine") as error:
        read_machine({"numactl": [one, other]})
    assert message in str(error.value)
