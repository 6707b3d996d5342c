"""What a controller costs its host: `python -m tests.live.cost --json results/live-cost.json`.

It runs the archive with `run --apply` on a copy of a host's tree whose /proc/vmstat is as long as this machine's, and
reads CPU time and memory of both processes from the kernel; the time of a decision alone is that of the plain Python.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from tyro.conf import arg

from tests.live.hosts import Host, network, oldest_python, tables, tree, write_archive
from tests.live.running import Running
from tests.live.test_policy import any_samples, plain
from tierenv.live.policy import Policy
from tierenv.train.provenance import git_revision, machine
from tierenv.train.run_dir import write_json
from tierenv.train.tables import plain_table

INTERVAL_S = 2.0
MODELS = {"network": lambda: network(64, 64), "tree": lambda: tree()}
NUM_DECISIONS = 2000


@dataclass(frozen=True)
class Cost:
    """Measure what a controller costs."""

    intervals: Annotated[int, arg(metavar="N")] = 15
    """Of the run that is measured."""
    json: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write the figures to this file."""


def decision_ms(folder: Path, model: str) -> float:
    """CPU time of a decision."""
    policy = Policy(tables(folder / f"decision-{model}", MODELS[model]()))
    samples = [plain(sample) for sample in any_samples(NUM_DECISIONS, seed=3)]
    began_s = time.process_time()
    for sample in samples:
        policy.decide(sample)
    return 1e3 * (time.process_time() - began_s) / NUM_DECISIONS


def cpu_s(pid: int) -> float:
    """Time of a process on a processor so far, which counts finer than its user and system time."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def pss_mib(pid: int) -> float:
    """Its share of memory."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def run_cost(folder: Path, model: str, intervals: int) -> tuple[float, float]:
    """CPU time of an interval [ms] and memory [MiB] of both processes."""
    host = Host(folder / f"host-{model}")
    own = (line.split()[0] for line in Path("/proc/vmstat").read_text().splitlines())
    host.vmstat = dict.fromkeys(own, 1) | host.vmstat
    host.show()
    archive_folder = folder / f"archive-{model}"
    archive_folder.mkdir()
    running = Running(host, write_archive(archive_folder, MODELS[model](), INTERVAL_S))
    try:
        while not running.last:
            time.sleep(0.1)
        both = (running.process.pid, running.child)
        before_s = sum(map(cpu_s, both))
        for _ in range(intervals):
            host.count(numa_pte_updates=5000, numa_hint_faults=4000, pgpromote_success=900)
            time.sleep(INTERVAL_S)
        return 1e3 * (sum(map(cpu_s, both)) - before_s) / intervals, sum(map(pss_mib, both))
    finally:
        running.process.terminate()
        running.end()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. Returns the exit code."""
    options = tyro.cli(Cost, args=arguments)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for model in MODELS:
            interval_ms, memory_mib = run_cost(Path(name), model, options.intervals)
            rows.append(
                {
                    "policy": model,
                    "cpu_ms_per_interval": round(interval_ms, 2),
                    "cpu_ms_per_decision": round(decision_ms(Path(name), model), 3),
                    "pss_mib": round(memory_mib, 1),
                }
            )
    columns = ["policy", "CPU an interval [ms]", "CPU a decision [ms]", "memory of both [MiB]"]
    Console(width=120).print(
        plain_table("cost of a controller", columns, [list(map(str, row.values())) for row in rows])
    )
    if options.json is not None:
        python = Path(oldest_python()).name
        content = {"schema": 1, "git_revision": git_revision(), "machine": machine(), "interval_s": INTERVAL_S}
        write_json(options.json, content | {"python": python, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
