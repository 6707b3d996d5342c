"""Distilling a learned policy into a decision tree that people can read.

As VIPER (Bastani, Pu and Solar-Lezama, 2018): first the teacher plays, then each round's tree does, and the teacher
says what it would have done wherever the tree got to. Every tree is fitted to all decisions so far, and the one with
the least objective on selection episodes is kept. Unlike in VIPER every decision weighs the same: an actor
learned by policy gradients comes without the action values that would tell which of them matter.

What a tree is fitted to are settings rather than raw outputs: every output within a dead zone counts as the end of the
axis. A leaf takes the median of its decisions in each coordinate, since a mean would make a low throttle of "off" and
"unlimited".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.action import ActionCodec
from tierenv.agents.bundle import TrainedOn, write_bundle
from tierenv.agents.export.learned_source import ORIGIN, LearnedSource, learned_source
from tierenv.agents.policies import find_policy_folder
from tierenv.agents.policy import Array
from tierenv.agents.run_folder import RunFolder
from tierenv.agents.tree import LEAF, DecisionTree
from tierenv.errors import ConfigError
from tierenv.extras import require
from tierenv.objective import objective_name, objective_row
from tierenv.progress import ReportProgress, unreported
from tierenv.scenario import Scenario, load_scenario
from tierenv.task import ModelledTask, simulated_task
from tierenv.train import seeds as seed_blocks
from tierenv.train.config import is_of_family
from tierenv.train.episodes import MAX_TIME_MULTIPLE, Episodes, Recorder, Stateless, run_episodes
from tierenv.train.provenance import git_revision, versions
from tierenv.train.statistics import Estimate, mean_estimate, paired_difference
from tierenv.tunables import TUNABLES

ROUNDS = 10
EPISODES = 16
"""For each scenario and round."""
SELECTION_EPISODES = 16
"""For each scenario and tree."""
MAX_LEAVES = 4096
MIN_DECISIONS_IN_LEAF = 5
"""No leaf for a single odd moment."""
TOLERANCE = 0.25
"""A tunable agrees with the teacher's when it differs by at most this share of the smaller one."""

Model = Callable[[Array], Array]
"""Actions for observations."""


@dataclass(frozen=True)
class Fidelity:
    """How far tree and teacher agree where the tree gets to."""

    action_error: list[float]
    """Mean distance in each coordinate of the action, dead zones at their ends."""
    agreement: list[float]
    """Share of the decisions within `TOLERANCE` for each tunable."""
    decisions: int


@dataclass(frozen=True)
class Comparison:
    """Tree and teacher on the evaluation episodes of one scenario."""

    scenario: Scenario
    teacher: Episodes
    tree: Episodes
    fidelity: Fidelity

    @property
    def difference(self) -> Estimate:
        """Objective of the tree less that of the teacher, paired, in its unit."""
        return paired_difference(self.tree.objective, self.teacher.objective)

    @property
    def held_out_difference(self) -> Estimate | None:
        """The same over phase orders that neither has seen; None without such episodes."""
        tree, teacher = self.tree.objective[1::2], self.teacher.objective[1::2]
        return paired_difference(tree, teacher) if len(tree) else None

    def to_json(self) -> dict[str, Any]:
        """What `--json` writes for the scenario."""
        tunables = tuple(self.scenario.daemon.tunables)
        row, held_out = objective_row(self.scenario.objective), self.held_out_difference
        differences = {
            "difference": self.difference.to_json(),
            "held_out_difference": held_out and held_out.to_json(),
        }
        return {
            "scenario": self.scenario.name,
            "teacher_seconds": _with_runs(self.teacher),
            "tree_seconds": _with_runs(self.tree),
            "objective": {
                "name": objective_name(self.scenario.objective),
                "unit": row.unit,
                "teacher": mean_estimate(self.teacher.objective).to_json(),
                "tree": mean_estimate(self.tree.objective).to_json(),
                **differences,
            },
            **{f"{key}_s": value if row.judges_end_of else None for key, value in differences.items()},
            "decisions": self.fidelity.decisions,
            "action_error": _by_tunable(tunables, self.fidelity.action_error),
            "agreement": _by_tunable(tunables, self.fidelity.agreement),
        }


@dataclass(frozen=True)
class Round:
    """One tree on the way."""

    decisions: int
    """Of the teacher's that it was fitted to."""
    normalised_time: float
    """Mean objective on the selection episodes, over what it comes to with every page fast."""


