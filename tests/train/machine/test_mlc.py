"""MLC's output, of several versions: what is read, and what is refused or left out."""

from pathlib import Path

import pytest

from tests.train.machine.made import FILES, latency_matrix, run
from tierenv.errors import ConfigError
from tierenv.train.machine.mlc import read_mlc
from tierenv.train.machine.observed import Observation


def idle_ns(seen: Observation) -> dict[tuple[int | None, int | None], float]:
    return {(each.initiator, each.target): round(1e9 * each.seconds, 1) for each in seen.latencies}


def read(folder: Path, text: str) -> Observation:
    path = folder / "mlc.txt"
    path.write_text(text)
    return read_mlc(path)


def test_a_default_run_holds_all_sections() -> None:
    seen = read_mlc(FILES / "mlc-3.11-default.txt")
    assert idle_ns(seen) == {(0, 0): 108.4, (0, 1): 171.9, (0, 2): 262.7, (1, 0): 171.2, (1, 1): 108.9, (1, 2): 338.5}
    cells = {(each.initiator, each.target): each.bytes_per_s for each in seen.bandwidths if each.target is not None}
    assert cells[0, 2] == pytest.approx(24_011.8e6) and len(cells) == 6
    peaks = {each.read_share: each.bytes_per_s for each in seen.bandwidths if each.target is None}
    assert peaks == pytest.approx({1: 462e9, 3 / 4: 438.3521e9, 2 / 3: 430.9984e9, 1 / 2: 417.0071e9})
    [table] = seen.loaded
    assert len(table.seconds) == 19 and table.target is None and table.read_share == 1
    assert (table.seconds[0], table.bytes_per_s[-1]) == pytest.approx((468.02e-9, 5762.5e6))
    assert {number: node.has_cpus for number, node in seen.nodes.items()} == {0: True, 1: True, 2: None}


def test_single_modes_say_which_node_and_which_mix() -> None:
    seen = read_mlc(FILES / "mlc-3.11-cxl.txt")
    assert idle_ns(seen) == {(None, 2): 262.7}
    assert [(table.target, round(table.read_share, 3)) for table in seen.loaded] == [
        (2, 1),
        (2, 0.75),
        (2, 0.667),
        (2, 0.5),
    ]
    assert seen.loaded[3].said.source == "MLC --loaded_latency -W5, mlc-3.11-cxl.txt"


def test_layouts_of_older_versions_and_of_pasted_text_are_read() -> None:
    seen = read_mlc(FILES / "mlc-3.9-modes.txt")
    assert idle_ns(seen) == {(0, 0): 97.2, (0, 1): 251.3, (None, None): 97.2}
    assert len(seen.bandwidths) == 2 + 4 and len(seen.loaded) == 1
    pasted = read_mlc(FILES / "mlc-3.10-pasted.txt")
    assert len(pasted.latencies) == 20 and len(pasted.bandwidths) == 20 + 4
    assert [number for number, node in pasted.nodes.items() if not node.has_cpus] == [4]


def test_an_old_heading_of_matrices_is_read(tmp_path: Path) -> None:
    text = "Measuring idle latencies (in ns)...\n        Memory node\n Socket      0      1\n     0    93.1  140.0\n"
    assert idle_ns(read(tmp_path, text)) == {(0, 0): 93.1, (0, 1): 140.0}


def test_zeros_and_dashes_are_unknown(tmp_path: Path) -> None:
    text = latency_matrix([[100.0, 0.0, 250.0]]).replace(" 250.0", "     -")
    seen = read(tmp_path, text)
    assert idle_ns(seen) == {(0, 0): 100.0} and list(seen.nodes) == [0, 1, 2]


def test_what_a_cache_may_hold_and_other_traffic_are_left_out_and_said(tmp_path: Path) -> None:
    text = "Command line parameters: --idle_latency -b10m\nUsing buffer size of 10.000MiB\n"
    seen = read(tmp_path, f"{text}Each iteration took 31.1 base frequency clocks (\t12.5\tns)\n")
    assert not seen.latencies and "a cache may hold that" in seen.remarks[0]
    lines = [
        "Measuring Loaded Latencies for the system",
        "Inject Latency Bandwidth",
        "Delay (ns) MB/sec",
        "===",
        "00000 9.0 5.0",
    ]
    seen = read(tmp_path, run("--loaded_latency -W6", lines))
    assert not seen.loaded and "-W6 is left out" in seen.remarks[0]
    seen = read(
        tmp_path, run("--loaded_latency -T", [lines[0], "Inject Bandwidth", "Delay MB/sec", "===", "00000 5.0"])
    )
    assert not seen.loaded and "(-T) is left out" in seen.remarks[0]


PEAK, LOADED = "Measuring Peak Injection Memory Bandwidths", "Measuring Loaded Latencies\nInject Latency Bandwidth\n"
MATRIX = latency_matrix([[100.0, 170.0, 250.0], [170.0, 100.0, 300.0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mlc.txt: has no section of Intel MLC's output"),
        ("root:x:0:0\n", "mlc.txt: has no section of Intel MLC's output"),
        (MATRIX.replace("(in ns)", "(in us)"), "mlc.txt:5: latencies are in us: must be in ns"),
        (MATRIX.partition("Numa node\n")[0], "mlc.txt:5: --latency_matrix is cut off: no row of node numbers"),
        (MATRIX.partition("       0\t")[0], "mlc.txt:7: --latency_matrix is cut off: no row follows"),
        (MATRIX.rstrip()[:-6].rstrip(), "mlc.txt:9: --latency_matrix is cut off: a row of 2 numbers, not 3"),
        (MATRIX.replace("250.0", "250,0"), "mlc.txt:8: what stands for a number is none"),
        (MATRIX.replace("250.0", "1e999"), "mlc.txt:8: what stands for a number is none"),
        (latency_matrix([[0.0, 0.0]]), "--latency_matrix holds zeros alone: nothing was measured"),
        (MATRIX.replace("     1", "  9999"), "mlc.txt:7: a node above 1023"),
        ("Each iteration took 9.0 core clocks ( 0.0 ns)", "mlc.txt:1: --idle_latency is zero"),
        ("Each iteration took 9.0 core clocks ( 3.1 us)", "mlc.txt:1: latencies are in us: must be in ns"),
        ("Each iteration took 9.0 co", "mlc.txt:1: --idle_latency is cut off"),
        (f"{PEAK}\nBandwidths are in GB/sec\n", "are in GB/sec: must be in MB/sec"),
        (PEAK, "--peak_injection_bandwidth is cut off"),
        (f"{PEAK}\nALL Reads : 0.0\n", "holds zeros alone: nothing was measured"),
        (LOADED, "is cut off: no units follow"),
        (f"{LOADED}Delay (ns) GB/sec\n", "bandwidths are in GB/sec"),
        (f"{LOADED}Delay (ns) MB/sec\n===\n", "is cut off: no row"),
        (f"{LOADED}Delay (ns) MB/sec\n00000 9.0\n", "a row of 1 numbers, not 2"),
        (f"{LOADED}Delay (ns) MB/sec\n00000 0 0\n", "holds zeros alone"),
    ],
)  # fmt: skip
def test_other_files_units_and_ends_are_one_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text)
    assert message in str(error.value) and str(tmp_path) in str(error.value)
