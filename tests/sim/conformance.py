"""What every `tierenv.system.System` promises, and what a modelled one promises beyond a kernel.

A system passes by a class that inherits one of these and says how to make it.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.sim.machines import with_workload
from tierenv.counters import COUNTERS, NUM_COUNTERS
from tierenv.daemon import load_daemon
from tierenv.features import TIER_FACTS
from tierenv.scenario import Scenario, load_scenario
from tierenv.shrink import shrink
from tierenv.tunables import TUNABLES
from tierenv.workload import LoadStep, Phase

PAGES = 2048
STEP_S = 0.5
STEPS = 12
GROWING = np.array([not counter.is_gauge for counter in COUNTERS])
TELLS = (
    *("counters", "tunables", "elapsed_s", "is_done", "resident_pages", "fast_capacity_pages", "tier_facts"),
    "reference_s",
)

Told = dict[str, NDArray[Any]]


def tuned(name: str = "moving-hot-set", **changes: object) -> Scenario:
    """Returns a small machine whose tunables are the caller's."""
    return shrink(with_workload(load_scenario(name), accesses_per_page=2e4).replace(**changes), PAGES)


def patient() -> Scenario:
    """Returns a small machine whose daemon counts for how many windows in a row a page was accessed."""
    return tuned("skewed", daemon=load_daemon("kmmscand-threshold"))


def ruled() -> Scenario:
    """Returns a small machine whose kernel follows its own rule, and whose daemon lacks a tunable."""
    return tuned("skewed", daemon=load_daemon("kmmscand-v1"), control="kernel-rule")


def faulting() -> Scenario:
    """Returns a small machine whose daemon promotes at hint faults, and has no tunables."""
    return tuned("skewed", daemon=load_daemon("numab2"), control="kernel-rule")


def left_alone() -> Scenario:
    """Returns a small machine that nobody controls."""
    return tuned("skewed", control="off")


def changing() -> Scenario:
    """Returns a small machine whose load, phases, memory and processes come and go by the clock."""
    scenario = load_scenario("skewed")
    (whole,) = scenario.workload.phases
    small = Phase(name="small", access_share={"hot": 1.0}, absent=("warm", "cold"))
    phases = tuple(phase.model_copy(update={"duration": 1.3}) for phase in (whole, small))
    load = tuple(LoadStep.model_construct(duration=seconds, share=share) for seconds, share in ((0.7, 1.0), (0.4, 0.5)))
    visitor = {"workload": "abench", "size": "1GiB", "lifetime": "periodic", "every": "2s"}
    beside = scenario.replace(
        corunners=[visitor | {"workload": {"like": "abench", "accesses_per_page": 500}}], numa_balancing_mode=2
    )
    return shrink(with_workload(beside, accesses_per_page=2e4, phases=phases, load=load), PAGES)


def setting(scenario: Scenario, share: float) -> NDArray[np.float64]:
    """Returns a row with every tunable at a share of its (logarithmic) range, unlimited at 1, NaN where lacking."""
    row = np.full(len(TUNABLES), np.nan)
    for column, (name, tunable) in enumerate(TUNABLES.items()):
        if name in scenario.daemon.tunables:
            bounds = scenario.daemon.tunables[name]
            row[column] = tunable.quantity.nearest(bounds.min * (bounds.max / bounds.min) ** share)
            if share == 1.0 and tunable.has_unlimited:
                row[column] = math.inf
    return row


def told(system: Any) -> Told:
    """Returns all that a system tells of itself now, copied."""
    return {name: np.array(getattr(system, name)) for name in TELLS}


def assert_same(found: Told, expected: Told, rows: Any = slice(None)) -> None:
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name][rows], values[rows], err_msg=name)


