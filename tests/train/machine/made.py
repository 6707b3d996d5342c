"""Files as a machine's tools write them: those that are committed, and those of machines that are made up.

The layouts of `files/mlc-*` are MLC's (its readme, and outputs of v3.5 to v3.11b that people show), those of
`files/numactl-*` numactl's (2.0.16-one-node is a real one); the numbers in them are made up. `files/sysfs-*` are real:
of guests of QEMU with an HMAT of latencies and bandwidths, or of latencies alone, under Debian's kernels 6.12 and 6.1,
of meminfo and cpuinfo the first lines.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tierenv.platform import MemoryTier
from tierenv.train.machine.numactl import read_numactl

FILES = Path(__file__).parent / "files"

DELAYS = (0, 2, 8, 15, 50, 100, 200, 300, 400, 500, 700, 1000, 1300, 1700, 2500, 3500, 5000, 9000, 20000)
"""MLC's own."""


def unpack(name: str, root: Path) -> Path:
    """Makes the tree that a listing of files/ holds, and returns its root."""
    for part in (FILES / name).read_text().split("--- ")[1:]:
        path, _, content = part.partition("\n")
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


def mixed(tier: MemoryTier, read_share: float) -> float:
    """Bytes per second of a mix that a tier serves, by the law that its docstrings state."""
    return 1 / (read_share / tier.bandwidth + (1 - read_share) / tier.writes)


def loads(tier: MemoryTier, most: float) -> NDArray[np.float64]:
    """Bytes per second at MLC's delays, up to a share of the tier's bandwidth."""
    return tier.bandwidth * np.geomspace(most, 0.01, len(DELAYS))


def loaded_latency(tier: MemoryTier, most: float = 0.9, num_nodes: int = 1, options: str = "") -> str:
    """A run of --loaded_latency on a tier that follows the law, all nodes with CPUs at once."""
    rows = [
        f" {delay:05d}\t{1e9 * tier.loaded_latency(rate):.2f}\t {1e-6 * num_nodes * rate:8.1f}"
        for delay, rate in zip(DELAYS, loads(tier, most), strict=True)
    ]
    return run(f"--loaded_latency{options}", [
        "Measuring Loaded Latencies for the system",
        "Using all the threads from each core if Hyper-threading is enabled",
        "Using Read-only traffic type",
        "Inject\tLatency\tBandwidth",
        "Delay\t(ns)\tMB/sec",
        "==========================",
        *rows,
    ])  # fmt: skip


def mix_at_most(tier: MemoryTier, mix: str, read_share: float, options: str) -> str:
    """A run of --loaded_latency with a mix of reads and writes and without delays."""
    return run(f"--loaded_latency{options} -W{mix} -d0", [
        "Measuring Loaded Latencies for the system",
        "Using all the threads from each core if Hyper-threading is enabled",
        "Inject\tLatency\tBandwidth",
        "Delay\t(ns)\tMB/sec",
        "==========================",
        f" 00000\t600.00\t {1e-6 * mixed(tier, read_share):8.1f}",
    ])  # fmt: skip


def peak_bandwidths(tier: MemoryTier, num_nodes: int = 1) -> str:
    """A run of --peak_injection_bandwidth on all nodes with CPUs at once."""
    shares = {"ALL Reads": 1.0, "3:1 Reads-Writes": 3 / 4, "2:1 Reads-Writes": 2 / 3, "1:1 Reads-Writes": 1 / 2}
    rates = {name: 1e-6 * num_nodes * mixed(tier, share) for name, share in shares.items()}
    return run("--peak_injection_bandwidth", [
        "Measuring Peak Injection Memory Bandwidths for the system",
        "Bandwidths are in MB/sec (1 MB/sec = 1,000,000 Bytes/sec)",
        "Using traffic with the following read-write ratios",
        *[f"{name:<17}:\t{rate:.1f}" for name, rate in rates.items()],
        "Stream-triad like:\t1.0",
    ])  # fmt: skip


def latency_matrix(rows: Sequence[Sequence[float]]) -> str:
    """A run of --latency_matrix, latencies in ns by node of the CPU."""
    numbers = [f"       {row}\t" + "\t".join(f"{cell:6.1f}" for cell in cells) for row, cells in enumerate(rows)]
    columns = "Numa node\t" + "\t".join(f"{column:6d}" for column in range(len(rows[0])))
    heading = "Measuring idle latencies for random access (in ns)..."
    return run("--latency_matrix", [heading, "\t\tNuma node", columns, *numbers])


def run(options: str, lines: Sequence[str]) -> str:
    """What MLC prints of a run, its first lines put before."""
    first = ["Intel(R) Memory Latency Checker - v3.11b", f"Command line parameters: {options} ", ""]
    return "\n".join([*first, "Using buffer size of 100.000MiB/thread for reads", *lines]) + "\n\n"


def carry_over(folder: Path) -> None:
    """Writes what somebody brings from a machine of two sockets and a CXL node, as docs/machine.md names it."""
    sources = {"mlc": "mlc-3.11-default", "cxl": "mlc-3.11-cxl", "numactl": "numactl-2.0.16-two-sockets"}
    for name, source in sources.items():
        (folder / f"{name}.txt").write_text((FILES / f"{source}.txt").read_text())
    seen = read_numactl(folder / "numactl.txt")
    nodes = folder / "machine/sys/devices/system/node"
    for number, node in seen.nodes.items():
        files = {
            "meminfo": f"Node {number} MemTotal:       {(node.memory_bytes or 0) >> 10} kB",
            "cpulist": f"{8 * number}-{8 * number + 7}" if node.has_cpus else "",
            "distance": " ".join(str(seen.distances[number, other]) for other in seen.nodes),
            "access1/initiators/read_latency": "80" if node.has_cpus else "250",
            "access1/initiators/read_bandwidth": "0",
        }
        for name, content in files.items():
            (nodes / f"node{number}" / name).parent.mkdir(parents=True, exist_ok=True)
            (nodes / f"node{number}" / name).write_text(f"{content}\n")
    (nodes / "has_cpu").write_text("0-1\n")
    for tier, numbers in ((4, "0-1"), (22, "2")):
        file = folder / f"machine/sys/devices/virtual/memory_tiering/memory_tier{tier}/nodelist"
        file.parent.mkdir(parents=True)
        file.write_text(f"{numbers}\n")
    (folder / "machine/proc").mkdir()
    (folder / "machine/proc/cpuinfo").write_text("processor : 0\nmodel name : A Processor\n")
