"""What workloads do by the clock: phases that end by time, loads, periodic processes, in both models."""

from typing import Any

import numpy as np
import pytest

from tests.sim.patches import PAGES, SYSTEMS, begin, classes, model_of, phases, small
from tierenv.counters import NUMA_PTE_UPDATES
from tierenv.errors import ConfigError
from tierenv.scenario import Process, Scenario, load_scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.parameters import access_time_s
from tierenv.task import simulated_task
from tierenv.units import PAGE_BYTES
from tierenv.workload import LoadStep

both_models = pytest.mark.parametrize("system_type", SYSTEMS)

THREADS, THINK_S = 4, 1e-3
IN_TURN = phases("one two", {"one": 1.0}, {"two": 1.0})


def steps(*load: tuple[float, float]) -> tuple[LoadStep, ...]:
    """A load of so many seconds at such a share, one after the other."""
    return tuple(LoadStep.model_construct(duration=duration, share=share) for duration, share in load)


def timed(*durations: float, load: tuple[tuple[float, float], ...] = (), seconds: float = 60.0, **changes: Any) -> Any:
    """A workload that computes more than it reads: its phases last so long, and all of it `seconds` at full load."""
    pairs = zip(IN_TURN, durations, strict=False)
    own = tuple(phase.model_copy(update={"duration": duration}) for phase, duration in pairs)
    return {
        "classes": classes(one=0.5, two=0.5),
        "phases": own or IN_TURN,
        "load": steps(*load),
        "threads": THREADS,
        "think": THINK_S,
        "accesses_per_page": seconds * THREADS / THINK_S / PAGES,
        "initial_placement": "random",
    } | changes


def alone(workload: dict[str, Any], **changes: Any) -> Scenario:
    """A machine that nobody controls, on which all pages are fast."""
    return small(workload=workload, control="off", **changes)


def full_rate(scenario: Scenario, process_index: int = 0) -> float:
    """Accesses a second of a process of all whose pages are fast, at full load."""
    process = scenario.processes[process_index]
    return process.threads / float(access_time_s(scenario, 1.0, process_index))


@both_models
def test_phases_follow_each_other_by_the_clock_and_begin_again_until_the_work_is_done(system_type: type) -> None:
    scenario = alone(timed(3.0, 2.0))
    system = begin(system_type, scenario)
    process = model_of(system).processes
    for half_seconds in range(1, 50):
        system.advance(0.5)
        expected = 0 if (half_seconds * 0.5) % 5.0 < 3.0 else 1
        assert process["phase"][0] == expected, half_seconds
        assert process["phase_until_s"][0] > system.elapsed_s[0]
        system.audit()
    system.run_to_end()
    assert system.elapsed_s[0] == pytest.approx(scenario.total_accesses / full_rate(scenario), rel=1e-6)
    assert process["rounds"][0] == 0


@both_models
def test_a_phase_has_the_accesses_of_its_time_wherever_the_caller_stops(system_type: type) -> None:
    scenario = alone(timed(3.0, 2.0))
    rate = full_rate(scenario) / (PAGES / 2)
    found = []
    for step_s in (0.3, 3.0, 7.77):
        system = begin(system_type, scenario)
        while system.elapsed_s[0] < 23.0:
            system.advance(min(step_s, 23.0 - system.elapsed_s[0]))
        machine = model_of(system)
        hazard = machine.hazard if system_type is not LumpedSystem else machine.classes["hazard"]
        found.append(hazard[:2] / rate)
    np.testing.assert_allclose(found, [[15.0, 8.0]] * 3, rtol=1e-6)


@both_models
def test_drawn_lengths_are_the_same_in_every_round(system_type: type) -> None:
    system = begin(system_type, alone(timed(3.0, 2.0, phase_length_jitter=0.5)))
    process, changes, last = model_of(system).processes, [], 0
    while len(changes) < 7:
        system.advance(0.01)
        if process["phase"][0] != last:
            changes.append(float(system.elapsed_s[0]))
            last = int(process["phase"][0])
    lengths = np.diff(changes)
    assert lengths[0::2] == pytest.approx(lengths[0], abs=0.021) and lengths[1::2] == pytest.approx(
        lengths[1], abs=0.021
    )
    assert 1.0 < lengths[0] < 3.0 and lengths[0] != pytest.approx(2.0, abs=0.02)  # the second phase, not at its mean


