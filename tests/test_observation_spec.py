"""What is observed as configuration: which columns there are, what they hold, what is refused."""

import json
import warnings
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.tiny import tiny
from tierenv.counters import NUM_COUNTERS
from tierenv.daemon import load_daemon
from tierenv.env import TieredMemoryEnv
from tierenv.errors import ConfigError
from tierenv.features import FEATURES, SIZES, TIER_FACTS, Feature, feature_columns, supplied_features
from tierenv.history import NO_HISTORY, average_of, stack_of
from tierenv.observation import ObservationEncoder
from tierenv.observation_spec import MAX_COLUMNS, ObservationSpec, observation_rows
from tierenv.records import packaged
from tierenv.scenario import load_scenario
from tierenv.task import simulated_task
from tierenv.tunables import TUNABLES
from tierenv.vector_env import TieredMemoryVectorEnv

TUNABLE, NUMA = load_daemon("kmmscand-tunable"), load_daemon("numa-balancing")
OF_MACHINE = [row.name for row in FEATURES.values() if row.is_of_machine]
RECIPE = {"stack": 4, "averages": [4, 16], "machine": OF_MACHINE}
NUM_MACHINES = 3


def names_of(rows: tuple[Feature, ...]) -> list[str]:
    return [column.name for column in feature_columns(rows)]


@pytest.mark.parametrize("name", packaged("daemons"))
def test_nothing_said_is_all_that_the_daemon_supplies(name: str) -> None:
    daemon = load_daemon(name)
    for nothing in (None, {}, ObservationSpec()):
        assert observation_rows(nothing, daemon) == supplied_features(daemon)
    assert not {row.name for row in supplied_features(daemon)} & set(OF_MACHINE)


def test_columns_are_features_then_their_averages_then_the_machine() -> None:
    spec = {"features": ["idle", "scan_period"], "stack": 2, "averages": [4, 16], "machine": ["fast_share"]}
    assert names_of(observation_rows(spec, TUNABLE)) == [
        *("idle", "idle_1_ago", "scan_period", "scan_period_1_ago"),
        *("idle_average_4", "scan_period_average_4", "idle_average_16", "scan_period_average_16", "fast_share"),
    ]


def test_what_comes_in_bursts_stays_an_average_unless_its_values_are_asked_for() -> None:
    of_marked = {"features": ["marked"]}
    assert names_of(observation_rows(of_marked | {"averages": [4, 16]}, NUMA)) == [
        "marked_average_4",
        "marked_average_16",
    ]
    assert names_of(observation_rows(of_marked | {"stack": 2, "averages": [4]}, NUMA)) == [
        *("marked", "marked_1_ago", "marked_average_4"),
    ]


def test_an_override_is_for_its_feature_alone() -> None:
    spec = {"features": ["idle", "queued"], "stack": 3, "overrides": {"queued": {"averages": [8]}}}
    assert names_of(observation_rows(spec, TUNABLE)) == [
        *("idle", "idle_1_ago", "idle_2_ago", "queued", "queued_average_8"),
    ]


def specs(daemon: Any) -> st.SearchStrategy[dict[str, Any]]:
    names = [row.name for row in supplied_features(daemon)]
    past = {
        "stack": st.integers(1, 5),
        "averages": st.lists(st.sampled_from([2, 4, 16, 256]), max_size=3, unique=True),
    }
    return st.fixed_dictionaries(
        {
            **past,
            "features": st.none() | st.lists(st.sampled_from(names), min_size=1, unique=True),
            "machine": st.lists(st.sampled_from(OF_MACHINE), unique=True),
        }
    )


