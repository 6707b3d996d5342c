"""What each algorithm makes of equal time: `python -m tierenv.train.studies.algorithms`.

Each configuration of `tierenv.train.algorithms`' table for the moving hot set is trained with several seeds, one after
the other, for the same wall time, evaluations not counted, and judged beside the best static setting where the hot set
moves. Every training has one processor: times are equal as long as no more of them are made at once than there are
processors. A study that was stopped goes on with the runs that are not done.
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from tyro.conf import arg

from tierenv.errors import ConfigError
from tierenv.train.algorithms import ALGORITHMS, find_algorithm
from tierenv.train.config import TrainingConfig, load_training_config
from tierenv.train.evaluate import evaluate
from tierenv.train.evaluation import Row
from tierenv.train.judging import BASELINE
from tierenv.train.provenance import git_revision, machine
from tierenv.train.run_dir import write_json
from tierenv.train.studies.training import trained
from tierenv.train.tables import plain_table
from tierenv.train.verbs.common import INTERRUPTED

SCENARIOS = ("moving-hot-set", "moving-hot-set-far")
MOST_TIMESTEPS = 1_000_000_000
"""More than any algorithm makes in a time that somebody waits for: time ends each training."""


@dataclass(frozen=True)
class AlgorithmsStudy:
    """Train every algorithm for the same wall time and compare what each has learned."""

    wall_time: Annotated[str, arg(metavar="TIME")] = "15min"
    """Of each training."""
    training_seeds: int = 3
    """Trainings of each algorithm: seeds 0, 1, ..."""
    seeds: int = 20
    """Episodes of each scenario and policy."""
    algorithms: tuple[str, ...] = tuple(ALGORITHMS)
    """Which of them."""
    folder: Annotated[Path, arg(metavar="DIR")] = Path("runs/algorithms")
    """Where the runs go."""
    json: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write the result to this file, for machines."""


@dataclass(frozen=True)
class Trained:
    """A training that is done."""

    config: TrainingConfig
    folder: Path
    timesteps: int
    trained_s: float

    def to_json(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The training and what it comes to on each scenario."""
        return {
            "algorithm": self.config.algorithm,
            "configuration": self.config.name,
            "seed": self.config.seed,
            "timesteps": self.timesteps,
            "trained_s": self.trained_s,
            "scenarios": {row.scenario.name: _outcome(row) for row in rows if row.policy == str(self.folder)},
        }


def train(options: AlgorithmsStudy, algorithm: str, seed: int) -> Trained | None:
    """Train, or go on with, one run. Returns None if it was interrupted."""
    config = load_training_config(f"{algorithm}-moving-hot-set").with_overrides(
        seed=seed, timesteps=MOST_TIMESTEPS, wall_time=options.wall_time, torch_threads=1, simulator_threads=1
    )
    folder = options.folder / f"{config.name}-s{seed}"
    result = trained(config, folder, f"python -m tierenv.train.studies.algorithms, {config.name}")
    return None if result is None else Trained(config, folder, *result)


def judge(options: AlgorithmsStudy, runs: Sequence[Trained]) -> dict[str, Any]:
    """What the result file holds."""
    policies = [*(str(run.folder) for run in runs), BASELINE]
    rows = [row for scenario in SCENARIOS for row in evaluate(scenario, policies, options.seeds).rows]
    return {
        "schema": 1,
        "git_revision": git_revision(),
        "machine": machine(),
        "wall_time": options.wall_time,
        "seeds": options.seeds,
        "rows": [run.to_json(rows) for run in runs],
        BASELINE: {row.scenario.name: _outcome(row) for row in rows if row.policy == BASELINE},
    }


def _outcome(row: Row) -> dict[str, Any]:
    difference = row.difference_to_baseline
    return {
        "seconds": row.objective.to_json(),
        "gap_closed": row.gap_closed,
        "difference_to_best_static_s": difference and difference.to_json(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, judge and print a line for each training. Returns the exit code: 130 if interrupted, 2 for bad input."""
    options = tyro.cli(AlgorithmsStudy, args=arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        return _run(options)
    except ConfigError as error:
        print(f"tierenv: {error}", file=sys.stderr)
        return 2


def _run(options: AlgorithmsStudy) -> int:
    runs = []
    for algorithm in options.algorithms:
        find_algorithm(algorithm, "--algorithms")
    for algorithm in options.algorithms:
        for seed in range(options.training_seeds):
            run = train(options, algorithm, seed)
            if run is None:
                return INTERRUPTED
            runs.append(run)
    result = judge(options, runs)
    cells = [
        (
            row["algorithm"],
            str(row["seed"]),
            f"{row['timesteps']:,}",
            f"{row['trained_s']:.0f}",
            *_gaps(row["scenarios"]),
        )
        for row in result["rows"]
    ]
    cells.append((BASELINE, "", "", "", *_gaps(result[BASELINE])))
    columns = ["algorithm", "seed", "steps", "trained [s]", *(f"{name}: gap closed" for name in SCENARIOS)]
    Console().print(plain_table(f"each trained for {options.wall_time}", columns, cells))
    if options.json is not None:
        write_json(options.json, result)
    return 0


def _gaps(scenarios: dict[str, Any]) -> list[str]:
    gaps = [scenarios[name]["gap_closed"] for name in SCENARIOS]
    return ["-" if gap is None else f"{100 * gap:.1f} %" for gap in gaps]


if __name__ == "__main__":
    sys.exit(main())
