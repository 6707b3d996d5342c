"""tierenv in Python: an environment, learners, a policy and a reward of one's own, comparison, export, saved states.

A script to read and to run (seconds; stable-baselines3 comes with `pip install 'tierenv[train]'`):

    python docs/quickstart.py [FOLDER]

What it writes goes to FOLDER, by default a temporary one. Each function is a section that stands for itself.
"""

import copy
import pickle
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import tierenv
from tierenv.action import ActionCodec
from tierenv.agents.export import export_policy
from tierenv.agents.policies import load_policy
from tierenv.agents.policy import Policy
from tierenv.features import observed_columns
from tierenv.tunables import Setting
from tierenv.wrappers import InfoReward, VectorInfoReward

ENV_ID = "tierenv/TieredMemory-v1"

# A packaged scenario, cut down so that an episode takes milliseconds: 1 GiB with a fast tier of a quarter of it, a
# decision every 500 ms, 8 regions in place of 64. A scenario of yours is a YAML file: docs/configuration.md.
SCENARIO = tierenv.load_scenario("moving-hot-set").replace(
    name="small", size="1GiB", fast_capacity="256MiB", control_interval="500ms", regions=8
)


# 1. The environment. ------------------------------------------------------------------------------------------------


def play_one_episode() -> None:
    """Random actions. Names of scenarios (`tierenv list scenarios`), paths and records are taken alike."""
    env = gym.make(ENV_ID, scenario=SCENARIO)
    env.action_space.seed(1)
    observation, info = env.reset(seed=1)
    is_over, total = False, 0.0
    while not is_over:
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        total += float(reward)
        is_over = terminated or truncated
    # The reward of a step is minus its time over that of the whole run with all memory fast.
    print(f"random actions: {info['elapsed_s']:.2f} s, all fast {info['reference_s']:.2f} s, return {total:.3f}")
    daemon = SCENARIO.daemon
    print(f"  an observation: {', '.join(column.name for column in observed_columns(daemon))}")
    print(f"  an action: {', '.join(daemon.tunables)}, each in [-1, 1]")


# 2. A policy of one's own. ------------------------------------------------------------------------------------------