def observed(
    encoder: ObservationEncoder, counters: NDArray[np.int64], is_reset: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Returns float32[steps, n, columns] of counters int64[steps + 1, n, NUM_COUNTERS] and resets bool[steps, n]."""
    state, seen = encoder.initial_state(NUM_MACHINES), []
    tunables = np.array([[row.start for row in TUNABLE.tunables.values()] + [np.nan] * (len(TUNABLES) - 3)])
    sizes = {size: np.full(NUM_MACHINES, 1000 * (number + 1)) for number, size in enumerate(SIZES)}
    last = np.zeros((NUM_MACHINES, len(encoder.columns)), np.float32)
    for step, now in enumerate(counters[1:]):
        took = np.full(NUM_MACHINES, 1.0)
        arguments = (counters[step], now, took, tunables.repeat(NUM_MACHINES, axis=0), sizes, state)
        if is_reset[step].any():
            state.restart(is_reset[step])
            fresh = encoder.observe(*arguments, is_reset[step])
            last = np.where(is_reset[step][:, None], fresh, last)
        else:
            last = encoder.observe(*arguments)
        seen.append(last)
    return np.array(seen)


@settings(max_examples=40)
@given(specs(TUNABLE), st.integers(0, 2**32), st.integers(1, 8))
def test_every_column_is_the_feature_now_some_steps_ago_or_on_average_since_the_reset(
    spec: dict[str, Any], seed: int, num_steps: int
) -> None:
    rng = np.random.default_rng(seed)
    counters = rng.integers(0, 2**20, (num_steps + 1, NUM_MACHINES, NUM_COUNTERS)).cumsum(axis=0)
    is_reset = rng.random((num_steps, NUM_MACHINES)) < 0.2
    encoder = ObservationEncoder(TUNABLE, observation=spec)
    now = [replace(row, history=NO_HISTORY) for row in encoder.features]
    plain = ObservationEncoder(TUNABLE, observation=list(dict.fromkeys(now)))
    values = observed(plain, counters, is_reset).astype(np.float64)
    seen = observed(encoder, counters, is_reset)
    for machine in range(NUM_MACHINES):
        resets = is_reset[:, machine]
        # a step in which another machine alone is reset is none of this one's
        lived = [step for step in range(num_steps) if resets[step] or not is_reset[step].any()]
        for row, first in zip(encoder.features, first_columns(encoder), strict=True):
            series = values[:, machine, names_of(plain.features).index(row.name)]
            past: list[float] = []
            for step in lived:
                past = [series[step]] if resets[step] or not past else [*past, series[step]]
                columns = seen[step, machine, first : first + row.history.num_columns]
                np.testing.assert_allclose(columns, expected_columns(row, past), rtol=0, atol=1e-6)


def first_columns(encoder: ObservationEncoder) -> list[int]:
    return np.cumsum([0, *(row.history.num_columns for row in encoder.features)])[:-1].tolist()


def expected_columns(row: Feature, past: list[float]) -> list[float]:
    """What a row shows of a feature's values since a reset, by the definition of its history."""
    if row.history.kind == "stack":
        return ([past[0]] * row.history.length + past)[: -row.history.length - 1 : -1]
    average = past[0]
    for value in past[1:] if row.history.kind == "average" else []:
        average += (value - average) / row.history.length
    return [average if row.history.kind == "average" else past[-1]]


def test_of_the_machine_is_observed_what_its_platform_says() -> None:
    scenario = tiny(platform="persistent-memory")
    platform = scenario.platform
    env = TieredMemoryEnv(scenario, observation={"features": ["resident"], "machine": OF_MACHINE})
    observation, _ = env.reset(seed=1)
    rows = {row.name: row for row in env.task.encoder.features}
    seen = {
        name: rows[name].scale.invert(float(value))
        for name, value in zip(names_of(env.task.encoder.features), observation, strict=True)
    }
    assert seen["fast_share"] == pytest.approx(scenario.fast_capacity_pages / seen["resident"], rel=1e-4)
    gap_ns = 1e9 * (platform.cxl.idle_latency - platform.dram.idle_latency)
    assert seen["latency_gap"] == pytest.approx(round(gap_ns), rel=1e-4)
    assert seen["slow_bandwidth"] == pytest.approx(platform.cxl.bandwidth / 1e6, rel=1e-3)
    assert seen["bandwidth_ratio"] == pytest.approx(platform.cxl.bandwidth / platform.dram.bandwidth, rel=1e-3)
    assert len(TIER_FACTS) == len(platform.tier_facts)


def test_another_machine_is_another_observation_from_its_first_on() -> None:
    here = tiny()
    slower = here.platform.model_copy(
        update={"cxl": here.platform.cxl.model_copy(update={"idle_latency": 4 * here.platform.cxl.idle_latency})}
    )
    envs = TieredMemoryVectorEnv(2, here, observation={"machine": ["latency_gap"]}, autoreset_mode="Disabled")
    before, _ = envs.reset(seed=1)
    mask = np.array([False, True])
    after, _ = envs.reset(options={"reset_mask": mask, "scenario": here.replace(platform=slower.model_dump())})
    assert after[0, -1] == before[0, -1] == before[1, -1] < after[1, -1]


@pytest.mark.parametrize("daemon", ["kmmscand-tunable", "numa-balancing"])
def test_gymnasium_finds_no_fault(daemon: str) -> None:
    env = gymnasium.make("tierenv/TieredMemory-v1", scenario="skewed", daemon=daemon, observation=RECIPE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=True)
    assert env.spec is not None
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.observation_space == env.observation_space
    assert json.loads(env.spec.to_json())["kwargs"]["observation"] == RECIPE


def test_environment_i_of_a_batch_is_the_single_one_with_every_history() -> None:
    scenarios = [tiny(), tiny("skewed")]
    envs = TieredMemoryVectorEnv(4, scenarios, observation=RECIPE, autoreset_mode="SameStep", max_time_multiple=1.2)
    singles = [TieredMemoryEnv(scenarios[i % 2], observation=RECIPE, max_time_multiple=1.2) for i in range(4)]
    rng = np.random.default_rng(0)
    seen, _ = envs.reset(seed=7)
    expected = [env.reset(seed=7 + index)[0] for index, env in enumerate(singles)]
    ends = 0
    for _ in range(45):
        np.testing.assert_array_equal(seen, expected)
        actions = rng.uniform(-1, 1, (4, 3)).astype(np.float32)
        seen, *_ = envs.step(actions)
        for index, env in enumerate(singles):
            expected[index], _, terminated, truncated, _ = env.step(actions[index])
            if terminated or truncated:
                ends += 1
                expected[index], _ = env.reset()
    assert ends > 1


def test_a_scenario_may_change_under_any_observation() -> None:
    env = TieredMemoryEnv(tiny(), observation=RECIPE)
    before, _ = env.reset(seed=1)
    after, _ = env.reset(seed=1, options={"scenario": tiny(fast_capacity="256MiB")})
    assert len(after) == len(before) == len(env.task.encoder.columns)
    with pytest.raises(ConfigError, match="they differ in"):
        env.reset(options={"scenario": tiny(daemon=NUMA)})


@pytest.mark.parametrize(
    ("observation", "reason"),
    [
        ({"stack": 0}, "stack=0"),
        ({"stack": 10**9}, "stack=1000000000"),
        ({"stack": 257}, "256"),
        ({"stack": True}, "must be a whole number"),
        ({"stack": 256}, f"3584 columns: must have 1 to {MAX_COLUMNS}"),
        ({"averages": [3]}, "average over 3 steps: must be a power of two"),
        ({"averages": [1]}, "averages"),
        ({"averages": [4, 4]}, "4: given twice"),
        ({"averages": 4}, "averages"),
        ({"features": []}, "features"),
        ({"features": ["idel"]}, "features: idel: no such feature; did you mean 'idle'?; allowed: accessed_slow"),
        ({"features": ["idle", "idle"]}, "idle: given twice"),
        ({"features": ["marked"]}, "features: marked: daemon kmmscand-tunable does not supply it"),
        ({"features": ["fast_share"]}, "fast_share: tells of the machine: name it in machine"),
        ({"machine": ["idle"]}, "machine: idle: does not tell of the machine: name it in features"),
        ({"overrides": {"nobody": {}}}, "overrides: nobody: no such feature"),
        ({"features": ["idle"], "overrides": {"queued": {}}}, "overrides: queued: not among features"),
        ({"overrides": {"idle": {"stack": -1}}}, "overrides.idle.stack=-1"),
        ({"stacks": 4}, "stacks: unknown key; did you mean 'stack'?"),
        ({"features": ["x" * 5000]}, "100"),
        ("stack", "must be a mapping such as"),
        ([1, 2], "must be a mapping such as"),
        ([], "has 0 columns"),
    ],
)
def test_what_cannot_be_observed_is_refused_in_one_line(observation: Any, reason: str) -> None:
    with pytest.raises(ConfigError) as raised:
        TieredMemoryEnv(tiny(), observation=observation)
    message = str(raised.value)
    assert message.startswith("observation: ") and "\n" not in message and len(message) < 1000
    assert reason in message


def test_rows_of_equal_columns_or_other_meaning_are_refused() -> None:
    idle = FEATURES["idle"]
    with pytest.raises(ConfigError, match="columns idle: each may be there once"):
        ObservationEncoder(TUNABLE, observation=[idle, replace(idle, history=stack_of(2))])
    with pytest.raises(ConfigError, match="may differ in their history alone"):
        ObservationEncoder(TUNABLE, observation=[idle, replace(idle, unit="furlongs", history=average_of(2))])


def test_a_task_takes_rows_as_it_takes_the_configuration_they_are_of() -> None:
    rows = observation_rows(RECIPE, TUNABLE)
    tasks = [simulated_task([load_scenario("skewed")], observation=observation) for observation in (rows, RECIPE)]
    first, second = (task.reset(np.array([1], np.uint64))[0] for task in tasks)
    np.testing.assert_array_equal(first, second)
