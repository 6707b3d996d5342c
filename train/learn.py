"""Training with stable-baselines3: checkpoints, evaluation on fixed episodes, Ctrl-C and resumption."""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from tierenv.agents.foreign import Sb3Policy
from tierenv.agents.run_folder import SelectionResult
from tierenv.errors import ConfigError
from tierenv.progress import ReportProgress, unreported
from tierenv.scenario import Scenario
from tierenv.sim import threads
from tierenv.task import simulated_task
from tierenv.train import models
from tierenv.train import seeds as seed_blocks
from tierenv.train.clock import Clock
from tierenv.train.config import TrainingConfig, check_baselines
from tierenv.train.episodes import run_episodes
from tierenv.train.interrupt import deferred_interrupt
from tierenv.train.progress_csv import ProgressCsv
from tierenv.train.reward_baselines import baselines_of_machines
from tierenv.train.rewards import Baseline, Rewards
from tierenv.train.run_dir import RunDirectory
from tierenv.train.vec_adapter import TieredMemoryVecEnv
from tierenv.vector_env import TieredMemoryVectorEnv

log = logging.getLogger(__name__)

LOG_INTERVAL = 8192
"""Environment steps between two rows of progress.csv where there are no rollouts to tell of."""


@dataclass(frozen=True)
class TimeSpent:
    """Where the wall time of a training went [s]."""

    total_s: float
    model_s: float
    """In the environments the learner acts in."""
    evaluation_s: float

    @property
    def learner_s(self) -> float:
        """All the rest: networks, gradients, logging, files."""
        return self.total_s - self.model_s - self.evaluation_s


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended."""

    run_path: Path
    timesteps: int
    new_timesteps: int
    """Of this call; the rest came before it was resumed."""
    best: SelectionResult | None
    is_interrupted: bool
    trained_s: float
    """Time of all commands together, without evaluations [s]."""
    time_spent: TimeSpent


class Selection:
    """Judges a model on fixed episodes: the same seeds of every scenario, training phase orders.

    The scenarios are those of the training, or of a family's selection set, whose platforms and forms nobody trains on.
    """

    def __init__(self, config: TrainingConfig) -> None:
        seeds = seed_blocks.block(seed_blocks.SELECTION, config.evaluation.seeds, "evaluation.seeds")
        chosen_on = config.selection_scenarios
        scenarios = [scenario for scenario in chosen_on for _ in seeds]
        self._names = [scenario.name for scenario in scenarios]
        self._seeds = seeds * len(chosen_on)
        self._task = simulated_task(scenarios, phase_orders="training", observation=config.observation)
        self._menu = None if config.menu is None else np.array(config.menu, np.float32)

    def judge(self, model: BaseAlgorithm, timesteps: int) -> SelectionResult:
        """Run all episodes."""
        without_noise = Sb3Policy("", model.policy, self._menu)
        times = run_episodes(self._task, without_noise, self._seeds).normalised_objective
        names = np.array(self._names)
        by_scenario = {str(name): float(times[names == name].mean()) for name in dict.fromkeys(self._names)}
        return SelectionResult(
            timesteps=timesteps,
            machine_s=models.machine_s(model),
            normalised_time=float(times.mean()),
            by_scenario=by_scenario,
        )


class RunCallback(BaseCallback):
    """Checkpoints, evaluates, logs and stops on request; between rollouts, when the model is whole."""

    def __init__(
        self,
        config: TrainingConfig,
        run: RunDirectory,
        clock: Clock,
        is_interrupted: Callable[[], bool],
        report_progress: ReportProgress,
    ) -> None:
        super().__init__()
        self.time_in_evaluation_s = 0.0
        self.best = run.best_evaluation
        self._config = config
        self._run = run
        self._clock = clock
        self._is_time_up = False
        self._is_interrupted = is_interrupted
        self._report_progress = report_progress
        self._selection = Selection(config)
        self._evaluations = list(run.evaluations)
        self._next_evaluation = 0
        self._next_checkpoint = 0
        self._next_log = 0

    def _on_training_start(self) -> None:
        done = self.model.num_timesteps
        # what an interrupted run learned after its last checkpoint is lost, so its record is too
        self._evaluations = [entry for entry in self._evaluations if entry.timesteps <= done]
        self._next_evaluation = _next_multiple(done, self._config.evaluation.interval)
        self._next_checkpoint = _next_multiple(done, self._config.checkpoint_interval)
        self._next_log = _next_multiple(done, LOG_INTERVAL)
        self._clock.start()

    def _on_rollout_start(self) -> None:
        done = self.model.num_timesteps
        if done >= self._next_evaluation:
            self.evaluate()
            self._next_evaluation = _next_multiple(done, self._config.evaluation.interval)
        if done >= self._next_checkpoint:
            self.checkpoint()
            self._next_checkpoint = _next_multiple(done, self._config.checkpoint_interval)
        if (start := self._config.start_from) is not None:
            models.hold_actor(self.model, self._config, is_held=done < start.critic_steps)
        self._is_time_up = self._clock.is_time_up

    def _on_step(self) -> bool:
        best = "" if self.best is None else f"best {self.best.normalised_time:.4f} x all fast"
        self._report_progress(self.num_timesteps, self._expected_timesteps, best)
        return not (self._is_time_up or self._is_interrupted())

    @property
    def _expected_timesteps(self) -> int:
        """Of the whole training, as far as can be told where it ends by time."""
        done = 1.0 - self._clock.share_left(self.num_timesteps)
        return max(round(self.num_timesteps / max(done, 1e-9)), self.num_timesteps)

    def _on_training_end(self) -> None:
        self._clock.stop()
        if isinstance(self.model, OffPolicyAlgorithm):
            self._record_episodes()
            self.model.dump_logs()

    def _on_rollout_end(self) -> None:
        if not isinstance(self.model, OffPolicyAlgorithm):  # which writes a row for every rollout itself
            self._record_episodes()
        elif self.num_timesteps >= self._next_log:
            self._next_log = _next_multiple(self.num_timesteps, LOG_INTERVAL)
            self._record_episodes()
            self.model.dump_logs()

    def _record_episodes(self) -> None:
        """Figures of the latest episodes that have ended."""
        self.logger.record("time/machine_s", models.machine_s(self.model))
        finished = self.model.ep_info_buffer or ()
        if finished:
            times = [episode["objective"] / episode["objective_all_fast"] for episode in finished]
            self.logger.record("rollout/normalised_time", float(np.mean(times)))
            for key in ("promoted_pages", "demoted_pages", "wasted_promotions"):
                self.logger.record(f"rollout/{key}", float(np.mean([episode[key] for episode in finished])))

    def evaluate(self) -> None:
        """Judge the model and keep it if it is the best so far."""
        started = time.perf_counter()
        with self._clock.stopped():
            result = self._selection.judge(self.model, self.model.num_timesteps)
        self.time_in_evaluation_s += time.perf_counter() - started
        self.logger.record("eval/normalised_time", result.normalised_time)
        self._evaluations = [entry for entry in self._evaluations if entry.timesteps != result.timesteps]
        self._evaluations.append(result)
        self._run.write_evaluations(self._evaluations)
        is_best = self.best is None or result.normalised_time < self.best.normalised_time
        if is_best:
            self.best = result
            self._run.write_best(models.to_bytes(self.model, self._clock.trained_s), result)
        log.info(
            "%d steps: %.4f x all fast%s",
            result.timesteps,
            result.normalised_time,
            ", best so far" if is_best else "",
        )

    def is_judged(self) -> bool:
        """Whether the model at hand was evaluated, and kept if it is the best."""
        best, timesteps = self.best, self.model.num_timesteps
        return best is not None and any(
            entry.timesteps == timesteps and best.normalised_time <= entry.normalised_time
            for entry in self._evaluations
        )

    def checkpoint(self) -> None:
        """Store the model, and what it remembers."""
        model = models.to_bytes(self.model, self._clock.trained_s)
        self._run.write_checkpoint(self.model.num_timesteps, model, models.replay_bytes(self.model))


def learn(
    config: TrainingConfig,
    run: RunDirectory,
    report_progress: ReportProgress = unreported,
) -> TrainingResult:
    """Train, from the latest checkpoint if the run has one, until the configuration's steps or its time are done.

    Args:
        config: what to train.
        run: where everything goes.
        report_progress: told the timesteps done and the best normalised time so far, after every step.

    Raises:
        ConfigError: if the algorithm refuses its hyperparameters, or a checkpoint does not fit.
    """
    started = time.perf_counter()
    set_threads(config)
    times_resumed = run.manifest.times_resumed
    adapter = make_adapter(config, report_progress, times_resumed)
    model = models.make_model(config, run.config_path, adapter)
    checkpoint = run.latest_checkpoint()
    trained_s = 0.0 if checkpoint is None else models.go_on_from(checkpoint, model)
    clock = Clock(config.timesteps, config.wall_time, trained_s)
    models.follow(model, clock)
    # A resumed run goes on with episodes of its own: the generators' states are not in a checkpoint.
    model.set_random_seed(seed_blocks.training_seed(config.seed, times_resumed) % 2**32)
    adapter.seed(seed_blocks.training_seed(config.seed, times_resumed))
    model.set_logger(_make_logger(run, model.num_timesteps))
    done_before = model.num_timesteps
    _tell_rollout(model, config.timesteps)
    with deferred_interrupt() as is_interrupted:
        callback = RunCallback(config, run, clock, is_interrupted, report_progress)
        callback.init_callback(model)
        if not clock.is_over(done_before):
            model.learn(
                config.timesteps - done_before,
                callback=callback,
                # a row for each rollout; off-policy, where it would be for each episode, the callback writes it
                log_interval=None if isinstance(model, OffPolicyAlgorithm) else 1,  # type: ignore[arg-type]
                reset_num_timesteps=done_before == 0,
            )
            clock.stop()
            callback.checkpoint()
        # a run folder without a best model could not be evaluated
        if callback.best is None or not (is_interrupted() or callback.is_judged()):
            callback.evaluate()
        model.logger.close()
        result = TrainingResult(
            run_path=run.path,
            timesteps=model.num_timesteps,
            new_timesteps=model.num_timesteps - done_before,
            best=callback.best,
            is_interrupted=is_interrupted(),
            trained_s=clock.trained_s,
            time_spent=TimeSpent(
                total_s=time.perf_counter() - started,
                model_s=adapter.seconds_in_model,
                evaluation_s=callback.time_in_evaluation_s,
            ),
        )
    run.update_manifest(
        timesteps=result.timesteps,
        trained_s=result.trained_s,
        is_interrupted=result.is_interrupted,
        threads={"torch": torch.get_num_threads(), "simulator": threads.get_num_threads()},
        time_spent=asdict(result.time_spent),
    )
    return result


def _tell_rollout(model: BaseAlgorithm, timesteps: int) -> None:
    """Say it where more is trained than was asked for."""
    left = timesteps - model.num_timesteps
    frequency = getattr(model, "train_freq", None)
    name, steps = ("n_steps", getattr(model, "n_steps", 1)) if frequency is None else ("train_freq", frequency[0])
    rollout = model.n_envs * int(steps)
    if left > 0 and left % rollout:
        log.info(
            "timesteps=%d: whole rollouts of num_envs x %s = %d x %d = %d steps are trained, %d in all",
            timesteps,
            name,
            model.n_envs,
            rollout // model.n_envs,
            rollout,
            model.num_timesteps + -(-left // rollout) * rollout,
        )


def make_adapter(
    config: TrainingConfig, report_progress: ReportProgress = unreported, times_resumed: int = 0
) -> TieredMemoryVecEnv:
    """The environments the learner acts in, as it sees them. Raises `ConfigError`."""
    turns = Turns(config, times_resumed)
    scenarios = turns.first
    envs = TieredMemoryVectorEnv(
        num_envs=config.num_envs,
        scenario=scenarios,
        phase_orders=config.phase_orders,
        observation=config.observation,
        shaping_gamma=config.gamma if config.shaping else None,
        autoreset_mode=AutoresetMode.SAME_STEP,
        next_scenario=turns.next if turns.has_others else None,
    )
    baselines: list[Baseline] = []
    if config.reward.needs_baselines:
        check_baselines(config, config.name)
        seed = seed_blocks.training_seed(config.seed, 0)
        has_gap = config.reward.normalise == "gap"
        plan = scenarios, config.num_envs, seed, config.phase_orders
        baselines = baselines_of_machines(*plan, report_progress, has_gap=has_gap)
    menu = None if config.menu is None else np.array(config.menu, np.float32)
    return TieredMemoryVecEnv(envs, Rewards(config.reward, baselines), menu)


class Turns:
    """The scenarios of a training, at the resolution the learner acts in, in the order in which they have their turns.

    Where there are more than environments, one whose episode ends takes the next, and after the last the first. Each is
    drawn when its turn comes, and kept. A resumed training begins where nobody knows, so it begins further on.

    Args:
        config: of the training.
        times_resumed: before.
    """

    def __init__(self, config: TrainingConfig, times_resumed: int) -> None:
        self._config = config
        self.has_others = config.num_scenarios > config.num_envs
        self._offset = times_resumed * config.num_envs if self.has_others else 0
        self._kept: dict[int, Scenario] = {}

    @property
    def first(self) -> list[Scenario]:
        """Those that the environments begin with."""
        return [self._scenario(index) for index in range(min(self._config.num_envs, self._config.num_scenarios))]

    def next(self, turn: int) -> Scenario:
        """What runs in an episode that begins later. Raises `ConfigError`."""
        return self._scenario(self._config.num_envs + turn)

    def _scenario(self, turn: int) -> Scenario:
        config, index = self._config, (self._offset + turn) % self._config.num_scenarios
        if index not in self._kept:
            try:
                scenario = config.scenario(index)
            except ConfigError as error:
                raise ConfigError(f"{config.name}: family: {error}") from None
            self._kept[index] = scenario if config.regions is None else scenario.replace(regions=config.regions)
        return self._kept[index]


def set_threads(config: TrainingConfig) -> None:
    """Share the cores: the networks are too small for more than one, the model takes the rest."""
    torch.set_num_threads(config.torch_threads)
    threads.set_num_threads(min(config.simulator_threads or threads.NUM_PROCESSORS, threads.NUM_PROCESSORS))


def _make_logger(run: RunDirectory, timesteps: int) -> Logger:
    csv = ProgressCsv(run.progress_path, timesteps)
    return Logger(str(run.path), [csv, TensorBoardOutputFormat(str(run.tensorboard_path))])


def _next_multiple(number: int, interval: int) -> int:
    return (number // interval + 1) * interval
