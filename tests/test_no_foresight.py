"""The estimate without foresight: closed forms, laws, and what it has in common with bound and model."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tierenv.bounds import clairvoyant_bound_s
from tierenv.daemon import load_daemon
from tierenv.finding import Look, Memory
from tierenv.no_foresight import Episode, Fluid, no_foresight_s
from tierenv.scenario import Scenario, load_scenario
from tierenv.sim.lumped.system import LumpedSystem

Floats = NDArray[np.float64]


class Perfect:
    """Knows after a time what is hot, lists that alone, and looks for nothing.

    Args:
        scenario: of one process.
        delay_s: until it knows.
        hot: names of the classes that are worth it.
    """

    def __init__(self, scenario: Scenario, delay_s: float, hot: str) -> None:
        self.first_delay_s = self.delay_s = delay_s
        self.promotions_per_s = 1 / scenario.migration_s
        self.lost_per_promotion_s = np.array([scenario.platform.shootdown_receiver])
        self._is_hot = np.array([page_class.name in hot for page_class in scenario.workload.classes])

    def look(self, memory: Memory, rounds: int) -> Look:
        """Everything hot that is slow."""
        return Look(memory.slow * self._is_hot, 1e-6, np.zeros(1))

    def watching(self, memory: Memory) -> Floats:
        """Nothing."""
        return np.zeros(1)


def machine(scenario: Scenario, seed: int = 7) -> LumpedSystem:
    """Returns one machine at the start of an episode."""
    system = LumpedSystem([scenario])
    system.reset(np.array([seed], np.uint64), ["training"])
    return system


def two_classes(**changes: Any) -> Scenario:
    """Returns a scenario with one phase: an eighth of the pages takes all accesses, and fits the fast tier."""
    scenario = load_scenario("skewed")
    classes = [{"name": "hot", "fraction": 0.125}, {"name": "cold", "fraction": 0.875}]
    phases = [{"name": "run", "access_share": {"hot": 1.0, "cold": 0.0}}]
    workload = scenario.workload.model_copy(update={}).model_dump() | {"classes": classes, "phases": phases}
    return scenario.replace(**{"workload": workload} | changes)


def run_s(scenario: Scenario, finder: Any) -> float:
    """Returns the time of one episode with a way to find pages."""
    return Fluid(Episode.of(machine(scenario), 0), finder).run_s()


@pytest.mark.parametrize("start", ["slow", "random"])
def test_without_delay_and_doubt_one_phase_is_as_the_clairvoyant_has_it(start: str) -> None:
    scenario = two_classes()
    workload = scenario.workload.model_dump() | {"initial_placement": start}
    scenario = scenario.replace(workload=workload)
    bound_s = clairvoyant_bound_s(machine(scenario), 0)
    assert run_s(scenario, Perfect(scenario, 0.0, "hot")) == pytest.approx(bound_s, rel=1e-3)
    assert run_s(scenario, Perfect(scenario, 30.0, "hot")) > bound_s * 1.01


@settings(max_examples=15)
@given(delays=st.lists(st.floats(0.0, 250.0), min_size=2, max_size=2).map(sorted))
def test_in_one_phase_knowing_later_never_helps(delays: list[float]) -> None:
    scenario = two_classes()
    earlier, later = (run_s(scenario, Perfect(scenario, delay_s, "hot")) for delay_s in delays)
    assert earlier <= later * (1 + 1e-9)
    assert later <= run_s(scenario, None) * (1 + 1e-9)


def test_until_it_is_known_what_is_hot_work_goes_on_at_the_placement_as_it_is() -> None:
    scenario = two_classes()
    still_s, prompt_s = run_s(scenario, None), run_s(scenario, Perfect(scenario, 0.0, "hot"))
    late_s = run_s(scenario, Perfect(scenario, 100.0, "hot"))
    # what is done in the delay is done at the pace of no migration, the rest as if it had begun then
    assert late_s == pytest.approx(prompt_s + 100.0 * (1 - _pace(scenario) / still_s), rel=2e-3)


def _pace(scenario: Scenario) -> float:
    """Returns the time of a run whose hot pages are fast from the beginning [s]."""
    workload = scenario.workload.model_dump()
    workload["classes"] = [
        {**workload["classes"][0], "fast_at_start": 1.0},
        {**workload["classes"][1], "fast_at_start": 0.0},
    ]
    return run_s(scenario.replace(workload=workload), None)


@pytest.mark.parametrize("name", ["skewed", "moving-hot-set", "noisy-neighbour", "pmbench", "abench-8g"])
def test_where_nothing_moves_the_fluid_is_the_model(name: str) -> None:
    scenario = load_scenario(name)
    off = machine(scenario.replace(control="off"))
    fluid_s = Fluid(Episode.of(off, 0), None).run_s()
    off.run_to_end()
    assert fluid_s == pytest.approx(off.elapsed_s[0], rel=1e-5)


LIVES = [
    {"lifetime": "endless"},
    {"lifetime": "repeating"},
    {"lifetime": "periodic", "every": "60s"},
    {"start": "20s"},
]


@pytest.mark.parametrize("life", LIVES, ids=str)
def test_where_nothing_moves_others_live_as_in_the_model(life: dict[str, Any]) -> None:
    skewed = load_scenario("skewed")
    load = [{"duration": "7s", "share": 1.0}, {"duration": "5s", "share": 0.3}]
    workload = load_scenario("abench-8g").workload.model_dump() | {"load": load, "accesses_per_page": 3000}
    scenario = skewed.replace(corunners=[{"workload": workload, "size": "4GiB"} | life], control="off")
    system = machine(scenario)
    fluid_s = Fluid(Episode.of(system, 0), None).run_s()
    system.run_to_end()
    assert fluid_s == pytest.approx(system.elapsed_s[0], rel=1e-3)


SHARES = st.lists(st.floats(0.01, 1), min_size=4, max_size=4).map(lambda parts: [part / sum(parts) for part in parts])


@settings(max_examples=12, deadline=None)
@given(
    phases=st.lists(SHARES, min_size=1, max_size=3),
    fast_share=st.floats(0.05, 1.2),
    daemon=st.sampled_from(["kmmscand-tunable", "kmmscand-v1", "numa-balancing", "numab1"]),
    is_timed=st.booleans(),
    load=st.booleans(),
)
def test_it_lies_between_clairvoyant_and_no_migration(
    phases: list[list[float]], fast_share: float, daemon: str, is_timed: bool, load: bool
) -> None:
    scenario = load_scenario("skewed")
    names = [page_class.name for page_class in scenario.workload.classes]
    rows = [
        {"name": str(index), "access_share": dict(zip(names, shares, strict=True))}
        | ({"duration": "20s"} if is_timed else {})
        for index, shares in enumerate(phases)
    ]
    steps = [{"duration": "9s", "share": 1.0}, {"duration": "6s", "share": 0.4}] if load else []
    workload = scenario.workload.model_dump() | {"phases": rows, "load": steps, "accesses_per_page": 800}
    scenario = scenario.replace(workload=workload, fast_capacity=f"{int(fast_share * scenario.size)}B")
    system = machine(scenario.under(load_daemon(daemon)))
    estimate_s = no_foresight_s(system, 0)
    assert clairvoyant_bound_s(system, 0) <= estimate_s * (1 + 1e-3)
    assert estimate_s <= Fluid(Episode.of(system, 0), None).run_s()
