"""Training with stable-baselines3: checkpoints, evaluation on fixed episodes, Ctrl-C and resumption."""

import io
import json
import logging
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat

from tierenv.agents.run_folder import SelectionResult
from tierenv.errors import ConfigError
from tierenv.progress import ReportProgress, unreported
from tierenv.scenario import Scenario
from tierenv.sim import threads
from tierenv.task import simulated_task
from tierenv.train import seeds as seed_blocks
from tierenv.train.config import TrainingConfig
from tierenv.train.episodes import Stateless, run_episodes
from tierenv.train.interrupt import deferred_interrupt
from tierenv.train.progress_csv import ProgressCsv
from tierenv.train.run_dir import RunDirectory
from tierenv.train.vec_adapter import TieredMemoryVecEnv
from tierenv.vector_env import TieredMemoryVectorEnv

log = logging.getLogger(__name__)


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
        self._task = simulated_task(scenarios, phase_orders="training")

    def judge(self, model: BaseAlgorithm, timesteps: int) -> SelectionResult:
        """Run all episodes."""
        without_noise = Stateless(lambda observation: model.predict(observation, deterministic=True)[0])
        times = run_episodes(self._task, without_noise, self._seeds).normalised_objective
        names = np.array(self._names)
        by_scenario = {str(name): float(times[names == name].mean()) for name in dict.fromkeys(self._names)}
        return SelectionResult(timesteps=timesteps, normalised_time=float(times.mean()), by_scenario=by_scenario)


class RunCallback(BaseCallback):
    """Checkpoints, evaluates, logs and stops on request; between rollouts, when the model is whole."""

    def __init__(
        self,
        config: TrainingConfig,
        run: RunDirectory,
        is_interrupted: Callable[[], bool],
        report_progress: ReportProgress,
    ) -> None:
        super().__init__()
        self.time_in_evaluation_s = 0.0
        self.best = run.best_evaluation
        self._config = config
        self._run = run
        self._is_interrupted = is_interrupted
        self._report_progress = report_progress
        self._selection = Selection(config)
        self._evaluations = list(run.evaluations)
        self._next_evaluation = 0
        self._next_checkpoint = 0

    def _on_training_start(self) -> None:
        done = self.model.num_timesteps
        # what an interrupted run learned after its last checkpoint is lost, so its record is too
        self._evaluations = [entry for entry in self._evaluations if entry.timesteps <= done]
        self._next_evaluation = _next_multiple(done, self._config.evaluation.interval)
        self._next_checkpoint = _next_multiple(done, self._config.checkpoint_interval)

    def _on_rollout_start(self) -> None:
        done = self.model.num_timesteps
        if done >= self._next_evaluation:
            self.evaluate()
            self._next_evaluation = _next_multiple(done, self._config.evaluation.interval)
        if done >= self._next_checkpoint:
            self.checkpoint()
            self._next_checkpoint = _next_multiple(done, self._config.checkpoint_interval)

    def _on_step(self) -> bool:
        best = "" if self.best is None else f"best {self.best.normalised_time:.4f} x all fast"
        self._report_progress(self.num_timesteps, self._config.timesteps, best)
        return not self._is_interrupted()

    def _on_rollout_end(self) -> None:
        finished = self.model.ep_info_buffer or ()
        if finished:
            times = [episode["objective"] / episode["objective_all_fast"] for episode in finished]
            self.logger.record("rollout/normalised_time", float(np.mean(times)))
            for key in ("promoted_pages", "demoted_pages", "wasted_promotions"):
                self.logger.record(f"rollout/{key}", float(np.mean([episode[key] for episode in finished])))

    def evaluate(self) -> None:
        """Judge the model and keep it if it is the best so far."""
        started = time.perf_counter()
        result = self._selection.judge(self.model, self.model.num_timesteps)
        self.time_in_evaluation_s += time.perf_counter() - started
        self.logger.record("eval/normalised_time", result.normalised_time)
        self._evaluations = [entry for entry in self._evaluations if entry.timesteps != result.timesteps]
        self._evaluations.append(result)
        self._run.write_evaluations(self._evaluations)
        is_best = self.best is None or result.normalised_time < self.best.normalised_time
        if is_best:
            self.best = result
            self._run.write_best(_to_bytes(self.model), result)
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
        """Store the model."""
        self._run.write_checkpoint(self.model.num_timesteps, _to_bytes(self.model))