class SystemConformance:
    """What a kernel can promise, too."""

    most_machines = 6
    """How many a system can have; laws of a batch are of those that have several."""

    def make(self, scenarios: Sequence[Scenario]) -> Any:
        """A system of these machines."""
        raise NotImplementedError

    def begin(self, *scenarios: Scenario, seed: int = 0) -> Any:
        """Returns a system at the start of an episode; machine i has seed + i."""
        system = self.make(scenarios)
        self.reset(system, seed)
        return system

    def reset(self, system: Any, seed: int = 0, mask: NDArray[np.bool_] | None = None) -> None:
        n = len(system.daemons)
        system.reset(np.arange(seed, seed + n, dtype=np.uint64), ["training"] * n, mask)

    def test_every_array_has_a_row_for_each_machine_and_its_own_type(self) -> None:
        scenarios = [tuned(), ruled(), faulting(), left_alone(), changing(), patient()][: self.most_machines]
        system, n = self.begin(*scenarios), len(scenarios)
        shapes = {name: (values.dtype, values.shape) for name, values in told(system).items()}
        number, count = np.dtype(np.float64), np.dtype(np.int64)
        assert shapes == {
            "counters": (count, (n, NUM_COUNTERS)),
            "tunables": (number, (n, len(TUNABLES))),
            "elapsed_s": (number, (n,)),
            "is_done": (np.dtype(np.bool_), (n,)),
            "resident_pages": (count, (n,)),
            "fast_capacity_pages": (count, (n,)),
            "tier_facts": (count, (n, len(TIER_FACTS))),
            "reference_s": (number, (n,)),
        }
        assert system.daemons == tuple(scenario.daemon for scenario in scenarios)
        assert (system.reference_s > 0).all() and (system.resident_pages > 0).all()

    def test_an_episode_starts_at_time_0_with_the_daemon_s_own_setting(self) -> None:
        scenario = tuned()
        system = self.begin(scenario)
        for _ in range(2):
            assert system.elapsed_s[0] == 0 and not system.is_done[0]
            assert (system.counters[0, GROWING] == 0).all()
            np.testing.assert_array_equal(system.tunables[0], scenario.daemon.start_setting.row)
            system.apply(setting(scenario, 0.5)[np.newaxis])
            system.advance(STEP_S)
            self.reset(system)

    def test_what_was_told_never_changes_and_is_the_caller_s(self) -> None:
        scenario = tuned()
        system = self.begin(scenario)
        kept = {name: getattr(system, name) for name in ("counters", "tunables", "elapsed_s", "is_done")}
        before = {name: values.copy() for name, values in kept.items()}
        system.apply(setting(scenario, 0.3)[np.newaxis])
        system.advance(5.0)
        self.reset(system, seed=1)
        assert_same(kept, before)
        expected = told(system)
        for name in kept:
            getattr(system, name)[...] = 1
        assert_same(told(system), expected)

    @pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
    @pytest.mark.parametrize("make_scenario", [tuned, patient])
    def test_tunables_are_in_force_as_they_were_applied(self, make_scenario: Any, share: float) -> None:
        scenario = make_scenario()
        system = self.begin(scenario)
        row = setting(scenario, share)
        system.apply(row[np.newaxis])
        np.testing.assert_array_equal(system.tunables[0], row)
        system.advance(STEP_S)
        np.testing.assert_array_equal(system.tunables[0], row)

    def test_the_caller_may_write_into_what_it_applied(self) -> None:
        scenario = tuned()
        system = self.begin(scenario)
        row = setting(scenario, 0.5)
        applied = row[np.newaxis].copy()
        system.apply(applied)
        applied[...] = 1.0
        np.testing.assert_array_equal(system.tunables[0], row)

    def test_tunables_that_a_daemon_lacks_are_not_a_number(self) -> None:
        for scenario in (tuned(), ruled(), faulting()):
            is_lacking = np.array([name not in scenario.daemon.tunables for name in TUNABLES])
            system = self.begin(scenario)
            assert (np.isnan(system.tunables[0]) == is_lacking).all()
            system.advance(STEP_S)
            assert (np.isnan(system.tunables[0]) == is_lacking).all()

    @pytest.mark.parametrize("make_scenario", [tuned, patient, faulting, changing])
    def test_time_passes_as_asked_and_counters_only_grow(self, make_scenario: Any) -> None:
        scenario = make_scenario()
        system = self.begin(scenario)
        before = told(system)
        for step in range(STEPS):
            system.apply(setting(scenario, (step % 3) / 2)[np.newaxis])
            system.advance(STEP_S)
            now = told(system)
            assert now["is_done"][0] or now["elapsed_s"][0] == pytest.approx(before["elapsed_s"][0] + STEP_S)
            assert (now["counters"][0, GROWING] >= before["counters"][0, GROWING]).all()
            assert (now["counters"] >= 0).all()
            before = now

    @pytest.mark.parametrize("make_scenario", [tuned, patient, faulting, changing])
    def test_no_time_is_no_change(self, make_scenario: Any) -> None:
        scenario = make_scenario()
        system = self.begin(scenario)
        for duration_s in (0.0, STEP_S):
            system.advance(duration_s)
            before = told(system)
            system.advance(0.0)
            assert_same(told(system), before)


