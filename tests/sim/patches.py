"""A small machine under any daemon of the series, in both models, for the tests named after its patches."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.sim.machines import machine_of, pages_of, start, with_workload
from tierenv.counters import MIGRATE_FAILED, MIGRATED, MM_SCANS
from tierenv.daemon import AccessedBitDaemon, load_daemon
from tierenv.scenario import Process, Scenario, load_scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.pages.system import (
    PagesSystem,
)
from tierenv.units import PAGE_BYTES
from tierenv.workload import PageClass, Phase

PAGES = 4096
SYSTEMS = [LumpedSystem, PagesSystem]
NO_ROOM: dict[str, Any] = {"fast_capacity": 64 * PAGE_BYTES, "demotion": False}
"""A fast tier that is full after 63 pages."""
ALL_FAST: dict[str, Any] = {"initial_placement": "random"}
"""Of the workload: every page starts on the fast tier, which is large."""

V0, V1, V3, TUNABLE = (load_daemon(name) for name in ("kmmscand-v0", "kmmscand-v1", "kscand-v3", "kmmscand-tunable"))


def small(
    daemon: AccessedBitDaemon = V1,
    workload: Mapping[str, object] | None = None,
    platform: Mapping[str, object] | None = None,
    **changes: object,
) -> Scenario:
    """4096 slow pages with room for all on the fast tier, each touched 1500 times a second, under the kernel's rule."""
    base = load_scenario("abench-8g")
    fields = {"threads": 64, "think": 10e-6, "accesses_per_page": 1e8, "rest_vma": 0} | dict(workload or {})
    costs = {"migration_footprint_exponent": 0.0, "page_walk_per_doubling": 0.0} | dict(platform or {})
    like = {"size": PAGES * PAGE_BYTES, "regions": 8, "control": "kernel-rule", "daemon": daemon}
    return with_workload(base, **fields).model_copy(
        update=like | {"platform": base.platform.model_copy(update=costs)} | changes
    )


def classes(**shares: float) -> tuple[PageClass, ...]:
    """Classes of a workload by their share of its pages."""
    return tuple(PageClass(name=name, fraction=fraction) for name, fraction in shares.items())


def phases(names: str, *rows: dict[str, float]) -> tuple[Phase, ...]:
    """Phases of equal work that touch the classes named in their row, and no others."""
    return tuple(
        Phase(name=str(index), access_share={name: row.get(name, 0.0) for name in names.split()})
        for index, row in enumerate(rows)
    )


def hot_and_idle() -> dict[str, object]:
    """A workload of which a quarter of the pages is touched, and the others never are."""
    return {"classes": classes(hot=0.25, idle=0.75), "phases": phases("hot idle", {"hot": 1.0})}


def beside(scenario: Scenario, pages: int, **changes: Any) -> Process:
    """A process like the scenario's application, of another size."""
    return Process.model_construct(workload=scenario.workload, size=pages * PAGE_BYTES, **changes)


def begin(system_type: type, scenario: Scenario) -> Any:
    """Returns either model of the scenario at the start of episode 0."""
    system = start(scenario) if system_type is LumpedSystem else PagesSystem(scenario)
    system.reset(np.array([0], np.uint64), ["training"])
    return system


def model_of(system: Any) -> Any:
    """Views of the state; `parameters`, `state`, `processes`, `mms`, `nodes` and `fast_by_class` are in both models."""
    return machine_of(system) if isinstance(system, LumpedSystem) else pages_of(system)


def count(system: Any, *columns: int) -> list[int]:
    """The counters of the columns."""
    return [int(system.counters[0, column]) for column in columns]


def ended(system: Any) -> int:
    """Entries of the migration list that have been dealt with."""
    return sum(count(system, MIGRATED, MIGRATE_FAILED))


def scans(system: Any) -> list[int]:
    """Chunks of each process."""
    return [int(number) for number in model_of(system).mms["scans"]]


def run_until(system: Any, is_reached: Any, step_s: float = 0.005, limit_s: float = 300.0) -> float:
    """Advance in steps until the condition holds. Returns the time then."""
    while not is_reached():
        assert system.elapsed_s[0] < limit_s and not system.is_done[0], "the condition is never reached"
        system.advance(step_s)
    return float(system.elapsed_s[0])


def run_to_chunk(system: Any, number: int, step_s: float = 0.005) -> float:
    """Advance until so many chunks have ended. Returns the time then, at most a step late."""
    return run_until(system, lambda: system.counters[0, MM_SCANS] >= number, step_s)