@dataclass(frozen=True)
class Distillation:
    """The best tree, how it was found and how it compares."""

    source: LearnedSource
    tree: DecisionTree
    rounds: list[Round]
    trained_on: list[TrainedOn]
    rows: list[Comparison]

    @property
    def best_round(self) -> int:
        """Index of the round that made the tree."""
        return _best(self.rounds)

    def to_json(self) -> dict[str, Any]:
        """What `--json` writes."""
        return {
            "schema": 1,
            "teacher": self.source.origin.policy,
            "git_revision": git_revision(),
            "leaves": self.tree.num_leaves,
            "depth": self.tree.depth,
            "tolerance": TOLERANCE,
            "rounds": [vars(entry) for entry in self.rounds],
            "best_round": self.best_round,
            "rows": [row.to_json() for row in self.rows],
        }

    def write(self, output: Path, command: str) -> None:
        """Write the tree as a bundle."""
        teacher = self.source.training
        write_bundle(
            output,
            name=output.resolve().name,
            model=self.tree,
            daemon=self.source.daemon,
            observation=self.source.observation,
            scenarios=self.trained_on,
            training={
                "config": teacher.get("config", {}),
                "command": command,
                "git_revision": git_revision(),
                "versions": versions() | {"scikit-learn": metadata.version("scikit-learn")},
                "evaluation": self.to_json(),
                ORIGIN: {"trained for": "; ".join(str(row.scenario) for row in self.rows)},
                "teacher": {key: value for key, value in teacher.items() if key != "config"},
            },
        )


def distil(
    run_or_bundle: str,
    leaves: int,
    scenario_names: Sequence[str] = (),
    num_seeds: int = 10,
    *,
    num_rounds: int = ROUNDS,
    num_episodes: int = EPISODES,
    report_progress: ReportProgress = unreported,
) -> Distillation:
    """Find a tree that plays like a learned policy. Raises `ConfigError`.

    Args:
        run_or_bundle: the teacher.
        leaves: at most this many.
        scenario_names: to play on; by default those the teacher was trained on, see `training_scenarios`.
        num_seeds: evaluation episodes for each scenario.
        num_rounds: trees to choose from.
        num_episodes: training episodes for each scenario and round.
        report_progress: told what is being done.
    """
    if not 2 <= leaves <= MAX_LEAVES:
        raise ConfigError(f"--leaves={leaves}: must be 2 to {MAX_LEAVES}")
    require("distil", "distil")
    evaluation_seeds = seed_blocks.block(seed_blocks.EVALUATION, num_seeds, "--seeds")
    selection_seeds = seed_blocks.block(seed_blocks.SELECTION, SELECTION_EPISODES, "selection episodes")
    seeds = seed_blocks.block(seed_blocks.DISTILLATION, num_rounds * num_episodes, "rounds x episodes")
    given = [load_scenario(name) for name in scenario_names]
    source = learned_source(run_or_bundle)
    as_read = given or training_scenarios(run_or_bundle, source)
    scenarios = [scenario.replace(daemon=source.daemon, control="tunables") for scenario in as_read]
    codec = ActionCodec(source.daemon)
    task_of = partial(simulated_task, observation=source.observation)
    course = Course(
        practice=task_of([scenario for scenario in scenarios for _ in range(num_episodes)]),
        practice_seeds=[
            seeds[start : start + num_episodes] * len(scenarios) for start in range(0, len(seeds), num_episodes)
        ],
        selection=task_of([scenario for scenario in scenarios for _ in selection_seeds]),
        selection_seeds=selection_seeds * len(scenarios),
    )
    num_parts = num_rounds + len(scenarios)
    tree, rounds = best_tree(
        source.model, codec, course, leaves, lambda done, _total, doing: report_progress(done, num_parts, doing)
    )
    rows: list[Comparison] = []
    for scenario in scenarios:
        report_progress(num_rounds + len(rows), num_parts, f"evaluating on {scenario.name}")
        orders = seed_blocks.evaluation_phase_orders(num_seeds)
        task = task_of([scenario] * num_seeds, phase_orders=orders, max_time_multiple=MAX_TIME_MULTIPLE)
        of_teacher, _ = play(task, source.model, evaluation_seeds)
        of_tree, seen = play(task, tree, evaluation_seeds)
        rows.append(Comparison(scenario, of_teacher, of_tree, fidelity(source.model, tree, codec, seen)))
    return Distillation(source, tree, rounds, [TrainedOn.of(scenario) for scenario in as_read], rows)


@dataclass(frozen=True)
class Course:
    """Where trees learn, and where the best of them shows."""

    practice: ModelledTask
    practice_seeds: Sequence[Sequence[int]]
    """Of each round, an entry for each machine."""
    selection: ModelledTask
    selection_seeds: Sequence[int]
    """An entry for each machine."""


