"""Processes that begin again until those end that the run waits for, in both models."""

from typing import Any

import numpy as np
import pytest

from tests.sim.patches import SYSTEMS, begin, model_of
from tests.tiny import tiny
from tierenv.bounds import clairvoyant_bound_s
from tierenv.counters import DEMOTED, MIGADDED, PGPROMOTE_SUCCESS
from tierenv.errors import ConfigError
from tierenv.scenario import Scenario, load_scenario
from tierenv.sim.lumped.state import CLASS, SLOW_CLOCK
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.pages.system import PagesSystem
from tierenv.sim.parameters import all_fast_s, scenario_arrays
from tierenv.task import simulated_task

both_models = pytest.mark.parametrize("system_type", SYSTEMS)


def beside(lifetime: str, work: float = 1e6, **changes: Any) -> Scenario:
    """A small machine on which another process runs beside the application."""
    workload = load_scenario("abench-8g").workload.model_copy(update={"accesses_per_page": work})
    corunner = {"workload": workload, "size": "8MiB", "lifetime": lifetime}
    own = load_scenario("abench-8g").workload.model_copy(update={"accesses_per_page": 4e6})
    like: dict[str, Any] = {"size": "16MiB", "fast_capacity": "12MiB", "control": "off", "workload": own}
    return tiny("skewed", **like | changes).replace(corunners=[corunner])


def run(system_type: type, scenario: Scenario) -> Any:
    """Either model after a run to the end, whose books are right at every second of it."""
    system = begin(system_type, scenario)
    while not system.is_done[0]:
        system.advance(1.0)
        system.audit()
    return system


@both_models
@pytest.mark.parametrize("mode", [0, 1, 2])
def test_a_run_does_not_wait_for_a_process_that_begins_again(system_type: type, mode: int) -> None:
    for lifetime in ("endless", "repeating"):
        system = run(system_type, beside(lifetime, numa_balancing_mode=mode))
        own, other = model_of(system).processes[:2]
        assert other["rounds"] > 3 and own["rounds"] == 0
        assert own["finished_s"] == other["finished_s"] == system.elapsed_s[0]
        assert system_type is PagesSystem or system.work_done[0] == pytest.approx(1)


@both_models
def test_one_with_work_left_ends_with_the_application(system_type: type) -> None:
    once, endless = (run(system_type, beside(lifetime, work=2e7)) for lifetime in ("once", "endless"))
    assert endless.elapsed_s[0] == pytest.approx(once.finished_s[0, 0], rel=1e-3)
    assert once.elapsed_s[0] > 1.1 * endless.elapsed_s[0]
    assert model_of(endless).processes["rounds"][1] == 0


@both_models
def test_executed_anew_a_process_has_its_memory_on_the_slow_node_and_an_endless_one_keeps_it(system_type: type) -> None:
    promoted = {}
    for lifetime in ("endless", "repeating"):
        system = run(system_type, beside(lifetime, fast_capacity="32MiB", numa_balancing_mode=2))
        promoted[lifetime] = int(system.counters[0, PGPROMOTE_SUCCESS])
        assert system.counters[0, DEMOTED] == 0
    pages = beside("endless").pages
    assert promoted["endless"] <= pages < promoted["repeating"]


@both_models
@pytest.mark.parametrize("daemon", ["kmmscand-v1", "kscand-v3", "kmmscand-tunable"])
def test_the_daemon_forgets_a_process_that_exits_and_lists_the_next_one(system_type: type, daemon: str) -> None:
    rule = "kernel-rule" if daemon != "kmmscand-tunable" else "tunables"
    scenario = beside("repeating", daemon=load_scenario("skewed").replace(daemon=daemon).daemon, control=rule)
    system = begin(system_type, scenario)
    process, mm = model_of(system).processes[1:2], model_of(system).mms[1:2]
    start = scenario.daemon.start_setting.values
    while process["rounds"][0] < 2:
        rounds, listed = int(process["rounds"][0]), int(system.counters[0, MIGADDED])
        while process["rounds"][0] == rounds:
            system.advance(0.1)
        assert system.counters[0, MIGADDED] > listed
        assert mm["scans"][0] == mm["passes"][0] == mm["failure_percent"][0] == 0
        assert mm["period_ms"][0] == start["scan_period"] and mm["size_bytes"][0] == start["scan_size"]
        system.audit()


