"""Ways to learn where something can be won and to do nothing where nothing can: `python -m tierenv.train.studies.ways`.

The preset of the generalist is trained as it is, and each way once more with one thing changed. All are judged on the
selection set of its family, by stake; the final set is not looked at. A study that was stopped goes on with the runs
that are not done.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import tyro
from rich.console import Console
from tyro.conf import arg

from tierenv.agents.foreign import kind_of
from tierenv.agents.policies import load_policy
from tierenv.errors import ConfigError, close_match
from tierenv.train import seeds as seed_blocks
from tierenv.train.config import TrainingConfig, checked, load_training_config
from tierenv.train.journal import journal_of
from tierenv.train.judging import over_no_migration, standings
from tierenv.train.outcomes import Outcome
from tierenv.train.provenance import git_revision
from tierenv.train.run_dir import write_json
from tierenv.train.studies.batch import ALL, Batch
from tierenv.train.studies.training import trained
from tierenv.train.tables import plain_table
from tierenv.train.verbs.common import INTERRUPTED

PRESET = "ppo-generalist"


@dataclass(frozen=True)
class Way:
    """One row of the table."""

    words: str
    """What differs from the preset."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the configuration."""
    mix: Mapping[str, float] | None = None
    """Shares of the kinds of scenarios that are trained on; None for the family's."""
    has_no_turns: bool = False
    """Whether it has as many scenarios as environments, the first of the family's."""

    def configuration(self, preset: TrainingConfig, timesteps: int, seed: int) -> TrainingConfig:
        """The training. Raises `ConfigError` for one that there is not."""
        assert preset.family is not None
        changes = dict(self.changes)
        if self.has_no_turns:
            changes["family_scenarios"] = preset.num_envs
        if self.mix is not None:
            training = preset.family.splits.training.model_copy(update={"mix": dict(self.mix)})
            splits = preset.family.splits.model_copy(update={"training": training})
            preset = preset.model_copy(update={"family": preset.family.model_copy(update={"splits": splits})})
        config = preset.with_overrides(timesteps=timesteps, seed=seed, **changes)
        return checked(config.model_copy(update={"scenarios": ()}), PRESET)  # which are the changed family's


WAYS = {
    "preset": Way("nothing"),
    "fast start": Way("begins with scans as fast as can be", {"initial_action": (-1.0, 0.8, 0.0)}),
    "slow start": Way("begins with a scan in 12 s and a high throttle", {"initial_action": (0.8, 0.8, 0.5)}),
    "shipped start": Way("begins as the policy for the moving hot set", {"start_from": {"policy": "moving-hot-set"}}),
    "new noise": Way(
        "PPO's own noise, drawn anew at each decision", {"algorithm": "ppo", "log_std_init": (-1.0, -1.5, -1.0)}
    ),
    "free overshoot": Way("actions beyond their range cost nothing", {"reward": {"scale": 5.0}}),
    "one each": Way("a scenario for each environment, an eighth of all", has_no_turns=True),
    "seldom to win": Way(
        "a quarter of the scenarios separable, half with nothing to win",
        mix={"separable": 0.25, "flat": 0.25, "nothing-to-win": 0.5},
    ),
    "losses thrice": Way(
        "time that no migration would not have taken counts thrice, and a scenario for each environment",
        {"reward": {"scale": 5.0, "overshoot_cost": 0.006, "worse_than_no_migration": 3}},
        has_no_turns=True,
    ),
    "short memory": Way("averages over 4 steps alone", {"observation": {"averages": [4], "machine": ["fast_share"]}}),
    "stack": Way(
        "the last four values, averages over 4 and 16, and all that is told of the machine",
        {
            "observation": {
                "stack": 4,
                "averages": [4, 16],
                "machine": ["fast_share", "latency_gap", "slow_bandwidth", "bandwidth_ratio"],
            }
        },
    ),
}


