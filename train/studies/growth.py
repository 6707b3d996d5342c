"""What more workers bring to a sweep on this machine: `python -m tierenv.train.studies.growth`.

The same jobs with one worker, with two, ..., each time as the whole command `tierenv sweep`, Ray's start included.
"""

import json
import os
import subprocess
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

from tierenv.train.provenance import git_revision, machine
from tierenv.train.run_dir import write_json
from tierenv.train.sweep.index import INDEX
from tierenv.train.tables import plain_table


@dataclass(frozen=True)
class Growth:
    """Time a sweep with different numbers of workers."""

    sweep: str = "growth"
    """Which: a path, or a name from `tierenv list sweeps`."""
    workers: tuple[int, ...] = (1, 2)
    """How many there are, one run after the other."""
    json: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write the result to this file, for machines."""


def measure(sweep: str, workers: int) -> dict[str, Any]:
    """Wall time of a command, processor time of its jobs, and what else ran on the machine meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "tierenv.train", "sweep", sweep, "--workers", str(workers), "--output", folder]
        busy_s, started = _busy_s(), time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
        wall_s, busy_s = time.perf_counter() - started, _busy_s() - busy_s
        jobs = json.loads((Path(folder) / INDEX).read_text(encoding="utf-8"))["jobs"]
    return {
        "workers": workers,
        "jobs": len(jobs),
        "wall_s": wall_s,
        "cpu_s": sum(job["cpu_s"] for job in jobs),
        "busy_processors": busy_s / wall_s,
    }


def _busy_s() -> float:
    """Time that all processors together have been at work since the machine started [s]: proc(5), stat."""
    user, nice, system = map(int, Path("/proc/stat").read_text(encoding="utf-8").split()[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table. Returns the exit code."""
    options = tyro.cli(Growth, args=arguments)
    rows = [measure(options.sweep, workers) for workers in options.workers]
    Console().print(plain_table(f"sweep {options.sweep}", COLUMNS, cells(rows)))
    if options.json is not None:
        content = {"schema": 1, "git_revision": git_revision(), "machine": machine(), "sweep": options.sweep}
        write_json(options.json, content | {"rows": rows})
    return 0


COLUMNS = ["workers", "wall time [s]", "as fast", "jobs' processor time [s]", "processors busy", "with the jobs"]


def cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    """The measurements as texts."""
    return [
        [
            str(row["workers"]),
            f"{row['wall_s']:.0f}",
            f"{rows[0]['wall_s'] / row['wall_s']:.2f}",
            f"{row['cpu_s']:.0f}",
            f"{row['busy_processors']:.2f}",
            f"{row['cpu_s'] / row['wall_s']:.2f}",
        ]
        for row in rows
    ]


if __name__ == "__main__":
    sys.exit(main())
