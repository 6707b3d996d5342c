"""Forms of the reward: what each adds up to over an episode, and that nothing else sees them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.tiny import tiny
from tierenv.bounds import clairvoyant_bound_s
from tierenv.errors import ConfigError
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.task import simulated_task
from tierenv.train.config import load_training_config
from tierenv.train.episodes import episode_seeds, holding, run_episodes
from tierenv.train.evaluate import evaluate
from tierenv.train.learn import learn
from tierenv.train.reward_baselines import EPISODES, baseline, baselines_of_machines
from tierenv.train.rewards import NUM_POINTS, Baseline, RewardForm, Rewards
from tierenv.train.run_dir import RunDirectory
from tierenv.train.vec_adapter import TieredMemoryVecEnv
from tierenv.vector_env import TieredMemoryVectorEnv

WriteConfig = Callable[..., Path]
SCENARIOS = [tiny(), tiny("skewed")]
NUM_MACHINES = 4
SEED = 1_000_000
NOTHING, STEADY, WASTEFUL = (1.0, -1.0, -1.0), (-1.0, 1.0, 0.0), (-1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Played:
    """What the first episode of every machine came to."""

    plain: NDArray[np.float64]
    """Sum of the environment's rewards, float64[n]."""
    seen: NDArray[np.float64]
    """Sum of the learner's."""
    elapsed_s: NDArray[np.float64]
    moved: NDArray[np.float64]
    steps: NDArray[np.float64]
    reference_s: NDArray[np.float64]


def play(form: RewardForm, baselines: list[Baseline], action: Any, **limits: Any) -> Played:
    """Hold an action until the first episode of every machine has ended."""
    envs = TieredMemoryVectorEnv(
        num_envs=NUM_MACHINES, scenario=SCENARIOS, autoreset_mode=AutoresetMode.SAME_STEP, **limits
    )
    twin = TieredMemoryVectorEnv(
        num_envs=NUM_MACHINES, scenario=SCENARIOS, autoreset_mode=AutoresetMode.SAME_STEP, **limits
    )
    adapter = TieredMemoryVecEnv(envs, Rewards(form, baselines))
    adapter.seed(7)
    adapter.reset()
    _, info = twin.reset(seed=7)
    plain, seen, elapsed, moved, steps = (np.zeros(NUM_MACHINES) for _ in range(5))
    is_over = np.zeros(NUM_MACHINES, dtype=np.bool_)
    actions = np.tile(np.array(action, np.float32), (NUM_MACHINES, 1))
    while not is_over.all():
        _, rewards, dones, _ = adapter.step(actions)
        _, own, _, _, info = twin.step(np.clip(actions, -1, 1))
        plain[~is_over] += own[~is_over]
        seen[~is_over] += rewards[~is_over]
        steps[~is_over] += 1
        for index in np.flatnonzero(dones & ~is_over):
            final = {key: info["final_info"][key][index] for key in ("elapsed_s", "promoted_pages", "demoted_pages")}
            elapsed[index], moved[index] = final["elapsed_s"], final["promoted_pages"] + final["demoted_pages"]
        is_over |= dones
    return Played(plain, seen, elapsed, moved, steps, np.array(info["reference_s"]))


@pytest.fixture(scope="module")
def baselines() -> list[Baseline]:
    return baselines_of_machines(SCENARIOS, NUM_MACHINES, SEED, "training")


@pytest.mark.parametrize("share", [1.0, 0.97])
@pytest.mark.parametrize("action", [NOTHING, STEADY, WASTEFUL])
def test_what_is_lost_to_no_migration_counts_so_many_times(
    baselines: list[Baseline], action: Any, share: float
) -> None:
    # on these scenarios nothing loses, so it is made quicker
    quicker = [Baseline(entry.factor, share * entry.time_over_work_s) for entry in baselines]
    played = play(RewardForm(worse_than_no_migration=4), quicker, action)
    lost_s = np.maximum(played.elapsed_s - [entry.time_over_work_s[-1] for entry in quicker], 0)
    assert (lost_s > 0.01).any() == (share < 1)
    np.testing.assert_allclose(played.seen, played.plain - 3 * lost_s / played.reference_s, atol=1e-5)


