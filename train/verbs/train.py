"""The verb `train`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from tierenv.extras import require
from tierenv.train.progress import shown_progress
from tierenv.train.verbs.common import INTERRUPTED, command_line, print_results, stderr_console

if TYPE_CHECKING:
    from tierenv.train.learn import TrainingResult


@dataclass(frozen=True)
class Train:
    """Train a policy; Ctrl-C stops after a checkpoint, --resume goes on from it."""

    config: Annotated[Positional[str], arg(metavar="CONFIG")]
    """Training configuration: a path, or a name from `tierenv list algorithms`."""
    run_dir: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder of the run; by default runs/CONFIG-sSEED."""
    seed: Annotated[int | None, arg(metavar="N")] = None
    """Seed of networks, exploration and episodes, in place of the configuration's."""
    timesteps: Annotated[int | None, arg(metavar="N")] = None
    """Environment steps to train in all, in place of the configuration's."""
    wall_time: Annotated[str | None, arg(metavar="TIME")] = None
    """Time to train in all, such as 15min, in place of the configuration's: whichever ends first ends training."""
    resume: bool = False
    """Continue the run from its latest whole checkpoint; not bit for bit, since random states are not kept."""

    def run(self) -> int:
        """Train."""
        require("train", "train")
        from tierenv.train.config import load_training_config
        from tierenv.train.run_dir import RunDirectory

        config = load_training_config(self.config).with_overrides(
            seed=self.seed, timesteps=self.timesteps, wall_time=self.wall_time
        )
        open_run = RunDirectory.resume if self.resume else RunDirectory.create
        with open_run(self.run_dir, config, command_line()) as folder:
            from tierenv.train.learn import learn

            with shown_progress("training", stderr_console()) as report_progress:
                result = learn(config, folder, report_progress)
            _print_training(result, str(folder.path))
        return INTERRUPTED if result.is_interrupted else 0


def _print_training(result: "TrainingResult", folder: str) -> None:
    spent = result.time_spent
    busy_s = max(spent.model_s + spent.learner_s, 1e-9)
    print_results(
        f"{result.timesteps:,} environment steps, {result.new_timesteps:,} of them now in {spent.total_s:.1f} s: "
        f"model {spent.model_s / busy_s:.0%}, learner {spent.learner_s / busy_s:.0%} of the training time, "
        f"evaluation {spent.evaluation_s:.1f} s; {result.trained_s:.0f} s trained in all"
    )
    if result.best is not None:
        print_results(
            f"best: {result.best.normalised_time:.4f} x all fast after {result.best.timesteps:,} steps, "
            f"in {folder}/best"
        )
    if result.is_interrupted:
        print_results(f"interrupted; continue with --resume ({folder})")
