"""What an import of DAMON's records loses: `python -m tierenv.train.studies.import_doc` measures it, for its document.

A workload of three classes is recorded by DAMON in the model, imported with its work and its threads given, and run
beside the one that was recorded.
"""

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.daemon import load_daemon
from tierenv.scenario import Scenario, load_scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.train import seeds as seed_blocks
from tierenv.train.episodes import episode_seeds
from tierenv.train.imports.damon_writer import write_damon_record
from tierenv.train.imports.importing import Imported, ProgramFacts, import_record
from tierenv.train.imports.observations import ReadOptions
from tierenv.train.studies.generated import ROOT, markdown_table, rewrite, with_parts
from tierenv.tunables import Setting

WORKLOAD_DOC = ROOT / "docs" / "workload.md"
SEED = seed_blocks.EVALUATION

THREE_CLASSES: dict[str, Any] = {
    "name": "three-classes",
    "threads": 2,
    "think": "300ns",
    "memory_parallelism": 2,
    "accesses_per_page": 300,
    "layout": "contiguous",
    "classes": [
        {"name": "hot", "fraction": 0.2},
        {"name": "warm", "fraction": 0.3},
        {"name": "cold", "fraction": 0.5},
    ],
    "phases": [{"name": "run", "access_share": {"hot": 0.8, "warm": 0.17, "cold": 0.03}}],
}
"""On 1 GiB of slow memory some 70 accesses a second to a hot page: 30 % of the checks find one."""

_NUMA = ("scan_period", "scan_size", "throttle", "hot_threshold")
_BITS = ("scan_period", "scan_size", "throttle")
SETTINGS: list[tuple[str, dict[str, float]]] = [
    ("numa-balancing", dict(zip(_NUMA, (1000, 1 << 24, np.inf, 100), strict=True))),
    ("numa-balancing", dict(zip(_NUMA, (1000, 1 << 24, np.inf, 1000), strict=True))),
    ("numa-balancing", dict(zip(_NUMA, (20_000, 1 << 24, np.inf, 1000), strict=True))),
    ("numa-balancing", dict(zip(_NUMA, (1000, 1 << 24, 1 << 22, 100), strict=True))),
    ("numa-balancing", dict(zip(_NUMA, (1000, 1 << 24, 1 << 24, 1000), strict=True))),
    ("numa-balancing", dict(zip(_NUMA, (20_000, 1 << 24, 1 << 22, 1000), strict=True))),
    ("kmmscand-tunable", dict(zip(_BITS, (100, 1 << 26, np.inf), strict=True))),
    ("kmmscand-tunable", dict(zip(_BITS, (100, 1 << 30, np.inf), strict=True))),
    ("kmmscand-tunable", dict(zip(_BITS, (1000, 1 << 30, np.inf), strict=True))),
    ("kmmscand-tunable", dict(zip(_BITS, (100, 1 << 26, 1 << 21), strict=True))),
    ("kmmscand-tunable", dict(zip(_BITS, (100, 1 << 30, 1 << 24), strict=True))),
    ("kmmscand-tunable", dict(zip(_BITS, (1000, 1 << 28, 1 << 22), strict=True))),
]
"""Daemons and what their tunables hold [ms, bytes, bytes/s, ms]."""

RECORDS: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "contiguous, 100 regions, checks every 5 ms for 200 ms": ({}, {}),
    "200 regions, for 100 ms": ({}, {"aggregation_interval_s": 0.1, "regions": 200}),
    "scattered layout": ({"layout": "scattered"}, {}),
    "checks every 50 ms for 1 s": ({}, {"sample_interval_s": 0.05, "aggregation_interval_s": 1.0}),
    "checks every 100 ms for 2 s": ({}, {"sample_interval_s": 0.1, "aggregation_interval_s": 2.0}),
    "checks every 250 ms for 5 s": ({}, {"sample_interval_s": 0.25, "aggregation_interval_s": 5.0}),
}
"""What is changed of the workload and of DAMON, by what the document calls it."""