@dataclass(frozen=True)
class WaysStudy:
    """Train the generalist in several ways and compare what each comes to."""

    preset: Annotated[str, arg(metavar="CONFIG")] = PRESET
    """Training configuration that is changed: a path, or a name from `tierenv list algorithms`."""
    timesteps: int = 720_000
    """Environment steps of each training."""
    training_seeds: int = 1
    """Trainings of each way: seeds 0, 1, ..."""
    seeds: int = 4
    """Episodes of each scenario."""
    ways: tuple[str, ...] = tuple(WAYS)
    """Which of them."""
    folder: Annotated[Path, arg(metavar="DIR")] = Path("runs/ways")
    """Where the runs go."""
    json: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write the result to this file, for machines."""


def train(options: WaysStudy, preset: TrainingConfig, name: str, seed: int) -> Path | None:
    """Train, or go on with, one run. Returns its folder, None if it was interrupted."""
    config = WAYS[name].configuration(preset, options.timesteps, seed)
    folder = options.folder / f"{name.replace(' ', '-')}-s{seed}"
    return None if trained(config, folder, f"python -m tierenv.train.studies.ways, {name}") is None else folder


def judge(options: WaysStudy, preset: TrainingConfig, runs: Mapping[tuple[str, int], Path]) -> dict[str, Any]:
    """What the result file holds."""
    scenarios = preset.selection_scenarios
    with journal_of("ways", options.preset, options.seeds) as journal:
        batch = Batch(scenarios, seed_blocks.block(seed_blocks.EVALUATION, options.seeds, "--seeds"), journal)
        played = {str(folder): batch.run(load_policy(str(folder), scenarios[0])) for folder in runs.values()}
        outcomes = batch.outcomes(played, {name: kind_of(name) for name in played})
        groups = {group.name: group.members for group in batch.groups}
    totals = {standing.name: standing.over_no_migration.value for standing in standings(outcomes)}
    rows = []
    for (name, seed), folder in runs.items():
        ratios = {number: _over_no_migration(outcomes[number], str(folder)) for number in groups[ALL]}
        rows.append(
            {
                "way": name,
                "what_differs": WAYS[name].words,
                "seed": seed,
                "time_over_no_migration": {
                    group: fmean(ratios[number] for number in members) for group, members in groups.items()
                },
                "worst": max(ratios.values()),
                "total": totals[str(folder)],
            }
        )
    return {
        "schema": 1,
        "git_revision": git_revision(),
        "timesteps": options.timesteps,
        "seeds": options.seeds,
        "scenarios": {group: len(members) for group, members in groups.items()},
        "rows": rows,
    }


def _over_no_migration(outcome: Outcome, policy: str) -> float:
    ratio = over_no_migration(outcome, policy)
    assert ratio is not None, "whose stake is known has both"
    return ratio.value


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, judge and print a line for each training. Returns the exit code: 130 if interrupted, 2 for bad input."""
    options = tyro.cli(WaysStudy, args=arguments, prog="python -m tierenv.train.studies.ways")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        return _run(options)
    except ConfigError as error:
        print(f"tierenv: {error}", file=sys.stderr)
        return 2


def _run(options: WaysStudy) -> int:
    for name in options.ways:
        if name not in WAYS:
            raise ConfigError(f"--ways={name}: unknown{close_match(name, WAYS)}; allowed: {', '.join(WAYS)}")
    preset = load_training_config(options.preset)
    if preset.family is None:
        raise ConfigError(f"--preset={options.preset}: must train on a family, whose selection set judges")
    runs: dict[tuple[str, int], Path] = {}
    for name in options.ways:
        for seed in range(options.training_seeds):
            folder = train(options, preset, name, seed)
            if folder is None:
                return INTERRUPTED
            runs[name, seed] = folder
    result = judge(options, preset, runs)
    groups = list(result["scenarios"])
    cells = [
        [row["way"], str(row["seed"])]
        + [f"{row['time_over_no_migration'][group]:.3f}" for group in groups]
        + [f"{row['worst']:.3f}", f"{row['total']:.3f}"]
        for row in result["rows"]
    ]
    Console(width=None if sys.stdout.isatty() else 160).print(
        plain_table("time over no migration", ["way", "seed", *groups, "worst", "total"], cells)
    )
    if options.json is not None:
        write_json(options.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