def test_each_page_moved_costs_its_time(baselines: list[Baseline]) -> None:
    played = play(RewardForm(move_cost="2us"), [], STEADY)  # type: ignore[arg-type]
    assert played.moved.min() > 0
    np.testing.assert_allclose(played.seen, played.plain - 2e-6 * played.moved / played.reference_s, atol=1e-5)


def test_actions_beyond_their_range_cost_their_square_and_are_clipped() -> None:
    played = play(RewardForm(overshoot_cost=0.5), [], [1.5, -1.2, 0.3])
    np.testing.assert_allclose(played.seen, played.plain - 0.5 * (0.25 + 0.04) * played.steps, rtol=1e-4)


def test_the_last_step_of_an_episode_is_in_its_own_units() -> None:
    last, actions = [], np.tile(np.array([-1, 1, 1], np.float32), (2, 1))
    for size in ("512MiB", "64MiB"):
        envs = TieredMemoryVectorEnv(
            2,
            tiny(),
            autoreset_mode="SameStep",
            max_episode_steps=12,
            next_scenario=lambda _, size=size: tiny(size=size),
        )
        adapter = TieredMemoryVecEnv(envs, Rewards(RewardForm(move_cost="1ms")))  # type: ignore[arg-type]
        adapter.seed(3)
        adapter.reset()
        rewards = [adapter.step(actions)[1] for _ in range(12)]
        last.append(rewards[-1])
    assert (last[0] < -0.1).all()
    np.testing.assert_array_equal(*last)


def test_without_that_cost_they_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"actions: must lie in \[-1, 1\]"):
        play(RewardForm(), [], [1.5, -1.2, 0.3])


def test_an_episode_cut_short_owes_what_it_has_lost_by_then(baselines: list[Baseline]) -> None:
    played = play(RewardForm(worse_than_no_migration=4, move_cost="2us"), baselines, WASTEFUL, max_episode_steps=5)  # type: ignore[arg-type]
    again = play(RewardForm(), [], WASTEFUL, max_episode_steps=5)
    assert (played.seen <= again.seen - 2e-6 * played.moved / played.reference_s + 1e-6).all()


def test_a_scenario_counts_by_the_root_of_what_can_be_won(baselines: list[Baseline]) -> None:
    seeds = [SEED + index for index in range(EPISODES)]
    for scenario, entry in zip(SCENARIOS, baselines, strict=False):
        row = evaluate_no_migration(scenario, seeds)
        gap = max(row - clairvoyant(scenario, seeds), 0.01 * reference(scenario))
        assert entry.factor == pytest.approx(0.5 * np.sqrt(reference(scenario) / gap))
    played = play(RewardForm(scale=3, normalise="gap"), baselines, STEADY)
    factors = [entry.factor for entry in baselines]
    np.testing.assert_allclose(played.seen, 3 * np.array(factors) * played.plain, rtol=1e-4)
    assert len(set(factors)) == 2 and factors[:2] == factors[2:]


def evaluate_no_migration(scenario: Any, seeds: list[int]) -> float:
    task = simulated_task([scenario.replace(control="off")] * len(seeds))
    return float(run_episodes(task, holding(np.zeros((len(seeds), 3))), seeds).objective.mean())


def clairvoyant(scenario: Any, seeds: list[int]) -> float:
    system = LumpedSystem([scenario] * len(seeds))
    system.reset(episode_seeds(seeds), ["training"] * len(seeds))
    return float(np.mean([clairvoyant_bound_s(system, index) for index in range(len(seeds))]))


def reference(scenario: Any) -> float:
    return float(LumpedSystem([scenario]).reference_s[0])