@both_models
def test_executed_anew_a_process_has_touched_nothing(system_type: type) -> None:
    scenario = beside("repeating", daemon=load_scenario("skewed").daemon, control="tunables")
    system = begin(system_type, scenario)
    while model_of(system).processes["rounds"][1] == 0:
        system.advance(0.01)
    if system_type is PagesSystem:
        pages = model_of(system)
        own = slice(int(pages.mms["first_page"][1]), int(pages.mms["end_page"][1]))
        assert (pages.next_access[own] >= scenario.corunners[0].workload.accesses_per_page).all()
    else:
        machine = model_of(system)
        first = int(machine.regions["first_lump"][machine.mms["first_region"][1]])
        hazard = machine.classes["hazard"][machine.counts[first:-1, CLASS]]
        assert (hazard - machine.clocks[first:, SLOW_CLOCK] < 1e4).all()


@both_models
def test_resident_are_the_processes_that_run_and_at_the_end_those_that_ran_last(system_type: type) -> None:
    own = beside("once").replace(corunners=[])
    assert set(resident_over(system_type, own)) == {own.pages}
    for lifetime in ("endless", "repeating"):
        both = beside(lifetime)
        assert set(resident_over(system_type, both)) == {both.pages} and both.pages > own.pages
    gone = resident_over(system_type, beside("once"))
    assert gone[0] == both.pages and set(gone) == {both.pages, own.pages} and gone == sorted(gone, reverse=True)
    late = beside("once", work=1e6)
    late = late.replace(corunners=[{**late.corunners[0].model_dump(), "start": "2s"}])
    assert resident_over(system_type, late)[:4] == [own.pages, own.pages, both.pages, both.pages]


def test_what_is_observed_follows_the_processes_that_run() -> None:
    scenario = beside("once", control="tunables", size="128MiB", fast_capacity="64MiB")
    task = simulated_task([scenario])
    column = [column.name for column in task.encoder.columns].index("resident")
    seen = [float(task.reset(np.array([0], np.uint64))[0][0, column])]
    is_over = False
    while not is_over:
        outcome = task.step(np.zeros((1, 3)))
        seen.append(float(outcome.observation[0, column]))
        is_over = bool(outcome.terminated[0])
    assert len(set(seen)) == 2 and seen[0] - seen[-1] == pytest.approx(np.log2(136 / 128) / 8, abs=1e-6)


def resident_over(system_type: type, scenario: Scenario) -> list[int]:
    """Resident pages at the start of a run and after every second of it."""
    system = begin(system_type, scenario)
    found = [int(system.resident_pages[0])]
    while not system.is_done[0]:
        system.advance(1.0)
        found.append(int(system.resident_pages[0]))
    return found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accesses_per_page": 100.0}, "lifetime=endless takes .* s at best; must take at least 1 s"),
        ({"threads": 1 << 19}, "on the slower tier all work together would take about"),
    ],
)
def test_what_goes_on_for_ever_is_neither_too_short_nor_too_much(changes: dict[str, float], message: str) -> None:
    workload = load_scenario("abench-8g").workload.model_copy(update={"accesses_per_page": 4e8} | changes)
    with pytest.raises(ConfigError, match=message):
        load_scenario("abench-64g").replace(corunners=[{"workload": workload, "size": "8GiB", "lifetime": "endless"}])


def test_the_slow_node_holds_all_where_a_process_is_executed_anew() -> None:
    with pytest.raises(ConfigError, match="of all processes would start, or start anew, on the slow node, which holds"):
        beside("repeating", slow_capacity="20MiB")
    assert beside("endless", slow_capacity="24MiB").slow_capacity


def test_bound_and_reference_are_those_of_the_application_beside_what_goes_on() -> None:
    endless, once = beside("endless"), beside("once", work=1e-3)
    assert all_fast_s(scenario_arrays(endless)) > 1.01 * all_fast_s(scenario_arrays(once))
    systems = [begin(LumpedSystem, scenario) for scenario in (endless, once)]
    bounds = [clairvoyant_bound_s(system, 0) for system in systems]
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-6)
    left = [float(system.remaining_s().max()) for system in systems]
    assert left[0] >= left[1] > 0 and np.isfinite(left).all()
