"""Processes alike, as one record, against as many of their own whose chunks and windows are staggered."""

from typing import Any

import numpy as np
import pytest

from tests.tiny import tiny
from tierenv.counters import MIGRATED, MM_SCANS, NUMA_HINT_FAULTS, NUMA_PTE_UPDATES, PGPROMOTE_SUCCESS
from tierenv.errors import ConfigError
from tierenv.scenario import Scenario, load_scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.pages.system import PagesSystem
from tierenv.tunables import Setting
from tierenv.units import GIB, MIB

COUNT = 4
SEEDS = 8
THROTTLED = Setting({"scan_period": 2000.0, "scan_size": 1.0 * GIB, "throttle": 100.0 * MIB})
PERIOD_S = 2.0


def pair(stagger_s: float, **changes: Any) -> tuple[Scenario, Scenario]:
    """Returns four processes alike as one record, and as four that start one after another."""
    skewed = load_scenario("skewed")
    slow = skewed.workload.model_copy(update={"initial_placement": "slow"})
    base = skewed.model_copy(update={"workload": slow})
    others = [{"workload": slow, "size": "4GiB", "start": f"{number * stagger_s}s"} for number in range(1, COUNT)]
    return (
        base.replace(size="4GiB", count=COUNT, **changes),
        base.replace(size="4GiB", corunners=others, **changes),
    )


def means(scenario: Scenario, until_s: float, setting: Setting | None = None) -> np.ndarray:
    """Returns the counters after a time, means over seeds."""
    system = LumpedSystem([scenario] * SEEDS)
    system.reset(np.arange(SEEDS, dtype=np.uint64), ["training"] * SEEDS)
    if setting is not None:
        system.apply(np.tile(setting.row, (SEEDS, 1)))
    system.advance(until_s)
    system.audit()
    return system.counters.mean(axis=0)


def test_no_rule_that_adapts_to_each_process_has_several_as_one() -> None:
    with pytest.raises(ConfigError, match="count=4: must be 1 where a rule sets period and size of each process"):
        pair(0.0, control="kernel-rule")


@pytest.mark.parametrize("mode", [1, 2])
def test_windows_of_processes_alike_are_those_of_as_many(mode: int) -> None:
    scan = load_scenario("skewed")
    period_s = scan.numa_balancing.scan_delay * scan.platform.numa_start_period_factor
    alike, single = pair(period_s / COUNT, control="off", numa_balancing_mode=mode)
    ours, theirs = means(alike, 40.0), means(single, 40.0)
    counted = [NUMA_PTE_UPDATES, NUMA_HINT_FAULTS, *([PGPROMOTE_SUCCESS] if mode == 2 else [])]
    assert ours[counted] == pytest.approx(theirs[counted], rel=0.03)
    assert theirs[NUMA_HINT_FAULTS] > 1e6


def test_chunks_of_processes_alike_are_those_of_as_many() -> None:
    alike, single = pair(PERIOD_S / COUNT)
    ours, theirs = means(alike, 40.0, THROTTLED), means(single, 40.0, THROTTLED)
    assert ours[[MM_SCANS, MIGRATED]] == pytest.approx(theirs[[MM_SCANS, MIGRATED]], rel=0.05)
    assert theirs[MIGRATED] > 1e5


def test_processes_alike_have_as_much_memory_and_as_many_threads() -> None:
    alike, single = pair(0.0)
    assert alike.pages == single.pages and alike.total_accesses == single.total_accesses
    assert len(alike.processes) == 1 and alike.processes[0].threads == COUNT * alike.workload.threads
    assert [process.size for process in alike.one_by_one().processes] == [process.size for process in single.processes]


def test_a_page_move_stops_the_threads_of_its_own_process_alone() -> None:
    stall = {"like": "amd-epyc-cxl", "shootdown_receiver": "1ms"}
    alike, single = pair(0.25, control="off", numa_balancing_mode=2, platform=stall)
    done = []
    for scenario in (alike, single):
        system = LumpedSystem([scenario])
        system.reset(np.zeros(1, dtype=np.uint64), ["training"])
        system.advance(30.0)
        done.append(float(system.work_done[0]))
    assert done[0] == pytest.approx(done[1], rel=0.05)


def test_the_pages_model_takes_them_one_by_one() -> None:
    system = PagesSystem(tiny("skewed", size="8MiB", fast_capacity="16MiB", count=COUNT))
    system.reset(np.zeros(1, dtype=np.uint64), ["training"])
    system.advance(1.0)
    system.audit()
    assert system.finished_s.shape == (1, 1)