def test_no_migration_s_curve_leads_from_nothing_to_its_time() -> None:
    seeds = [SEED, SEED + 1]
    entry = baseline(tiny(), seeds, "training")
    assert entry.time_over_work_s.shape == (NUM_POINTS,) and entry.time_over_work_s[0] == 0
    assert (np.diff(entry.time_over_work_s) > 0).all()
    assert entry.time_over_work_s[-1] == pytest.approx(evaluate_no_migration(tiny(), seeds))
    without = baseline(tiny(), seeds, "training", has_gap=False)
    assert without.factor == 1 != entry.factor
    np.testing.assert_array_equal(without.time_over_work_s, entry.time_over_work_s)


@given(
    elapsed=st.lists(st.floats(0.1, 3), min_size=1, max_size=20),
    factor=st.floats(1, 10),
    total_s=st.floats(1, 30),
)
def test_the_cost_of_losing_adds_up_to_that_of_the_end(elapsed: list[float], factor: float, total_s: float) -> None:
    curve = Baseline(1.0, np.linspace(0, total_s, NUM_POINTS))
    rewards = Rewards(RewardForm(worse_than_no_migration=factor), [curve])
    counts = {"promoted_pages": np.zeros(1), "demoted_pages": np.zeros(1), "reference_s": np.ones(1)}
    rewards.restart(counts)
    seen = now = 0.0
    for number, step_s in enumerate(elapsed, start=1):
        now += step_s
        progress = {"elapsed_s": np.array([now]), "work_done": np.array([number / len(elapsed)])}
        actions = np.zeros((1, 3), np.float32)
        seen += float(rewards.apply(np.array([-step_s]), actions, counts | progress, np.zeros(1, dtype=np.bool_))[0])
    assert seen == pytest.approx(-now - (factor - 1) * max(now - total_s, 0), rel=1e-4, abs=1e-4)


def test_a_form_that_compares_needs_something_to_compare_with() -> None:
    for form in (RewardForm(normalise="gap"), RewardForm(worse_than_no_migration=2)):
        assert form.needs_baselines
        with pytest.raises(ValueError, match="needs the baseline of every machine"):
            Rewards(form)
    assert not RewardForm(scale=7, move_cost="1us").needs_baselines  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reward", "changes", "message"),
    [
        ({"scale": 0}, {}, "reward.scale=0: must be greater than 0"),
        ({"normalise": "gain"}, {}, "reward.normalise='gain'"),
        ({"worse_than_no_migration": 0.5}, {}, "reward.worse_than_no_migration=0.5: must be greater than or equal"),
        ({"move_cost": 3}, {}, "reward.move_cost"),
        ({"bonus": 3}, {}, "reward.bonus: unknown key"),
        ({"normalise": "gap"}, {"objective": "worst-slowdown"}, "is no time, and has no bounds"),
        ({"worse_than_no_migration": 2}, {"objective": "application"}, "known on the way for last-end alone"),
    ],
)
def test_bad_forms_are_named(
    write_config: WriteConfig, reward: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    scenarios = [{"like": "tiny.yaml", **changes}]
    path = write_config(reward=reward, scenarios=scenarios, shaping=False)
    with pytest.raises(ConfigError) as caught:
        load_training_config(str(path))
    assert f"{path}: reward" in str(caught.value) and message in str(caught.value) and "\n" not in str(caught.value)


def test_a_run_trains_on_every_form_and_is_judged_by_time_alone(write_config: WriteConfig, tmp_path: Path) -> None:
    reward = {"scale": 10, "normalise": "gap", "worse_than_no_migration": 3, "move_cost": "1us"}
    reward |= {"overshoot_cost": 0.1}
    start = [1.5, -1.5, 0.0]  # that the policy would do were it not kept within the range where it is judged
    config = load_training_config(str(write_config(reward=reward, initial_action=start, timesteps=32)))
    with RunDirectory.create(tmp_path / "run", config, "tierenv train") as run:
        best = learn(config, run).best
    assert best is not None and 1 <= best.normalised_time < 2
    row = evaluate(str(tmp_path / "run" / "scenarios" / "moving-hot-set.yaml"), [str(tmp_path / "run")], 1).rows[0]
    assert 1 <= row.episodes.normalised_objective.mean() < 2