def best_tree(
    teacher: Model,
    codec: ActionCodec,
    course: Course,
    max_leaves: int,
    report_progress: ReportProgress,
    max_depth: int | None = None,
) -> tuple[DecisionTree, list[Round]]:
    """Teach trees round by round. Returns the one with the least objective on the selection episodes, and the rounds.

    Args:
        teacher: plays first, and says what it would have done wherever a tree got to.
        codec: of the actions of both.
        course: episodes of the lessons, and those of the choice.
        max_leaves: a tree has at most this many.
        report_progress: told of each round.
        max_depth: comparisons on the way to a leaf at most; None for any number.
    """
    player = teacher
    seen: list[Array] = []
    rounds: list[Round] = []
    trees: list[DecisionTree] = []
    for number, seeds in enumerate(course.practice_seeds):
        report_progress(number, len(course.practice_seeds), f"round {number + 1}")
        seen.append(play(course.practice, player, seeds)[1])
        observations = np.concatenate(seen)
        player = fit_tree(observations, at_zone_ends(codec, teacher(observations)), max_leaves, max_depth)
        judged, _ = play(course.selection, player, course.selection_seeds)
        rounds.append(Round(len(observations), float(judged.normalised_objective.mean())))
        trees.append(player)
    return trees[_best(rounds)], rounds


def fit_tree(
    observations: Array, actions: NDArray[np.float64], max_leaves: int, max_depth: int | None = None
) -> DecisionTree:
    """The tree that least-squares splitting grows, leaf by leaf, with the median action in each leaf."""
    from sklearn.tree import DecisionTreeRegressor

    regressor = DecisionTreeRegressor(
        max_leaf_nodes=max_leaves, max_depth=max_depth, min_samples_leaf=MIN_DECISIONS_IN_LEAF, random_state=0
    ).fit(observations, actions)
    fitted = regressor.tree_
    is_leaf = fitted.children_left < 0
    threshold = fitted.threshold.astype(np.float32)
    # an observation is a float32: rounding down leaves every comparison as it is
    threshold = np.where(threshold > fitted.threshold, np.nextafter(threshold, np.float32(-np.inf)), threshold)
    value = np.zeros((len(is_leaf), actions.shape[1]), np.float32)
    leaf_of = regressor.apply(observations)
    for leaf in np.flatnonzero(is_leaf):
        value[leaf] = np.quantile(actions[leaf_of == leaf], 0.5, axis=0, method="lower")  # never between two
    return DecisionTree(
        num_features=observations.shape[1],
        feature=np.where(is_leaf, LEAF, fitted.feature).astype(np.int32),
        threshold=np.where(is_leaf, np.float32(0), threshold),
        left=fitted.children_left.astype(np.int32),
        right=fitted.children_right.astype(np.int32),
        value=value,
    )


def at_zone_ends(codec: ActionCodec, actions: Array) -> NDArray[np.float64]:
    """The same settings with every coordinate in a dead zone moved to the end of its axis."""
    return codec.encode(codec.decode(actions))


def fidelity(teacher: Model, tree: Model, codec: ActionCodec, observations: Array) -> Fidelity:
    """Compare what two policies do on the same observations."""
    error = np.abs(at_zone_ends(codec, tree(observations)) - at_zone_ends(codec, teacher(observations)))
    # a dead zone lies further from the range than the tolerance reaches
    agrees = error * codec.octaves_per_unit <= np.log2(1 + TOLERANCE)
    return Fidelity(error.mean(axis=0).tolist(), agrees.mean(axis=0).tolist(), len(observations))


def play(task: ModelledTask, model: Model, seeds: Sequence[int]) -> tuple[Episodes, Array]:
    """Run the episodes of these seeds. Returns them and all observations on which the model decided."""
    recorder = Recorder(Stateless(model), task.system)
    episodes = run_episodes(task, recorder, seeds)
    return episodes, recorder.decided_on


def _best(rounds: Sequence[Round]) -> int:
    return int(np.argmin([entry.normalised_time for entry in rounds]))


def training_scenarios(run_or_bundle: str, source: LearnedSource) -> list[Scenario]:
    """What a run or bundle was trained on; of a run on a family what its environments began with.

    Raises `ConfigError` where a bundle's scenarios are a family's, are gone, or are others by now.
    """
    run = RunFolder(find_policy_folder(run_or_bundle))
    if run.is_run:
        return list(run.configuration.first_scenarios)
    scenarios = []
    for row in source.scenarios:
        if is_of_family(row.name):
            raise ConfigError(
                f"{run_or_bundle}: was trained on {row.name}, a set of a family; name scenarios to play on"
            )
        try:
            scenario = load_scenario(row.name)
        except ConfigError as error:
            raise ConfigError(f"{run_or_bundle}: {error}; name scenarios to distil on with --scenario") from None
        if row.identity not in (None, scenario.identity):
            raise ConfigError(
                f"{run_or_bundle}: scenario {row.name} was another when the policy was trained on it; "
                "name scenarios to distil on with --scenario"
            )
        scenarios.append(scenario)
    return scenarios


def _with_runs(episodes: Episodes) -> dict[str, Any]:
    return mean_estimate(episodes.seconds).to_json() | {"runs": episodes.seconds.tolist()}


def _by_tunable(tunables: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    return {TUNABLES[name].symbol: value for name, value in zip(tunables, values, strict=True)}
