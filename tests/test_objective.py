"""Objectives: their values by hand, and that an episode's rewards add up to them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.databases import database_and_batch, two_on_slow_memory
from tests.tiny import tiny
from tierenv.bounds import clairvoyant_bound_s
from tierenv.env import TieredMemoryEnv
from tierenv.errors import ConfigError
from tierenv.objective import OBJECTIVES, objective_name, objective_words
from tierenv.records import _deciding, validate_record
from tierenv.scenario import Scenario, load_scenario
from tierenv.score import _AccessTimes
from tierenv.task import ModelledTask, Outcome, simulated_task

MEDIAN: dict[str, Any] = {"access_time": {"percentile": 50}}
EVERY: list[Any] = [*OBJECTIVES, MEDIAN]


def played(task: ModelledTask, seeds: Sequence[int], policy_seed: int = 0) -> tuple[Outcome, np.ndarray]:
    """Returns the last step of random play until all machines end, and what each has got by its end."""
    task.reset(np.array(seeds, dtype=np.uint64))
    rng = np.random.default_rng(policy_seed)
    total, is_running = np.zeros(len(seeds)), np.ones(len(seeds), dtype=np.bool_)
    while True:
        outcome = task.step(rng.uniform(-1, 1, (len(seeds), len(task.codec.names))))
        total += outcome.reward * is_running
        is_running &= ~(outcome.terminated | outcome.truncated)
        if not is_running.any():
            return outcome, total


@pytest.mark.parametrize(
    ("objective", "value", "all_fast"),
    [
        ("last-end", 7.0, 5.0),
        ("application", 4.0, 2.0),
        ("mean-slowdown", (3 * 2.0 + 1.5) / 4, 1.0),
        ("worst-slowdown", 2.0, 1.0),
        ("access-time", 400e-9, 200e-9),
    ],
)
def test_values_are_those_worked_out_by_hand(objective: str, value: float, all_fast: float) -> None:
    scenario = two_on_slow_memory(objective=objective, weight=3)
    outcome, total = played(simulated_task([scenario]), [1])
    assert outcome.info["objective"][0] == pytest.approx(value, rel=1e-6)
    assert outcome.info["objective_all_fast"][0] == pytest.approx(all_fast, rel=1e-6)
    assert total[0] == pytest.approx(-value / all_fast, rel=1e-6)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_rewards_of_an_episode_add_up_to_its_objective(seed: int, is_cut: bool) -> None:
    scenarios = [database_and_batch(objective=objective) for objective in EVERY]
    task = simulated_task(scenarios, max_time_multiple=0.4 if is_cut else 100)
    outcome, total = played(task, [seed] * len(EVERY), policy_seed=seed)
    assert outcome.truncated.all() == is_cut
    objective, all_fast = outcome.info["objective"], outcome.info["objective_all_fast"]
    np.testing.assert_allclose(total, -objective / all_fast, rtol=1e-9)
    assert (objective > 0).all()


def test_shaping_shifts_the_return_by_a_constant_of_the_start() -> None:
    scenarios = [database_and_batch(objective=name) for name, row in OBJECTIVES.items() if row.remaining is not None]
    task = simulated_task(scenarios, shaping_gamma=1.0, max_time_multiple=100)
    task.reset(np.array([3] * len(scenarios), dtype=np.uint64))
    start = task._score.remaining()
    assert len(scenarios) == 3 and (start > 0.9).all()
    outcome, total = played(task, [3] * len(scenarios))
    bare = -outcome.info["objective"] / outcome.info["objective_all_fast"]
    np.testing.assert_allclose(total - bare, start, rtol=1e-9)


def test_what_remains_is_told_of_each_process_and_nothing_of_one_that_ends_never() -> None:
    scenario = two_on_slow_memory()
    endless = {"workload": scenario.workload, "size": "64MiB", "lifetime": "endless"}
    system = simulated_task([two_on_slow_memory(corunners=[endless, *scenario.corunners])]).system
    system.reset(np.zeros(1, np.uint64), ["training"])
    np.testing.assert_allclose(system.remaining_s(), [[4, 0, 1 + 4]], rtol=1e-6)  # as if the last began all-fast
    system.advance(2.0)
    np.testing.assert_allclose(system.remaining_s(), [[2, 0, 5]], rtol=1e-6)
    system.run_to_end()
    np.testing.assert_array_equal(system.remaining_s(), [[0, 0, 0]])


@pytest.mark.parametrize("objective", ["worst-slowdown", "access-time"])
def test_what_cannot_be_shaped_is_refused_with_what_can(objective: str) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"^shaping_gamma: scenario skewed: objective {objective} cannot be shaped, only last-end, application, "
        "mean-slowdown; turn shaping off$",
    ):
        TieredMemoryEnv(two_on_slow_memory(objective=objective), shaping_gamma=1.0)


def test_a_reset_under_a_mask_begins_the_objectives_of_these_machines_anew() -> None:
    task = simulated_task([database_and_batch(objective=objective) for objective in EVERY])
    seeds = np.zeros(len(EVERY), dtype=np.uint64)
    task.reset(seeds)
    for _ in range(3):
        task.step(np.zeros((len(EVERY), 3)))
    before = task._score.so_far.copy()
    mask = np.arange(len(EVERY)) % 2 == 0
    _, info = task.reset(seeds, mask)
    np.testing.assert_array_equal(info["objective"], np.where(mask, 0.0, before))
    outcome = task.step(np.zeros((len(EVERY), 3)))
    first = outcome.info["objective"][mask]
    task.reset(seeds)
    np.testing.assert_array_equal(task.step(np.zeros((len(EVERY), 3))).info["objective"][mask], first)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from([0.5, 0.75, 1.0, 2.0]), st.integers(1, 10**6)), min_size=1, max_size=30),
    st.floats(0.1, 100),
)
def test_percentile_is_the_least_that_so_many_intervals_do_not_exceed(
    intervals: list[tuple[float, int]], percentile: float
) -> None:
    times = _AccessTimes(np.array([2.0]), least_s=0.5, percentile=percentile)
    seconds, accesses = np.zeros(1), np.zeros(1)
    for passed_s, done in intervals:
        seconds, accesses = seconds + passed_s, accesses + done
        times.add(seconds, accesses)
    found = times.percentile_s()[0]
    own = sorted(2 * passed_s / done for passed_s, done in intervals)
    share = [sum(each <= limit * (1 + 1e-9) for each in own) / len(own) for limit in (found, found * (1 - 1e-6))]
    assert any(math.isclose(found, each, rel_tol=1e-9) for each in own)
    assert share[0] >= percentile / 100 - 1e-9 and share[1] < percentile / 100 + 1e-9


def test_a_rest_of_an_interval_or_one_without_an_access_is_none() -> None:
    times = _AccessTimes(np.array([1.0]), least_s=0.5, percentile=100)
    for seconds, accesses, worst in [(1, 0, 0.0), (2, 2, 1.0), (2.4, 2.1, 1.0), (3, 3, 1.0), (4, 3.5, 2.0)]:
        times.add(np.array([float(seconds)]), np.array([float(accesses)]))
        assert times.percentile_s()[0] == pytest.approx(worst)


def test_processes_that_never_end_and_those_of_no_weight_are_not_judged() -> None:
    scenario = two_on_slow_memory()
    other = scenario.corunners[0]
    endless = {"workload": other.workload, "size": "64MiB", "lifetime": "endless"}
    weightless = {"workload": other.workload, "size": "64MiB", "weight": 0}
    for corunner in (endless, weightless):
        for objective in ("mean-slowdown", "worst-slowdown"):
            task = simulated_task([two_on_slow_memory(objective=objective, corunners=[corunner])])
            outcome, _ = played(task, [1])
            assert outcome.info["objective"][0] == pytest.approx(2.0, rel=1e-6)


def test_bounds_of_the_application_are_those_of_the_application_alone() -> None:
    system = simulated_task([two_on_slow_memory(objective=name) for name in ("application", "last-end")]).system
    system.reset(np.zeros(2, np.uint64), ["training"] * 2)
    application_s, last_s = (clairvoyant_bound_s(system, index) for index in range(2))
    assert 2.0 <= application_s < 4.0 and 5.0 <= last_s < 7.0


@pytest.mark.parametrize("objective", ["mean-slowdown", "worst-slowdown", "access-time"])
def test_there_is_no_bound_of_what_is_no_time(objective: str) -> None:
    system = simulated_task([two_on_slow_memory(objective=objective)]).system
    with pytest.raises(ValueError, match=rf"bounds hold for times, not for {objective}"):
        clairvoyant_bound_s(system, 0)


def test_an_objective_left_out_changes_no_identity_and_any_other_does() -> None:
    scenario = load_scenario("noisy-neighbour")
    same = scenario.replace(objective="last-end", weight=1)
    assert same.identity == scenario.identity and not {"objective", "weight"} & set(_deciding(same))  # type: ignore[arg-type]
    others = [scenario.replace(objective=objective) for objective in EVERY[1:]]
    assert len({other.identity for other in (scenario, *others)}) == len(EVERY)


@pytest.mark.parametrize("objective", EVERY)
def test_an_objective_survives_being_written_and_read(objective: Any) -> None:
    scenario = two_on_slow_memory(objective=objective)
    again = validate_record(Scenario, scenario.model_dump(mode="json"), "again")
    assert again.objective == scenario.objective and again.identity == scenario.identity


def test_a_word_stands_for_the_fields_with_their_defaults() -> None:
    word, fields = (tiny(objective=value) for value in ("access-time", {"access_time": {"percentile": 99}}))
    assert word.objective == fields.objective and objective_name(word.objective) == "access-time"
    assert objective_words(word.objective).startswith("percentile 99 over control intervals")
    assert objective_words(tiny().objective) == "time to the end of the last process"


def test_fields_can_be_put_over_the_word_of_a_scenario_that_is_alike(tmp_path: Any) -> None:
    for word in ("application", "access-time"):
        (tmp_path / "word.yaml").write_text(f"like: skewed\nobjective: {word}\n")
        (tmp_path / "fields.yaml").write_text("like: ./word.yaml\nobjective: {access_time: {percentile: 90}}\n")
        assert objective_words(load_scenario(str(tmp_path / "fields.yaml")).objective).startswith("percentile 90 ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "fastest"}, "objective='fastest': must be last-end, application, mean-slowdown, worst-slowdown"),
        ({"objective": None}, "objective=None: must be last-end, .*, access-time, or access_time with its fields"),
        ({"objective": {"percentile": 5}}, "objective.percentile: unknown key; allowed: access_time"),
        (
            {"objective": {"access_time": {"percentile": 0}}},
            "objective.access_time.percentile=0: must be greater than 0",
        ),
        ({"objective": {"access_time": 99}}, "objective.access_time=99: must be a mapping"),
        ({"objective": {"access_time": {}, "like": ["last-end"]}}, "objective.like: unknown key; allowed: access_time"),
        ({"objective": ["application"]}, r"objective=\['application'\]: must be last-end"),
        ({"weight": -1}, "weight=-1: must be greater than or equal to 0"),
        ({"weight": "heavy"}, "weight='heavy': must be a number"),
        (
            {"corunners": [{"workload": "abench", "size": "64MiB", "lifetime": "endless", "weight": 2}]},
            "weight=2: a process with lifetime=endless never ends and is not judged; leave weight out",
        ),
        (
            {"objective": "worst-slowdown", "weight": 0, "corunners": []},
            "weight=0: objective worst-slowdown needs a process that ends with a weight above 0",
        ),
    ],
)
def test_bad_objectives_and_weights_say_what_is_allowed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        two_on_slow_memory(**changes)