@dataclass(frozen=True)
class Loss:
    """What came of a record."""

    imported: Imported
    """With the work given."""
    work_found: float
    """Of the work that was done, where it is not given."""
    true_s: NDArray[np.float64]
    """float64[len(SETTINGS) + 3]: see `times_s`."""
    imported_s: NDArray[np.float64]
    """The same of what was imported."""

    @property
    def worst_error(self) -> float:
        """Largest share by which a time is off."""
        return float(np.abs(self.imported_s / self.true_s - 1).max())

    @property
    def regret(self) -> float:
        """How much slower than with the best setting the workload is with the one that is best for the import."""
        true_s = self.true_s[: len(SETTINGS)]
        return float(true_s[int(np.argmin(self.imported_s[: len(SETTINGS)]))] / true_s.min() - 1)


def scenario(**changes: Any) -> Scenario:
    """The workload, with other fields, on 1 GiB of which a quarter fits the fast tier."""
    workload = THREE_CLASSES | changes
    small = {"size": "1GiB", "fast_capacity": "256MiB", "regions": 16, "workload": workload}
    return load_scenario("skewed").replace(name=workload["name"], **small)


def recorded(of: Scenario, path: Path, *, is_work_given: bool = True, **options: Any) -> Imported:
    """What an import makes of a record of a scenario, with what a user knows; `options` are DAMON's."""
    write_damon_record(path, of, SEED, **{"aggregation_interval_s": 0.2, "regions": 100} | options)
    workload = of.workload
    facts = ProgramFacts(
        threads=workload.threads,
        think_s=workload.think,
        memory_parallelism=workload.memory_parallelism,
        accesses_per_page=workload.accesses_per_page if is_work_given else None,
    )
    return import_record("damon", path, ReadOptions(), facts)


def times_s(of: Scenario) -> NDArray[np.float64]:
    """Completion times under every setting, the daemon's own rule, NUMA balancing as booted, and no migration."""
    static = [of.under(load_daemon(daemon), control="tunables") for daemon, _ in SETTINGS]
    passive = [
        of.replace(control="kernel-rule"),
        of.under(load_daemon("numab2"), control="kernel-rule"),
        of.replace(control="off", numa_balancing_mode=0),
    ]
    times = []
    for scenarios in (static, passive):
        system = LumpedSystem(scenarios)
        system.reset(episode_seeds([SEED] * len(scenarios)), ["training"] * len(scenarios))
        if scenarios is static:
            system.apply(np.array([Setting({name: float(v) for name, v in row.items()}).row for _, row in SETTINGS]))
        system.run_to_end()
        times.append(system.elapsed_s)
    return np.concatenate(times)


def loss(changes: Mapping[str, Any], options: Mapping[str, Any], folder: Path) -> Loss:
    """What an import loses of a record, which is written into a folder."""
    true = scenario(**changes)
    imported = recorded(true, folder / "record", **options)
    found = recorded(true, folder / "record", is_work_given=False, **options).workload.accesses_per_page
    replaced = true.replace(workload=imported.workload.model_dump(mode="json"), size=f"{imported.size_bytes}B")
    return Loss(imported, found / true.workload.accesses_per_page, times_s(true), times_s(replaced))


def table() -> str:
    """What is lost, for each of `RECORDS`."""
    columns = ["record", "classes", "work found", "times off by at most", "setting found slower by"]
    rows = []
    for name, (changes, options) in RECORDS.items():
        with tempfile.TemporaryDirectory() as folder:
            found = loss(changes, options, Path(folder))
        said = [note.split(" of the")[0] for note in found.imported.notes if "found at every check" in note]
        rows.append(
            [
                name + "".join(f", {share} of what is found at every one" for share in said),
                str(len(found.imported.workload.classes)),
                f"{100 * found.work_found:.1f} %",
                f"{100 * found.worst_error:.1f} %",
                f"{100 * found.regret:.1f} %",
            ]
        )
    return markdown_table(columns, rows, numbers_from=1)


def main() -> int:
    """Rewrite the table of docs/workload.md. Returns the exit code."""
    return rewrite(WORKLOAD_DOC, lambda text: with_parts(WORKLOAD_DOC, text, {"losses": table}))


if __name__ == "__main__":
    sys.exit(main())
