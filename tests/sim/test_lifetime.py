"""Processes that begin again until those end that the run waits for, in both models."""

from typing import Any

import numpy as np
import pytest

from tests.sim.patches import SYSTEMS, begin, model_of
from tests.tiny import tiny
from tierenv.bounds import clairvoyant_bound_s
from tierenv.counters import DEMOTED, PGPROMOTE_SUCCESS
from tierenv.scenario import Scenario, load_scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.pages.system import PagesSystem
from tierenv.sim.parameters import all_fast_s, scenario_arrays

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
    system = run(system_type, scenario)
    assert model_of(system).processes["rounds"][1] > 3
    assert model_of(system).mms["scans"][1] < model_of(system).mms["scans"][0]


def test_bound_and_reference_are_those_of_the_application_beside_what_goes_on() -> None:
    endless, once = beside("endless"), beside("once", work=1e-3)
    assert all_fast_s(scenario_arrays(endless)) >= all_fast_s(scenario_arrays(once))
    systems = [begin(LumpedSystem, scenario) for scenario in (endless, once)]
    bounds = [clairvoyant_bound_s(system, 0) for system in systems]
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-6)
    left = [float(system.remaining_s()[0]) for system in systems]
    assert left[0] >= left[1] > 0 and np.isfinite(left).all()