@both_models
def test_a_load_lets_its_share_of_the_threads_work_and_repeats(system_type: type) -> None:
    scenario = alone(timed(load=((2.0, 1.0), (3.0, 0.25))))
    system = begin(system_type, scenario)
    process, rate = model_of(system).processes, full_rate(scenario)
    before = 0.0
    for second in range(1, 13):
        system.advance(1.0)
        expected = 1.0 if (second - 1) % 5 < 2 else 0.25
        assert process["accesses"][0] - before == pytest.approx(rate * expected, rel=1e-3), second
        before = float(process["accesses"][0])
        system.audit()
    system.run_to_end()
    done_s = scenario.workload.loaded_s(scenario.total_accesses / rate)
    assert system.elapsed_s[0] == pytest.approx(done_s, rel=1e-3)
    assert system.reference_s[0] == pytest.approx(system.elapsed_s[0], rel=1e-6)


def test_time_at_a_load_is_that_of_its_steps() -> None:
    workload = load_scenario("skewed").workload.model_copy(update={"load": steps((2.0, 1.0), (4.0, 0.5))})
    times = [workload.loaded_s(seconds) for seconds in (0.0, 1.0, 2.0, 2.5, 4.0, 5.0, 41.0)]
    assert times == pytest.approx([0.0, 1.0, 2.0, 3.0, 6.0, 7.0, 61.0])
    assert workload.mean_load == pytest.approx(4 / 6)
    assert load_scenario("skewed").workload.loaded_s(3.0) == 3.0


@both_models
def test_windows_of_numa_balancing_come_as_the_running_threads_have_time(system_type: type) -> None:
    platform = {"numa_start_period_factor": 1.0}
    marked = {}
    for share in (1.0, 0.05):  # 4 threads, or a fifth of one, of which each takes a window in a second of its own
        workload = timed(load=((1000.0, share),), initial_placement="slow", seconds=1000.0)
        scenario = alone(workload, platform=platform, numa_balancing_mode=2, fast_capacity=64 * PAGE_BYTES)
        knobs = {"scan_size": 64 * PAGE_BYTES, "promote_rate_limit": 0.0, "scan_period_min": 8.0, "spare": 0}
        numa = scenario.numa_balancing.model_copy(update=knobs)
        system = begin(system_type, scenario.model_copy(update={"numa_balancing": numa}))
        system.advance(11.5)
        marked[share] = int(system.counters[0, NUMA_PTE_UPDATES])
    assert (marked[1.0], marked[0.05]) == (pytest.approx(11 * 64, abs=2), pytest.approx(3 * 64, abs=2))