class OpenWhenHot:
    """Scans fast; promotes without a limit while much of the slow tier is found accessed, and nothing otherwise.

    Whatever has these seven names is a policy (tierenv.agents.policy.Policy). It sees n machines at a time, and nothing
    but their observations, as a kernel would.
    """

    name = "open-when-hot"
    control = "tunables"  # its actions set the tunables; of "kernel-rule" and "off" nobody looks at them
    observation = None  # all features of its daemon; rows of tierenv.observation_spec.observation_rows for another
    identity = None  # a text that changes with its decisions would let an evaluation keep what it has computed

    def __init__(self, daemon: Any) -> None:
        self.daemon = daemon  # the one it runs on; None for that of each scenario
        self._column = [column.name for column in observed_columns(daemon)].index("accessed_slow")
        settings = [
            Setting({"scan_period": 200.0, "scan_size": float(1 << 30), "throttle": throttle})  # ms, B, B/s
            for throttle in (0.0, np.inf)
        ]
        self._shut, self._open = ActionCodec(daemon).encode([each.row for each in settings]).astype(np.float32)

    def reset(self, num_machines: int) -> None:
        """A new episode begins on so many machines: forget what was."""

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Actions float32[n, T] for observations float32[n, columns]."""
        is_hot = observation[:, self._column] > 0.2
        return np.where(is_hot[:, None], self._open, self._shut)


def open_when_hot(scenario: tierenv.Scenario) -> OpenWhenHot:
    """What `tierenv evaluate ... --policy python:quickstart:open_when_hot` calls, in the folder of this file."""
    return OpenWhenHot(scenario.daemon)


# 3. Comparison. -----------------------------------------------------------------------------------------------------


def compare(folder: Path, *own: Policy) -> None:
    """Policies of one's own beside the baselines: same episodes, paired, with bounds on what any policy can reach.

    Every second episode has an order of phases that trainings never see, on seeds that they do not use either.
    """
    from tierenv.train.evaluate import evaluate

    mine = {policy.name: policy for policy in own}

    def load(name: str, scenario: tierenv.Scenario) -> Policy:
        return mine[name] if name in mine else load_policy(name, scenario)

    path = folder / "small.yaml"
    path.write_text(scenario_file())
    baselines = ["no-migration", "built-in", "static:200,1024,64"]
    result = evaluate(str(path), [*baselines, *mine], num_seeds=4, load=load)
    for row in result.rows:
        closed = row.gap_closed
        print(f"  {row.policy:20} {row.seconds.value:.2f} s, {closed:.0%} of the gap to the clairvoyant closed")


def scenario_file() -> str:
    """The scenario as a file says it: what differs from a packaged one."""
    return "like: moving-hot-set\nsize: 1GiB\nfast_capacity: 256MiB\ncontrol_interval: 500ms\nregions: 8\n"


# 4. A reward of one's own. ------------------------------------------------------------------------------------------


def time_and_traffic(before: Mapping[str, Any], after: Mapping[str, Any]) -> Any:
    """Time, and a price for each page that moves: 1 % of the run with all memory fast for each 100,000 pages.

    Of an info counts are since the start of the episode, so those of a step are differences. Arithmetic serves one
    environment, whose info holds numbers, as well as a batch, whose info holds arrays.
    """
    moved = sum(after[key] - before[key] for key in ("promoted_pages", "demoted_pages"))
    return after["reward_time"] - 1e-7 * moved


def use_own_reward() -> None:
    """The wrapper knows where autoreset puts the last info of an episode. Policies are compared by time alone.

    A reward that shall only help to learn, and not change what is best, is a shaping: `shaping_gamma=` of the
    environment, the learner's discount factor, brings one (tierenv/reward.py).
    """
    env = InfoReward(gym.make(ENV_ID, scenario=SCENARIO), time_and_traffic)
    envs = VectorInfoReward(gym.make_vec(ENV_ID, num_envs=2, scenario=SCENARIO), time_and_traffic)
    env.reset(seed=1)
    envs.reset(seed=1)
    action = np.array([-1.0, 0.5, 1.0], dtype=np.float32)
    for _ in range(4):
        _, one, _, _, info = env.step(action)
        _, both, _, _, _ = envs.step(np.stack([action, action]))
        assert one == both[0]  # environment i of a batch is the single one seeded seed + i, bit for bit
    print(f"own reward: {one:.4f} where time alone is {info['reward_time']:.4f}")


# 5. stable-baselines3. ----------------------------------------------------------------------------------------------


def learn_with_stable_baselines3(folder: Path) -> "Learned":
    """Any of its algorithms takes the environment; its vector adapter steps the whole batch in one compiled call."""
    from stable_baselines3 import PPO

    from tierenv.train.vec_adapter import TieredMemoryVecEnv

    model = PPO("MlpPolicy", gym.make(ENV_ID, scenario=SCENARIO), n_steps=64, device="cpu", seed=1)
    model.learn(64)

    batch = partial(gym.make_vec, ENV_ID, num_envs=16, autoreset_mode="SameStep", shaping_gamma=1.0)
    easy, hard = SCENARIO.replace(fast_capacity="512MiB"), SCENARIO
    envs = TieredMemoryVecEnv(batch(scenario=easy))
    model = PPO("MlpPolicy", envs, n_steps=32, batch_size=128, n_epochs=2, gamma=1.0, device="cpu", seed=1)
    model.learn(1024)
    # A curriculum: options of the next reset, and `set_env`, which asks for one. Episodes after that keep them.
    envs.set_options({"scenario": hard})
    model.set_env(envs)
    model.learn(1024, reset_num_timesteps=False)

    model.save(folder / "model.zip")  # --policy sb3:model.zip --trust evaluates and plots it
    return Learned(model)


class Learned:
    """Any model with `predict` as a policy."""

    name = "ppo-of-a-moment"
    control = "tunables"
    daemon = None
    observation = None
    identity = None

    def __init__(self, model: Any) -> None:
        self._model = model

    def reset(self, num_machines: int) -> None:
        """It remembers nothing."""

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Without noise."""
        actions: np.ndarray = self._model.predict(observation, deterministic=True)[0]
        return actions


# 6. A loop of one's own. --------------------------------------------------------------------------------------------

Transitions = dict[str, np.ndarray]
Act = Callable[[np.ndarray], np.ndarray]


def roll_out(envs: gym.vector.VectorEnv, act: Act, num_steps: int, seed: int) -> Transitions:
    """Steps of n environments, arrays [num_steps, n, ...]: what a value is learned from.

    `next_observation` is what followed the action, also where the episode ended; `is_terminal` says where nothing
    follows, which truncation does not: there a learner bootstraps. `is_valid` leaves out steps that are none.
    """
    is_next_step = envs.metadata["autoreset_mode"] is gym.vector.AutoresetMode.NEXT_STEP
    observation, _ = envs.reset(seed=seed)
    has_ended = np.zeros(envs.num_envs, dtype=np.bool_)
    steps = []
    for _ in range(num_steps):
        action = act(observation)
        following, reward, terminated, truncated, info = envs.step(action)
        after = following.copy()
        if "final_obs" in info:  # SAME_STEP: `following` begins the next episode already where one has ended
            for index in np.flatnonzero(info["_final_obs"]):
                after[index] = info["final_obs"][index]
        # NEXT_STEP: the step after an end only starts the next episode, whatever the action
        is_valid = ~has_ended if is_next_step else np.ones(envs.num_envs, dtype=np.bool_)
        steps.append((observation, action, reward, after, terminated, is_valid))
        has_ended, observation = terminated | truncated, following
    names = ("observation", "action", "reward", "next_observation", "is_terminal", "is_valid")
    return {name: np.stack(column) for name, column in zip(names, zip(*steps, strict=True), strict=True)}


