"""How long changes are felt: by hand on rates that are given, and on the model."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.databases import database_and_batch
from tests.tiny import tiny
from tierenv.action import ActionCodec
from tierenv.agents.policies import load_policy
from tierenv.agents.policy import scenario_for
from tierenv.scenario import Scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.task import simulated_task
from tierenv.train import recovery
from tierenv.train.episodes import Episodes, holding, run_episodes
from tierenv.train.recovery import REGAINED, RecoveryWatch


class Played:
    """A system that does at every step what it is told: machines by columns."""

    def __init__(self, phases: list[list[int]], rates: list[list[float]], step_s: float = 2.0) -> None:
        self.scenarios = [None] * len(phases[0])
        self._phases, self._rates, self._step_s = np.array(phases), np.array(rates), step_s
        self.now = 0

    @property
    def phase(self) -> NDArray[np.int64]:
        return self._phases[self.now].copy()

    @property
    def elapsed_s(self) -> NDArray[np.float64]:
        return np.full(len(self.scenarios), self._step_s * self.now)

    @property
    def process_accesses(self) -> NDArray[np.float64]:
        return (self._step_s * self._rates[: self.now].sum(axis=0))[:, None]


def watched(monkeypatch: pytest.MonkeyPatch, phases: list[int], rates: list[float], targets: list[float]) -> Any:
    """One machine that is in these phases at the ends of its steps; the first entry is the start."""
    system = Played([[phase] for phase in phases], [[rate] for rate in rates])
    monkeypatch.setattr(recovery, "_target_rates", lambda _system: np.array([targets]))
    watch = RecoveryWatch(system)  # type: ignore[arg-type]
    for _ in rates:
        system.now += 1
        watch.record(np.array([True]))
    found = watch.result(system.elapsed_s)
    return SimpleNamespace(seconds=found.seconds[0], changes=found.changes[0], regained=found.regained[0])


def test_the_time_is_from_the_change_to_the_first_whole_interval_that_is_fast_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # the phase changes within the fourth interval, from 6 s to 8 s; the sixth, which ends at 12 s, is fast enough
    found = watched(monkeypatch, [0, 0, 0, 0, 1, 1, 1, 1], [1, 5, 9, 9, 1, 5, 1], targets=[5.0, 4.0])
    assert (found.changes, found.regained) == (2, 2)
    assert found.seconds == (4 - 0) + (12 - 6)


def test_what_is_never_regained_counts_with_the_length_of_its_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    found = watched(monkeypatch, [0, 0, 0, 1, 1, 1], [1, 1, 9, 1, 9], targets=[5.0, 10.0])
    assert (found.changes, found.regained) == (2, 0)
    assert found.seconds == (4 - 0) + (10 - 4)


def test_phases_with_nothing_to_regain_and_phases_that_no_interval_lies_in_are_no_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = watched(monkeypatch, [0, 0, 1, 2, 2], [1, 1, 1, 9], targets=[np.nan, 5.0, 5.0])
    assert (found.changes, found.regained, found.seconds) == (1, 1, 8 - 4)


def test_an_episode_that_has_ended_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    system = Played([[0, 0]] * 4, [[1.0, 1.0], [1.0, 1.0], [9.0, 9.0]])
    monkeypatch.setattr(recovery, "_target_rates", lambda _system: np.full((2, 1), 5.0))
    watch = RecoveryWatch(system)  # type: ignore[arg-type]
    for is_running in ([True, True], [True, True], [True, False]):
        system.now += 1
        watch.record(np.array(is_running))
    found = watch.result(np.array([6.0, 4.0]))
    assert found.regained.tolist() == [1, 0] and found.seconds.tolist() == [6.0, 4.0]


def played(scenario: Scenario, name: str) -> Episodes:
    policy = load_policy(name, scenario)
    task = simulated_task([scenario_for(policy, scenario)] * 2, max_time_multiple=20.0)
    return run_episodes(task, policy, [1, 2], with_recovery=True)


def test_who_moves_nothing_never_regains_and_who_moves_soon_does() -> None:
    scenario = tiny("skewed")
    nothing, soon = (played(scenario, name) for name in ("no-migration", "static:100,512,inf"))
    assert nothing.recovery is not None and soon.recovery is not None
    assert nothing.recovery.changes.tolist() == [1, 1] and nothing.recovery.regained.tolist() == [0, 0]
    np.testing.assert_allclose(nothing.recovery.seconds, nothing.seconds)
    assert soon.recovery.regained.tolist() == [1, 1] and (soon.recovery.seconds < 0.5 * soon.seconds).all()


def test_targets_lie_between_the_rate_without_migration_and_that_with_the_hottest_pages_fast() -> None:
    scenario = tiny("skewed")
    system = LumpedSystem([scenario.replace(control="off")])
    system.reset(np.array([1], np.uint64), ["training"])
    ((target,),) = recovery._target_rates(system)
    system.run_to_end()
    without = scenario.total_accesses / system.elapsed_s[0]
    ((start,),), ((best,),) = np.expand_dims(recovery._fast_shares(system, 0), 1)
    assert 0 < start < best <= 1
    assert 1.02 < target / without, "no migration keeps the first of the rates between which it lies"
    faster = 2 * target - without if REGAINED == 0.5 else np.nan
    assert faster < scenario.processes[0].threads / scenario.workload.think


def test_where_other_processes_run_or_the_load_changes_nobody_knows_the_rate() -> None:
    crowd = database_and_batch()
    task = simulated_task([crowd], max_time_multiple=20.0)
    assert run_episodes(task, holding(np.zeros((1, 3))), [1], with_recovery=True).recovery is None
    task = simulated_task([tiny()], max_time_multiple=20.0)
    assert run_episodes(task, holding(np.zeros((1, 3))), [1]).recovery is None, "unless somebody wants to know"


def test_cpu_times_are_those_of_the_counters() -> None:
    scenario = tiny(daemon="kmmscand-tunable")
    actions = ActionCodec(scenario.daemon).encode([load_policy("static:100,512,inf", scenario).setting.row])  # type: ignore[attr-defined]
    task = simulated_task([scenario], max_time_multiple=20.0)
    episodes = run_episodes(task, holding(actions), [1])
    counters = dict(zip(("migrator", "scanner"), task.system.counters[0, 10:12] * 1e-9, strict=True))
    assert {key: episodes.cpu_s[key][0] for key in counters} == pytest.approx(counters)
    assert min(counters.values()) > 0 and episodes.cpu_s["threads"][0] == 0
    balanced = played(tiny(), "numab2")
    assert balanced.cpu_s["threads"].min() > 0 and balanced.cpu_s["scanner"].max() == 0
