"""A workload, recorded by DAMON in the model and imported, behaves as the one that was recorded."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tierenv.daemon import load_daemon
from tierenv.errors import ConfigError
from tierenv.scenario import Scenario, load_scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.train.episodes import episode_seeds
from tierenv.train.imports import damon_writer
from tierenv.train.imports.damon_writer import write_damon_record
from tierenv.train.imports.importing import Imported, ProgramFacts, import_record
from tierenv.train.imports.observations import ReadOptions
from tierenv.tunables import Setting

SEED = 10_000
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
"""On 1 GiB of slow memory some 50 accesses a second and hot page: a quarter of the checks finds one."""

SETTINGS = [
    *(
        ("numa-balancing", {"scan_period": period, "scan_size": 1 << 24, "throttle": rate, "hot_threshold": threshold})
        for period, rate, threshold in [
            (1000, np.inf, 100), (1000, np.inf, 1000), (20_000, np.inf, 1000),
            (1000, 1 << 22, 100), (1000, 1 << 24, 1000), (20_000, 1 << 22, 1000),
        ]
    ),
    *(
        ("kmmscand-tunable", {"scan_period": period, "scan_size": size, "throttle": rate})
        for period, size, rate in [
            (100, 1 << 26, np.inf), (100, 1 << 30, np.inf), (1000, 1 << 30, np.inf),
            (100, 1 << 26, 1 << 21), (100, 1 << 30, 1 << 24), (1000, 1 << 28, 1 << 22),
        ]
    ),
]  # fmt: skip


def scenario(**changes: Any) -> Scenario:
    """Returns one of the workload above, with another in its place or other fields of it."""
    workload = THREE_CLASSES | changes
    small = {"size": "1GiB", "fast_capacity": "256MiB", "regions": 16, "workload": workload}
    return load_scenario("skewed").replace(name=workload["name"], **small)


def recorded(of: Scenario, path: Path, **options: Any) -> Imported:
    """Returns what an import makes of a record; work and threads are given, as a user knows them."""
    write_damon_record(path, of, SEED, **{"aggregation_interval_s": 0.2, "regions": 100} | options)
    workload = of.workload
    facts = ProgramFacts(
        threads=workload.threads,
        think_s=workload.think,
        memory_parallelism=workload.memory_parallelism,
        accesses_per_page=workload.accesses_per_page,
    )
    return import_record("damon", path, ReadOptions(), facts)


def with_imported(of: Scenario, imported: Imported) -> Scenario:
    """Returns the scenario with what was made of its record in place of its workload."""
    return of.replace(workload=imported.workload.model_dump(mode="json"), size=f"{imported.size_bytes}B")


def times_s(of: Scenario) -> NDArray[np.float64]:
    """Returns completion times under every setting, the daemon's own rule, NUMA balancing and no migration."""
    machines = [of.under(load_daemon(daemon), control="tunables") for daemon, _ in SETTINGS]
    passive = [
        of.replace(control="kernel-rule"),
        of.under(load_daemon("numab2"), control="kernel-rule"),
        of.replace(control="off", numa_balancing_mode=0),
    ]
    both = []
    for scenarios in (machines, passive):
        system = LumpedSystem(scenarios)
        system.reset(episode_seeds([SEED] * len(scenarios)), ["training"] * len(scenarios))
        if scenarios is machines:
            system.apply(np.array([Setting({k: float(v) for k, v in row.items()}).row for _, row in SETTINGS]))
        system.run_to_end()
        both.append(system.elapsed_s)
    return np.concatenate(both)


def test_a_contiguous_workload_takes_the_same_time_and_the_same_best_setting(tmp_path: Path) -> None:
    true = scenario()
    imported = recorded(true, tmp_path / "record")
    shares = [each.fraction for each in imported.workload.classes]
    assert sorted(shares) == pytest.approx([0.2, 0.3, 0.5], abs=0.01), "of 100 regions"
    assert not any("at every check" in note for note in imported.notes)
    before, after = times_s(true), times_s(with_imported(true, imported))
    assert after == pytest.approx(before, rel=0.02)
    assert np.ptp(before) > 0.1 * before.min(), "something is at stake"
    best, found = (int(np.argmin(times[: len(SETTINGS)])) for times in (before, after))
    assert before[found] < 1.01 * before[best]


def test_the_work_that_is_found_is_the_work_that_was_done(tmp_path: Path) -> None:
    path = tmp_path / "record"
    recorded(scenario(), path)
    facts = ProgramFacts(threads=2, think_s=3e-7, memory_parallelism=2.0)
    found = import_record("damon", path, ReadOptions(), facts)
    assert found.workload.accesses_per_page == pytest.approx(300, rel=0.02)
    assert found.access_ns == pytest.approx(1e9 * 2 * found.run_s / (300 << 18), rel=0.02)


def test_phases_come_back_with_their_work(tmp_path: Path) -> None:
    shares = [{"hot": 0.8, "warm": 0.17, "cold": 0.03}, {"hot": 0.05, "warm": 0.05, "cold": 0.9}]
    phases = [
        {"name": f"p{number}", "work": work, "access_share": shares[number % 2]}
        for number, work in enumerate([3, 2, 1])
    ]
    imported = recorded(scenario(phases=phases), tmp_path / "record")
    assert [phase.work for phase in imported.workload.phases] == pytest.approx([1 / 2, 1 / 3, 1 / 6], abs=0.02)


def test_what_a_scattered_layout_loses_is_its_heat(tmp_path: Path) -> None:
    imported = recorded(scenario(layout="scattered"), tmp_path / "record")
    assert len(imported.workload.classes) == 1, "every region holds the same mixture"
    assert any("scattered" in note for note in imported.notes)


def test_what_a_saturated_counter_loses_is_said(tmp_path: Path) -> None:
    options = {"sample_interval_s": 0.25, "aggregation_interval_s": 1.0}
    imported = recorded(scenario(), tmp_path / "record", **options)
    assert any("at every check" in note for note in imported.notes)


def test_a_record_is_of_one_process_and_of_bounded_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record"
    with pytest.raises(ConfigError, match="one process"):
        write_damon_record(path, load_scenario("noisy-neighbour"), SEED)
    monkeypatch.setattr(damon_writer, "MOST_ROWS", 1000)
    with pytest.raises(ConfigError, match="shorter"):
        write_damon_record(path, scenario(), SEED)
    assert not path.exists()
