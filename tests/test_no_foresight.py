"""The estimate without foresight: closed forms, laws, and what it has in common with bound and model."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tierenv.bounds import clairvoyant_bound_s
from tierenv.daemon import load_daemon
from tierenv.finding import AccessedBits, HintFaults, Look, Memory, ways_to_find
from tierenv.no_foresight import Episode, Fluid, no_foresight_s
from tierenv.scenario import Scenario, load_scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.units import PAGE_BYTES

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
    workload = scenario.workload.model_dump() | {"classes": classes, "phases": phases}
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
    hot, cold = workload["classes"]
    workload["classes"] = [hot | {"fast_at_start": 1.0}, cold | {"fast_at_start": 0.0}]
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


@settings(max_examples=10)
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
        | ({"duration": "10s"} if is_timed else {})
        for index, shares in enumerate(phases)
    ]
    steps = [{"duration": "5s", "share": 1.0}, {"duration": "3s", "share": 0.4}] if load else []
    workload = scenario.workload.model_dump() | {"phases": rows, "load": steps, "accesses_per_page": 400}
    scenario = scenario.replace(workload=workload, fast_capacity=f"{int(fast_share * scenario.size)}B")
    system = machine(scenario.under(load_daemon(daemon)))
    estimate_s = no_foresight_s(system, 0)
    assert clairvoyant_bound_s(system, 0) <= estimate_s * (1 + 1e-3)
    assert estimate_s <= Fluid(Episode.of(system, 0), None).run_s()


@pytest.mark.parametrize("objective", ["mean-slowdown", "access-time"])
def test_there_is_none_for_what_is_no_time(objective: str) -> None:
    with pytest.raises(ValueError, match="bounds hold for times"):
        no_foresight_s(machine(load_scenario("skewed").replace(objective=objective)), 0)


def test_without_demotion_only_what_is_free_is_used() -> None:
    scenario = load_scenario("skewed")
    finder = next(iter(ways_to_find(scenario)))
    still_s = run_s(scenario, None)
    assert run_s(scenario, finder) < 0.95 * still_s
    assert 0.98 * still_s < run_s(scenario.replace(demotion=False), finder)


# What a daemon finds


def memory(hazard_per_s: Floats, free: float = math.inf, **changes: Any) -> Memory:
    """Returns a process of 32 threads whose classes have a million slow pages each."""
    pages = np.full(len(hazard_per_s), 1e6)
    fields = {
        "slow": pages,
        "pages": pages,
        "hazard_per_s": hazard_per_s,
        "is_swept": np.zeros(len(pages), dtype=bool),
        "owner": np.zeros(len(pages), dtype=np.int64),
        "threads": np.array([32.0]),
        "free": free,
        "since_start_s": np.array([1e6]),
    }
    return Memory(**fields | changes)  # type: ignore[arg-type]


SKEWED = load_scenario("skewed")


@given(rate=st.floats(0.01, 100), window_s=st.floats(0.1, 5), needed=st.integers(1, 8))
def test_a_test_of_several_windows_passes_pages_touched_in_each(rate: float, window_s: float, needed: int) -> None:
    finder = AccessedBits(SKEWED, window_s, needed, 2.0)
    listed = finder.look(memory(np.array([rate])), rounds=1).pages[0]
    assert listed == pytest.approx(1e6 * (1 - math.exp(-rate * window_s)) ** needed, abs=1e-6)
    both = finder.look(memory(np.array([rate])), rounds=2).pages[0]
    assert both == pytest.approx(2 * listed - listed**2 / 1e6, abs=1e-6)


def test_sweeps_touch_every_page_in_their_time() -> None:
    swept = memory(np.array([0.5, 3.0]), is_swept=np.array([True, True]))
    np.testing.assert_allclose(swept.touched(1.0), [0.5, 1.0])


def test_more_windows_list_less_that_is_warm_and_take_longer() -> None:
    heats = np.array([80.0, 5.0])
    finders = [AccessedBits(SKEWED, 0.25, needed, 2.0) for needed in (1, 2, 4, 8)]
    looks = [finder.look(memory(heats), rounds=1) for finder in finders]
    assert (np.diff([look.pages[1] / look.pages.sum() for look in looks]) < 0).all()
    assert (np.diff([finder.delay_s for finder in finders]) > 0).all()
    assert (np.diff([look.lost_s[0] for look in looks]) > 0).all()


def test_an_access_threshold_is_a_choice_more() -> None:
    scenario = load_scenario("moving-hot-set")
    with_threshold = scenario.under(load_daemon("kmmscand-threshold"))
    assert {finder.needed for finder in ways_to_find(scenario)} == {2}  # type: ignore[attr-defined]
    assert {2, 16} < {finder.needed for finder in ways_to_find(with_threshold)}  # type: ignore[attr-defined]
    system = machine(with_threshold)
    assert no_foresight_s(system, 0) < min(run_s(scenario, finder) for finder in ways_to_find(scenario))


@pytest.mark.parametrize(
    "name", ["kmmscand-tunable", "kmmscand-threshold", "kmmscand-v1", "numa-balancing", "numab2", "numab1"]
)
def test_ways_keep_within_what_the_daemon_allows(name: str) -> None:
    daemon = load_daemon(name)
    for finder in ways_to_find(load_scenario("skewed").under(daemon)):
        if isinstance(finder, AccessedBits):
            assert daemon.tunables["scan_period"].min <= 1e3 * finder.window_s
            assert 1e3 * finder.watch_s <= daemon.tunables["scan_period"].max
            assert "access_threshold" in daemon.tunables or finder.needed <= 2
        elif isinstance(finder, HintFaults) and daemon.tunables:
            bounds = daemon.tunables["hot_threshold"]
            assert bounds.min * (1 - 1e-9) <= 1e3 * finder.threshold_s <= bounds.max * (1 + 1e-9)


def test_the_scanner_is_no_faster_than_period_and_walk() -> None:
    scenario = load_scenario("abench-64g")
    walk_s = scenario.size / PAGE_BYTES * scenario.platform.scan_per_page
    chunks = 4  # of 16 GiB, the largest
    shortest_s = min(finder.window_s for finder in ways_to_find(scenario))  # type: ignore[attr-defined]
    assert chunks * 0.1 + walk_s <= shortest_s < chunks * (0.1 + 0.016) + walk_s + 1e-9


def test_marking_keeps_its_pace_and_promotions_their_room() -> None:
    scenario = load_scenario("moving-hot-set").under(load_daemon("numa-balancing"))
    heats = np.array([80.0, 0.1])
    for window_mib in (16, 256, 1024):
        finder = HintFaults(scenario, 0.1, (window_mib << 20) // PAGE_BYTES)
        roomy = finder.look(memory(heats), rounds=1)
        # 2.5 GiB a second are marked at most
        assert roomy.seconds > 2e6 / (2.5 * (1 << 30) / PAGE_BYTES) - 0.51
        assert roomy.pages[0] == pytest.approx(1e6 * (1 - math.exp(-8)))
        full = finder.look(memory(heats, free=0.0), rounds=1)
        assert full.pages.sum() <= roomy.pages.sum()
    # what a large window finds at once does not find room
    assert full.pages.sum() < 0.5 * roomy.pages.sum()


def test_the_first_pass_of_hint_faults_has_its_own_pace() -> None:
    scenario = load_scenario("moving-hot-set").under(load_daemon("numa-balancing"))
    finder = HintFaults(scenario, 0.1, (256 << 20) // PAGE_BYTES)
    heats = np.array([80.0, 0.1])
    later = finder.look(memory(heats), rounds=1)
    first = finder.look(memory(heats, since_start_s=np.array([1.0])), rounds=1)
    assert first.seconds > 20 * later.seconds  # 2.357 s a window in place of 0.1 s
    np.testing.assert_allclose(first.pages, later.pages)
    half = finder.look(memory(heats, since_start_s=np.array([1.0 + first.seconds / 2])), rounds=1)
    assert half.pages[0] == pytest.approx(first.pages[0] / 2, rel=0.05)