def learn(
    config: TrainingConfig,
    run: RunDirectory,
    report_progress: ReportProgress = unreported,
) -> TrainingResult:
    """Train, from the latest checkpoint if the run has one, until the configuration's timesteps are reached.

    Args:
        config: what to train.
        run: where everything goes.
        report_progress: told the timesteps done and the best normalised time so far, after every step.

    Raises:
        ConfigError: if the algorithm refuses its hyperparameters, or a checkpoint does not fit.
    """
    started = time.perf_counter()
    set_threads(config)
    adapter = TieredMemoryVecEnv(
        TieredMemoryVectorEnv(
            num_envs=config.num_envs,
            scenario=_training_scenarios(config),
            phase_orders=config.phase_orders,
            shaping_gamma=config.gamma if config.shaping else None,
            autoreset_mode=AutoresetMode.SAME_STEP,
        ),
        config.reward_scale,
    )
    times_resumed = run.manifest.times_resumed
    model = _make_model(config, run, adapter)
    # A resumed run goes on with episodes of its own: the generators' states are not in a checkpoint.
    model.set_random_seed(seed_blocks.training_seed(config.seed, times_resumed) % 2**32)
    adapter.seed(seed_blocks.training_seed(config.seed, times_resumed))
    model.set_logger(_make_logger(run, model.num_timesteps))
    done_before = model.num_timesteps
    _tell_rollout(model, config.timesteps)
    with deferred_interrupt() as is_interrupted:
        callback = RunCallback(config, run, is_interrupted, report_progress)
        callback.init_callback(model)
        if done_before < config.timesteps:
            model.learn(config.timesteps - done_before, callback=callback, reset_num_timesteps=done_before == 0)
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
            time_spent=TimeSpent(
                total_s=time.perf_counter() - started,
                model_s=adapter.seconds_in_model,
                evaluation_s=callback.time_in_evaluation_s,
            ),
        )
    run.update_manifest(
        timesteps=result.timesteps,
        is_interrupted=result.is_interrupted,
        threads={"torch": torch.get_num_threads(), "simulator": threads.get_num_threads()},
        time_spent=asdict(result.time_spent),
    )
    return result


def _tell_rollout(model: BaseAlgorithm, timesteps: int) -> None:
    """Say it where more is trained than was asked for."""
    left = timesteps - model.num_timesteps
    rollout = model.n_envs * int(getattr(model, "n_steps", 1))
    if left > 0 and left % rollout:
        log.info(
            "timesteps=%d: whole rollouts of num_envs x n_steps = %d x %d = %d steps are trained, %d in all",
            timesteps,
            model.n_envs,
            rollout // model.n_envs,
            rollout,
            model.num_timesteps + -(-left // rollout) * rollout,
        )


def _training_scenarios(config: TrainingConfig) -> list[Scenario]:
    """The scenarios at the resolution the learner acts in."""
    if config.regions is None:
        return list(config.scenarios)
    return [scenario.replace(regions=config.regions) for scenario in config.scenarios]


def set_threads(config: TrainingConfig) -> None:
    """Share the cores: the networks are too small for more than one, the model takes the rest."""
    torch.set_num_threads(config.torch_threads)
    threads.set_num_threads(min(config.simulator_threads or threads.NUM_PROCESSORS, threads.NUM_PROCESSORS))


def _make_model(config: TrainingConfig, run: RunDirectory, adapter: TieredMemoryVecEnv) -> BaseAlgorithm:
    algorithm = config.find_algorithm()
    try:
        model = algorithm.algorithm_class(
            "MlpPolicy",
            adapter,
            gamma=config.gamma,
            seed=config.seed,
            device="cpu",
            policy_kwargs={"net_arch": list(config.policy_net)},
            **config.hyperparameters,
        )
    except (AssertionError, TypeError, ValueError) as error:
        raise ConfigError(f"{run.config_path}: hyperparameters: {algorithm.name}: {_one_line(error)}") from None
    checkpoint = run.latest_checkpoint()
    if checkpoint is None:
        _set_start(model.policy, config)
    else:
        _go_on_from(checkpoint, model)
    return model


def _go_on_from(checkpoint: Path, model: BaseAlgorithm) -> None:
    """Take weights, optimiser and counts from a checkpoint. Raises `ConfigError`.

    stable-baselines3 loads parameters as tensors alone; its `load` would unpickle the rest, which the configuration
    says anyway.
    """
    try:
        model.set_parameters(str(checkpoint), device="cpu")
        if not all(bool(torch.isfinite(tensor).all()) for tensor in model.policy.state_dict().values()):
            raise ValueError("weights must be finite numbers; the training has diverged")
        with zipfile.ZipFile(checkpoint) as archive:
            counts = json.loads(archive.read("data"))
        for name in ("num_timesteps", "_n_updates"):
            setattr(model, name, int(counts[name]))
    except Exception as error:  # neither zipfile nor torch says what it raises for an archive that is spoiled
        reason = str(error).partition(". ")[0]  # torch adds advice
        raise ConfigError(
            f"{checkpoint}: cannot be resumed, remove it to go on from the one before: {type(error).__name__}: {reason}"
        ) from None


def _set_start(policy: Any, config: TrainingConfig) -> None:
    """Let exploration begin where the configuration says."""
    with torch.no_grad():
        if config.initial_action is not None:
            policy.action_net.bias.copy_(torch.tensor(config.initial_action))
        if config.log_std_init is not None:
            policy.log_std.copy_(torch.tensor(config.log_std_init).expand_as(policy.log_std))


def _make_logger(run: RunDirectory, timesteps: int) -> Logger:
    csv = ProgressCsv(run.progress_path, timesteps)
    return Logger(str(run.path), [csv, TensorBoardOutputFormat(str(run.tensorboard_path))])


def _next_multiple(number: int, interval: int) -> int:
    return (number // interval + 1) * interval


def _to_bytes(model: BaseAlgorithm) -> bytes:
    buffer = io.BytesIO()
    model.save(buffer)
    return buffer.getvalue()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
