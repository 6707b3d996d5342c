"""A seed decides everything: alone or in a batch, for any number of threads; and the resolution decides little."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.sim import machines
from tests.sim.conformance import changing
from tests.sim.machines import process_of, start, with_workload, without_variation
from tierenv.counters import DEMOTED, MIGRATED
from tierenv.daemon import load_daemon
from tierenv.scenario import Scenario, load_scenario
from tierenv.shrink import (
    shrink,
)
from tierenv.sim import threads
from tierenv.sim.lumped import engine
from tierenv.sim.lumped.system import MAX_SUBSTEP_S, SERVER_QUANTUM_S, LumpedSystem
from tierenv.sim.pages.system import (
    PagesSystem,
)
from tierenv.units import GIB, MIB

SEEDS = np.arange(100, 111, dtype=np.uint64)
STEPS = 12
INTERVAL_S = 2.0
MOST_PROCESSES = 3


def mixed_scenarios() -> list[Scenario]:
    """Scenarios that differ in everything: classes, phases, daemon, control, regions, NUMA balancing, processes, nodes.

    The corunners of a machine start or finish within the steps, or both; those of the last come and go all the time.
    """
    v0, v1, v3 = (load_daemon(name) for name in ("kmmscand-v0", "kmmscand-v1", "kscand-v3"))
    abench, skewed = load_scenario("abench-8g"), load_scenario("skewed")
    moving = with_workload(load_scenario("moving-hot-set"), accesses_per_page=200.0)
    short = process_of(with_workload(abench, accesses_per_page=2000.0), size="2GiB")
    from_slow = with_workload(skewed, initial_placement="slow")
    late = process_of(from_slow, size="4GiB", start="7s", cpu_node=1, scan_scale=3)
    beside = process_of(skewed, size="1GiB", cpu_node=1)
    two_nodes = {"fast_capacity": "3GiB", "remote_fast_capacity": "2GiB"}
    return [
        skewed,
        load_scenario("abench-8g").replace(daemon=v1, control="kernel-rule", numa_balancing_mode=1),
        load_scenario("moving-hot-set").replace(regions=8),
        load_scenario("abench-16g").replace(control="off", numa_balancing_mode=2),
        load_scenario("moving-hot-set").replace(daemon=v1, control="kernel-rule"),
        load_scenario("abench-64g"),
        skewed.replace(daemon=v0, control="kernel-rule", corunners=[short], target_node=1, **two_nodes),
        skewed.replace(daemon=v3, control="tunables", corunners=[short, late], numa_balancing_mode=1, **two_nodes),
        moving.replace(corunners=[beside, late], numa_balancing_mode=2, **two_nodes),
        abench.replace(daemon=v3, control="kernel-rule", scan_scale=10, size="2GiB", fast_capacity="1GiB"),
        changing(),
    ]


def settings(seed: int) -> NDArray[np.float64]:
    """Random tunables for every step of an episode: float64[STEPS, len(TUNABLES)]."""
    rng = np.random.default_rng(seed)
    bounds = np.array([(100, 20_000), (256 * MIB, 16 * GIB), (MIB, 4 * GIB)]).T
    tunables = np.exp(rng.uniform(*np.log(bounds), size=(STEPS, 3)))
    tunables[rng.random(STEPS) < 0.3, 2] = np.inf
    tunables[rng.random(STEPS) < 0.1, 2] = 0.0
    return np.concatenate([machines.setting(*row) for row in tunables])


def trajectory(system: LumpedSystem, seeds: NDArray[np.uint64]) -> list[NDArray[np.float64]]:
    """Everything a system tells, per machine, after every step: one float64[STEPS, columns] per machine."""
    system.reset(seeds, ["training"] * len(seeds))
    tunables = np.stack([settings(int(seed)) for seed in seeds], axis=1)
    steps = []
    for step in range(STEPS):
        system.apply(tunables[step])
        system.advance(INTERVAL_S)
        columns = (system.counters, system.model, system.tunables, system.elapsed_s[:, None], system.work_done[:, None])
        finished_s = system.finished_s
        finished_s = np.pad(finished_s, ((0, 0), (0, MOST_PROCESSES - finished_s.shape[1])))
        steps.append(np.hstack((*columns, finished_s)))
    return list(np.stack(steps, axis=1))


def test_corunners_start_and_finish_within_the_steps() -> None:
    for scenario, seed in zip(mixed_scenarios()[:-1], SEEDS[:-1], strict=True):
        if scenario.corunners:
            system = start(scenario, int(seed))
            system.advance(STEPS * INTERVAL_S)
            assert all(process.start < STEPS * INTERVAL_S for process in scenario.processes)
            assert 0 < np.count_nonzero(system.finished_s) < len(scenario.processes)


@pytest.fixture(scope="module")
def alone() -> list[NDArray[np.float64]]:
    """The trajectories of the mixed scenarios, each on a system of its own."""
    pairs = zip(mixed_scenarios(), SEEDS, strict=True)
    return [trajectory(LumpedSystem([scenario]), np.array([seed]))[0] for scenario, seed in pairs]


@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_trajectories_are_the_same_alone_and_in_a_batch(
    alone: list[NDArray[np.float64]], num_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_num_threads", num_threads)
    monkeypatch.setattr(threads, "WORTH_SHARING_S", 0.0)
    for one, other in zip(alone, trajectory(LumpedSystem(mixed_scenarios()), SEEDS), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("own_block", [0, 1, 2])
def test_it_does_not_matter_which_machine_is_advanced_first(own_block: int) -> None:
    systems = [LumpedSystem([load_scenario("skewed")] * 4) for _ in range(2)]
    for system in systems:
        system.reset(SEEDS[:4], ["training"] * 4)
    systems[0].advance(10.0)
    engine.advance_some(systems[1]._machines, 10.0, np.zeros(3 * 8, dtype=np.int64), own_block)
    np.testing.assert_array_equal(systems[0].counters, systems[1].counters)


def test_trajectories_do_not_depend_on_what_ran_before(alone: list[NDArray[np.float64]]) -> None:
    system = LumpedSystem([mixed_scenarios()[0]])
    trajectory(system, np.array([7], np.uint64))
    np.testing.assert_array_equal(trajectory(system, SEEDS[:1])[0], alone[0])


def test_another_seed_is_another_trajectory(alone: list[NDArray[np.float64]]) -> None:
    other = trajectory(LumpedSystem([mixed_scenarios()[0]]), np.array([7], np.uint64))[0]
    assert (other[:, [MIGRATED, DEMOTED]] != alone[0][:, [MIGRATED, DEMOTED]]).any()


def test_a_masked_reset_leaves_the_other_machines_alone() -> None:
    scenarios = [load_scenario("skewed")] * 3
    system, undisturbed = LumpedSystem(scenarios), LumpedSystem(scenarios)
    for each in (system, undisturbed):
        each.reset(SEEDS[:3], ["training"] * 3)
        each.advance(4.0)
    system.reset(SEEDS[3:], ["training"] * 3, mask=np.array([False, True, False]))
    assert system.elapsed_s.tolist() == [4.0, 0.0, 4.0]
    for each in (system, undisturbed):
        each.advance(4.0)
    np.testing.assert_array_equal(system.counters[[0, 2]], undisturbed.counters[[0, 2]])
    fresh = start(scenarios[0], int(SEEDS[4]))
    fresh.advance(4.0)
    np.testing.assert_array_equal(system.counters[1], fresh.counters[0])


def test_the_pages_model_is_determined_by_its_seed() -> None:
    system = PagesSystem(shrink(load_scenario("skewed"), 2048))
    runs = []
    for seed in (1, 1, 2):
        system.reset(np.array([seed], np.uint64), ["training"])
        system.advance(20.0)
        runs.append(system.counters[0].tolist())
    assert runs[0] == runs[1] != runs[2]


def mean_completion_s(scenario: Scenario, setting: tuple[float, float, float], **resolution: float) -> float:
    seconds = []
    for seed in range(4):
        system = start(scenario, seed, **resolution)
        system.apply(machines.setting(*setting))
        system.run_to_end()
        seconds.append(system.elapsed_s[0])
    return float(np.mean(seconds))


THRASH = (500.0, 4.0 * GIB, np.inf)
BUDGET = (500.0, 16.0 * GIB, 256.0 * MIB)


@pytest.mark.parametrize("name", ["skewed", "moving-hot-set"])
@pytest.mark.parametrize("setting", [THRASH, BUDGET], ids=["thrash", "budget"])
@pytest.mark.parametrize("finer", [{"max_substep_s": MAX_SUBSTEP_S / 2}, {"server_quantum_s": SERVER_QUANTUM_S / 2}])
def test_halving_the_resolution_moves_completion_by_less_than_half_a_percent(
    name: str, setting: tuple[float, float, float], finer: dict[str, float]
) -> None:
    scenario = without_variation(name)
    shipped_s = mean_completion_s(scenario, setting)
    assert mean_completion_s(scenario, setting, **finer) == pytest.approx(shipped_s, rel=0.005)