def with_another(lifetime: str, seconds: float, **changes: Any) -> Scenario:
    """A machine on which another process runs beside the application, which takes 60 s."""
    own = alone(timed())
    fields = timed(seconds=2 * seconds, initial_placement="slow") | changes.pop("also", {})
    other = own.workload.model_copy(update=fields)
    corunner = Process.model_construct(workload=other, size=PAGES // 2 * PAGE_BYTES, lifetime=lifetime, **changes)
    return own.model_copy(update={"corunners": (corunner,)})


@both_models
def test_a_periodic_process_is_executed_at_multiples_of_its_period_and_holds_memory_only_while_it_runs(
    system_type: type,
) -> None:
    scenario = with_another("periodic", seconds=3.0, every=10.0, start=4.0)
    system = begin(system_type, scenario)
    while system.elapsed_s[0] < 55.0:
        system.advance(0.5)
        since_s = (system.elapsed_s[0] - 4.0) % 10.0
        if min(abs(since_s - edge) for edge in (0.0, 3.0, 10.0)) < 0.4:
            continue
        runs = system.elapsed_s[0] > 4.0 and since_s < 3.0
        assert bool(model_of(system).processes["is_running"][1]) == runs, system.elapsed_s
        assert system.resident_pages[0] == PAGES + runs * PAGES // 2
        system.audit()
    assert model_of(system).processes["rounds"][1] == 5
    system.run_to_end()
    system.audit()
    assert system.resident_pages[0] == PAGES + PAGES // 2 * bool((system.elapsed_s[0] - 4.0) % 10.0 < 3.0)


@both_models
def test_one_that_is_late_waits_for_the_next_multiple(system_type: type) -> None:
    system = begin(system_type, with_another("periodic", seconds=3.5, every=3.0))
    process, starts = model_of(system).processes, set()
    for _ in range(80):
        system.advance(0.25)
        starts.add(float(process["start_s"][1]))
    assert sorted(starts) == pytest.approx([0.0, 6.0, 12.0, 18.0, 24.0][: len(starts)])
    assert len(starts) >= 4


@both_models
def test_an_endless_process_goes_on_by_its_clock_and_one_executed_anew_begins_its_clock_anew(system_type: type) -> None:
    changes = {"phases": timed(2.0, 2.0)["phases"]}
    for lifetime, phase, until_s in (("endless", 1, 4.0), ("repeating", 0, 5.0)):
        system = begin(system_type, with_another(lifetime, seconds=3.0, also=changes))
        process = model_of(system).processes
        while process["rounds"][1] == 0:
            system.advance(0.01)
        system.advance(0.5)
        assert process["phase"][1] == phase
        assert process["phase_until_s"][1] == pytest.approx(until_s, abs=0.05)


def test_what_is_left_is_finite_and_falls_as_time_goes_by() -> None:
    scenario = load_scenario("skewed")
    workload = scenario.workload.model_copy(
        update={"phases": (scenario.workload.phases[0].model_copy(update={"duration": 5.0}),)}
    )
    for load in ((), steps((3.0, 1.0), (2.0, 0.5))):
        one = scenario.model_copy(update={"workload": workload.model_copy(update={"load": load})})
        task = simulated_task([one], shaping_gamma=1.0)
        task.reset(np.array([0], np.uint64))
        left = []
        for _ in range(20):
            outcome = task.step(np.zeros((1, 3)))
            left.append(float(task.system.remaining_s()[0, 0]))
            assert np.isfinite(outcome.reward).all()
        # by the average load, so that it falls by more or less than a step's time, but always
        assert (np.diff(left) < 0).all() and left[0] < 2 * task.system.reference_s[0]
        assert -np.diff(left).mean() == pytest.approx(2.0, rel=0.25)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"phases": [{"duration": "1ms"}]},
            r"phases: those of workload .* last 0.001 s on average; must last at least",
        ),
        (
            {"load": [{"duration": "1ms", "share": 1.0}]},
            "load: those of workload .* last 0.001 s on average; must last",
        ),
        ({"load": [{"duration": "1s", "share": 0}]}, "load.0.share=0: must be greater than or equal to 1e-06"),
        ({"load": [{"duration": "1s", "share": 1.5}]}, "load.0.share=1.5: must be less than or equal to 1"),
        ({"load": [{"duration": "0s", "share": 1}]}, "load.0.duration='0s': must be greater than or equal to 1ms"),
        ({"phases": [{"duration": "1s"}, {}]}, "phases.p1.duration: is missing; all phases must have one, or none"),
        ({"phases": [{"duration": "1s", "work": 2}]}, "phases.p0.work=2: a phase with a duration ends by time; leave"),
        ({"phases": [{"absent": ["none"]}]}, "phases.p0.absent: unknown class none; known: hot, warm, cool, cold"),
        ({"phases": [{"absent": ["hot"]}]}, r"phases.p0.access_share.hot=1: must be 0 for a class that is absent"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any], message: str) -> None:
    fields = {
        "phases": [
            {"name": f"p{index}", "access_share": {"hot": 1.0}} | phase
            for index, phase in enumerate(fields.get("phases", [{}]))
        ]
    } | {key: value for key, value in fields.items() if key != "phases"}
    with pytest.raises(ConfigError, match=message):
        load_scenario("skewed").replace(workload=load_scenario("skewed").workload.model_dump() | fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lifetime": "periodic"}, "every: is missing; a process with lifetime=periodic must have one"),
        ({"every": "10s"}, "every=10s: must be left out where lifetime=once"),
        ({"lifetime": "periodic", "every": "100ms"}, "every='100ms': must be greater than or equal to 1"),
    ],
)
def test_only_a_periodic_process_has_a_period(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_scenario("skewed").replace(corunners=[{"workload": "abench", "size": "1GiB"} | fields])


def test_a_load_makes_a_run_as_much_longer_for_the_limit_of_a_day() -> None:
    scenario = load_scenario("abench-64g")
    slow = {"load": [{"duration": "60min", "share": 0.001}]}
    with pytest.raises(ConfigError, match="must take at most a day"):
        scenario.replace(workload=scenario.workload.model_dump() | slow)