def targets(transitions: Transitions, value: Act, gamma: float) -> np.ndarray:
    """What the value of each valid observation is moved towards."""
    following = value(transitions["next_observation"])
    target: np.ndarray = transitions["reward"] + gamma * ~transitions["is_terminal"] * following
    return target[transitions["is_valid"]]


def run_own_loop() -> None:
    """In either mode of autoreset a loop sees the same transitions; PPO of CleanRL is such a loop."""
    for mode in ("SameStep", "NextStep"):
        envs = gym.make_vec(ENV_ID, num_envs=4, scenario=SCENARIO, autoreset_mode=mode, max_time_multiple=1.09)
        transitions = roll_out(envs, lambda seen: np.zeros((len(seen), 3), dtype=np.float32), 200, seed=1)
        target = targets(transitions, lambda seen: np.full(seen.shape[:-1], -1.0), gamma=0.99)
        print(f"{mode}: {target.size} transitions, {int(transitions['is_terminal'].sum())} of them terminal")


# 7. Scenarios by turns. ---------------------------------------------------------------------------------------------


def go_through_scenarios() -> None:
    """Options of a reset hold until others are given: a harder scenario, and orders of phases never trained on.

    Spaces stay as they are, so the daemon must have the same tunables and features. Records are faster than names.
    """
    envs = gym.make_vec(ENV_ID, num_envs=2, scenario=SCENARIO, autoreset_mode="Disabled", max_episode_steps=5)
    observation, _ = envs.reset(seed=1)
    for capacity in ("512MiB", "256MiB", "128MiB"):
        ended = np.zeros(2, dtype=np.bool_)
        while not ended.any():
            observation, _, terminated, truncated, _ = envs.step(np.zeros((2, 3), dtype=np.float32))
            ended = terminated | truncated
        harder = SCENARIO.replace(fast_capacity=capacity)
        envs.reset(options={"reset_mask": ended, "scenario": harder, "phase_orders": "held-out"})
    print(f"last of the curriculum: {envs.unwrapped.scenarios[0]}")


# 8. Saved states. ---------------------------------------------------------------------------------------------------


def look_ahead(folder: Path) -> None:
    """A copy goes on as the original would, bit for bit: what each choice would come to from here.

    So does a pickle, in another process and at any number of threads. It is for the version of tierenv that wrote it,
    and for nobody else's hands: loading a pickle runs whatever its author put there. Policies for others are exported.
    """
    env = gym.make(ENV_ID, scenario=SCENARIO)
    env.reset(seed=1)
    choices = np.array([[0.0, 0.0, throttle] for throttle in (-1.0, 0.0, 1.0)], dtype=np.float32)
    times = []
    for choice in choices:
        trial, is_over = copy.deepcopy(env), False
        while not is_over:
            _, _, terminated, truncated, info = trial.step(choice)
            is_over = terminated or truncated
        times.append(info["elapsed_s"])
    env.step(choices[int(np.argmin(times))])
    print(f"looked ahead: {', '.join(f'{seconds:.2f} s' for seconds in times)} without, with some, with any promotion")

    path = folder / "state.pickle"
    path.write_bytes(pickle.dumps(env))
    restored = pickle.loads(path.read_bytes())  # ours: just written
    assert restored.step(choices[0])[4] == env.step(choices[0])[4]


# 9. Export. ---------------------------------------------------------------------------------------------------------


def export(folder: Path) -> None:
    """What an operator installs: docs/export.md. A policy of one's own exports if it is a bundle or a run folder."""
    numa = tierenv.load_scenario("skewed").under(tierenv.load_daemon("numa-balancing"))
    export_policy("best-static", "sysfs", folder / "setting.sh", numa, target="numa-balancing")
    export_policy("moving-hot-set-tree", "rules", folder / "rules.txt")
    print(f"wrote {', '.join(sorted(path.name for path in folder.iterdir()))}")


def main(folder: Path) -> None:
    """All sections."""
    play_one_episode()
    learned = learn_with_stable_baselines3(folder)
    compare(folder, open_when_hot(SCENARIO), learned)
    use_own_reward()
    run_own_loop()
    go_through_scenarios()
    look_ahead(folder)
    export(folder)


if __name__ == "__main__":
    if sys.argv[1:]:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
