"""A training of a study, which goes on where it was stopped."""

from pathlib import Path

from tierenv.train.config import TrainingConfig
from tierenv.train.progress import shown_progress
from tierenv.train.run_dir import RunDirectory
from tierenv.train.verbs.common import stderr_console


def trained(config: TrainingConfig, folder: Path, command: str) -> tuple[int, float] | None:
    """Train, or go on with what a folder holds.

    Returns:
        Environment steps, and the time trained [s]; None if it was interrupted.
    """
    from tierenv.train.learn import learn  # here, because torch is in no base installation

    open_run = RunDirectory.resume if (folder / "config.yaml").exists() else RunDirectory.create
    with (
        open_run(folder, config, command) as run,
        shown_progress(folder.name, stderr_console()) as report_progress,
    ):
        result = learn(config, run, report_progress)
    return None if result.is_interrupted else (result.timesteps, result.trained_s)