def crowded() -> Scenario:
    """Returns a small machine of three processes, one of which never ends and one stands for several alike."""
    workload = tuned("abench-8g").workload
    others = [
        {"workload": workload.model_copy(update={"accesses_per_page": 4e5}), "size": "2MiB", "lifetime": "endless"},
        {"workload": workload, "size": "2MiB", "start": "1s", "count": 2},
    ]
    return tuned("skewed", control="off").replace(corunners=others)


class ModelledConformance(SystemConformance):
    """What only a model can promise: its machines are the same again for the same seed, and finish."""

    def test_each_process_does_its_work_and_no_sooner_than_alone_on_fast_memory(self) -> None:
        scenario = crowded()
        system = self.begin(scenario)
        shape = (1, len(scenario.processes))
        work = np.array([process.total_accesses for process in scenario.processes])
        start_s = np.array([process.start for process in scenario.processes])
        is_awaited = np.array([process.is_awaited for process in scenario.processes])
        assert system.alone_s.shape == shape and (system.alone_s > 0).all()
        assert (system.process_accesses == 0).all() and system.process_accesses.shape == shape
        before = system.process_accesses
        while not system.is_done[0]:
            system.advance(STEP_S)
            now = system.process_accesses
            assert (now >= before).all() and (now[0, is_awaited] <= work[is_awaited] * (1 + 1e-9)).all()
            before = now
        assert before[0, is_awaited] == pytest.approx(work[is_awaited])
        assert (before[0, ~is_awaited] > work[~is_awaited]).all(), "one that never ends has begun again"
        spent_s = system.finished_s[0] - start_s
        assert (spent_s >= before[0] / work * system.alone_s[0] * (1 - 1e-6)).all()

    def test_a_process_that_is_alone_on_fast_memory_takes_its_time_alone(self) -> None:
        scenario = left_alone()
        workload = scenario.workload.model_copy(update={"initial_placement": "address-order"})
        roomy = scenario.model_copy(update={"workload": workload, "fast_capacity": 2 * scenario.size})
        system = self.begin(roomy)
        assert system.alone_s[0, 0] == system.reference_s[0]
        system.run_to_end()
        assert system.finished_s[0, 0] == pytest.approx(system.alone_s[0, 0], rel=1e-6)

    def trajectory(self, system: Any, *scenarios: Scenario, shares: Sequence[float] = (0.0, 0.5, 1.0)) -> list[Told]:
        """Returns what a system tells after every step, under settings that change."""
        steps = []
        for step in range(STEPS):
            share = shares[step % len(shares)]
            system.apply(np.stack([setting(scenario, share) for scenario in scenarios]))
            system.advance(STEP_S)
            steps.append(told(system))
        return steps

    @pytest.mark.parametrize("make_scenario", [tuned, patient, faulting, changing])
    def test_a_seed_decides_the_episode_whatever_ran_before(self, make_scenario: Any) -> None:
        scenario = make_scenario()
        system = self.begin(scenario, seed=5)
        first = self.trajectory(system, scenario)
        self.reset(system, seed=6)
        other = self.trajectory(system, scenario)
        self.reset(system, seed=5)
        for one, again in zip(first, self.trajectory(system, scenario), strict=True):
            assert_same(again, one)
        assert (other[-1]["counters"] != first[-1]["counters"]).any()

    def test_what_is_applied_changes_the_episode(self) -> None:
        scenario = tuned()
        ends = [self.trajectory(self.begin(scenario), scenario, shares=[share])[-1] for share in (0.0, 1.0)]
        assert (ends[0]["counters"] != ends[1]["counters"]).any()

    @pytest.mark.parametrize("make_scenario", [ruled, faulting, left_alone])
    def test_what_is_applied_is_ignored_where_control_is_not_the_caller_s(self, make_scenario: Any) -> None:
        scenario = make_scenario()
        system, undisturbed = self.begin(scenario), self.begin(scenario)
        for step in range(STEPS):
            system.apply(np.full((1, len(TUNABLES)), float(step)))
            for each in (system, undisturbed):
                each.advance(STEP_S)
            assert_same(told(system), told(undisturbed))

    @pytest.mark.parametrize("make_scenario", [tuned, patient, faulting, changing])
    def test_a_machine_stands_still_once_its_work_is_done(self, make_scenario: Any) -> None:
        scenario = make_scenario()
        system = self.begin(scenario)
        system.run_to_end()
        at_end = told(system)
        assert at_end["is_done"][0] and at_end["elapsed_s"][0] >= system.reference_s[0] * (1 - 1e-9)
        system.advance(100.0)
        system.run_to_end()
        assert_same(told(system), at_end)

    def test_a_step_ends_with_the_work(self) -> None:
        scenario = left_alone()
        system = self.begin(scenario)
        system.run_to_end()
        completion_s = system.elapsed_s[0]
        self.reset(system)
        system.advance(0.9 * completion_s)
        assert not system.is_done[0] and system.elapsed_s[0] == pytest.approx(0.9 * completion_s)
        system.advance(10 * completion_s)
        assert system.is_done[0]
        assert system.elapsed_s[0] == pytest.approx(completion_s, rel=0.01)

    def test_a_reset_under_a_mask_leaves_the_other_machines_alone(self) -> None:
        scenarios = [tuned(), ruled(), faulting(), left_alone(), changing(), patient()][: self.most_machines]
        n = len(scenarios)
        system, undisturbed = self.begin(*scenarios), self.begin(*scenarios)
        for each in (system, undisturbed):
            each.advance(2.0)
        mask = np.arange(n) == 1
        self.reset(system, seed=7, mask=mask)
        assert system.elapsed_s.tolist() == np.where(mask, 0.0, 2.0).tolist()
        for each in (system, undisturbed):
            each.advance(2.0)
        assert_same(told(system), told(undisturbed), ~mask)
        if n > 1:
            alone = self.begin(scenarios[1], seed=8)
            alone.advance(2.0)
            np.testing.assert_array_equal(system.counters[1], alone.counters[0])

    def test_a_machine_does_not_depend_on_its_batch(self) -> None:
        scenarios = [tuned(), ruled(), faulting(), left_alone(), changing(), patient()][: self.most_machines]
        together = self.trajectory(self.begin(*scenarios), *scenarios)
        for index, scenario in enumerate(scenarios):
            alone = self.trajectory(self.begin(scenario, seed=index), scenario)
            for one, other in zip(alone, together, strict=True):
                for name in TELLS:
                    np.testing.assert_array_equal(one[name][0], other[name][index], err_msg=name)
