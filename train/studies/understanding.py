"""What a learned policy does and why: `python -m tierenv.train.studies.understanding POLICY`.

Which features it goes by (`tierenv.train.studies.importance`), which settings it has in force when
(`tierenv.train.studies.behaviour`), and how much of it a small tree is that people can read, beside the rule that the
kernel has of its own. The tree learns on scenarios for training; all are judged on those of the suite.
"""

import itertools
import logging
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from tyro.conf import Positional, arg

from tierenv.action import ActionCodec
from tierenv.agents.best_static import suites_of
from tierenv.agents.export.learned_source import LearnedSource, learned_source
from tierenv.agents.export.rules import kernel_rule, tree_legend, tree_lines
from tierenv.agents.foreign import kind_of
from tierenv.agents.kinds import Kind
from tierenv.agents.policies import load_policy
from tierenv.agents.policy import Array, Policy
from tierenv.agents.tree import DecisionTree
from tierenv.daemon import Daemon
from tierenv.errors import ConfigError
from tierenv.extras import require
from tierenv.features import Feature
from tierenv.files import check_output
from tierenv.progress import ReportProgress
from tierenv.scenario import Control, Scenario
from tierenv.system import ModelledSystem
from tierenv.task import simulated_task
from tierenv.train import seeds as seed_blocks
from tierenv.train.config import Suite, load_suite
from tierenv.train.distil import TOLERANCE, Course, best_tree, fidelity, training_scenarios
from tierenv.train.episodes import Episodes, Recorder
from tierenv.train.journal import Journal, journal_of
from tierenv.train.judging import standings
from tierenv.train.outcomes import NOTHING, Outcome
from tierenv.train.progress import shown_progress
from tierenv.train.provenance import git_revision
from tierenv.train.run_dir import write_json
from tierenv.train.statistics import Estimate
from tierenv.train.studies.batch import ALL, Batch, Group
from tierenv.train.studies.behaviour import behaviour, decisions_of
from tierenv.train.studies.importance import columns_of, importance
from tierenv.train.tables import plain_table
from tierenv.train.texts import percent_interval
from tierenv.train.verbs.common import stderr_console
from tierenv.tunables import TUNABLES

ROUNDS = 10
"""Trees to choose from."""
MOST_DEPTH = 12
TREE = "tree"
LEARNED: Kind = "learned"
BUILT_IN = "built-in"
EVERYTHING = "everything"
"""What stands for all features together."""


@dataclass(frozen=True)
class Understanding:
    """Say which features a learned policy goes by, what it does, and what a small tree of it is worth."""

    policy: Annotated[Positional[str], arg(metavar="POLICY")]
    """A bundle, by its packaged name or path, or the folder of a run."""
    suite: Annotated[str, arg(metavar="SUITE_OR_SCENARIO")] = "generalist:selection"
    """What it is looked at on; of a family never the final set."""
    seeds: Annotated[int, arg(metavar="N")] = 10
    """Episodes of each scenario."""
    training: Annotated[int, arg(metavar="N")] = 64
    """Scenarios that the tree learns on: of the suite's family, or else the first that the policy was trained on."""
    depth: Annotated[int, arg(metavar="N")] = 4
    """Comparisons of the tree on the way to a setting, at most."""
    output: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write the result to this file, for machines."""


class TreePolicy:
    """A tree as a policy."""

    control: Control = "tunables"
    identity = None
    name = TREE

    def __init__(self, tree: DecisionTree, daemon: Daemon, observation: tuple[Feature, ...]) -> None:
        self.tree = tree
        self.daemon: Daemon | None = daemon
        self.observation: tuple[Feature, ...] | None = observation

    def reset(self, num_machines: int) -> None:
        """Nothing to forget."""

    def act(self, observation: Array) -> Array:
        """The settings of the leaves."""
        return self.tree(observation)


@dataclass(frozen=True)
class Subject:
    """What is looked at, and on what."""

    source: LearnedSource
    policy: Policy
    batch: Batch
    lessons: tuple[Scenario, ...]
    """What a tree learns on."""
    rivals: dict[str, Policy]
    """By name, beside no migration."""


def subject_of(options: Understanding, journal: Journal) -> Subject:
    """Read all that is named. Raises `ConfigError`."""
    require("distil", "a tree of the policy")
    for option, value, most in (("depth", options.depth, MOST_DEPTH), ("training", options.training, None)):
        if value < 1 or (most is not None and value > most):
            raise ConfigError(f"--{option}={value}: must be {'at least 1' if most is None else f'1 to {most}'}")
    seeds = seed_blocks.block(seed_blocks.EVALUATION, options.seeds, "--seeds")
    source = learned_source(options.policy)
    suite = load_suite(options.suite)
    if suite.split == "final":
        raise ConfigError(f"--suite={options.suite}: a final set is not for looks on the way; name the selection set")
    if len(suite.scenarios) * len(seeds) < 2:
        raise ConfigError(f"--seeds={options.seeds}: there must be another machine to take features from; at least 2")
    batch = Batch(tuple(scenario.under(source.daemon) for scenario in suite.scenarios), seeds, journal)
    first = batch.scenarios[0]
    rivals = [BUILT_IN, *(f"one-static:{name}" for name in suites_of(source.daemon.name))]
    return Subject(
        source,
        load_policy(options.policy, first),
        batch,
        _lessons(options, suite, source),
        {name: load_policy(name, first) for name in rivals},
    )


def _lessons(options: Understanding, suite: Suite, source: LearnedSource) -> tuple[Scenario, ...]:
    """Scenarios for training. Raises `ConfigError`."""
    if suite.origin is None:
        known = training_scenarios(options.policy, source)[: options.training]
    else:
        try:
            known = list(suite.origin.family.scenarios("training", options.training))
        except ConfigError as error:
            raise ConfigError(f"--training: {error}") from None
    return tuple(scenario.under(source.daemon, control="tunables") for scenario in known)


def study(options: Understanding, journal: Journal, report_progress: ReportProgress) -> dict[str, Any]:
    """What the result file holds. Raises `ConfigError`."""
    subject = subject_of(options, journal)
    source, batch = subject.source, subject.batch
    columns = columns_of(source.observation) | {EVERYTHING: np.arange(source.model.num_features)}
    # the policy, no migration and bounds, what is taken from others, lessons, the tree itself, rivals
    parts, done = 2 + len(columns) + ROUNDS + 1 + len(subject.rivals), itertools.count()

    def step(doing: str) -> None:
        report_progress(next(done), parts, doing)

    step(options.policy)
    own, recorder = _recorded(subject.policy, batch)
    step("no migration and bounds")
    groups = batch.groups
    if not groups[0].members:
        raise ConfigError(
            f"--suite={options.suite}: no migration was given up wherever it ran; nothing to compare with"
        )
    rows = {}
    for name, of_others in columns.items():
        step(f"another machine's {name}")
        rows[name] = importance(batch, subject.policy, of_others, own, name).to_json(groups)
    everything = rows.pop(EVERYTHING)
    meanings = {row.name: row.meaning for row in source.observation}
    ranked = sorted(rows, key=lambda name: -rows[name]["changes"][ALL]["change"])
    of_tree, episodes = _tree(options, subject, step)
    played = {options.policy: own, TREE: episodes}
    for name, rival in subject.rivals.items():
        step(name)
        played[name] = batch.run(rival)
    kinds = {options.policy: LEARNED, TREE: LEARNED} | {name: kind_of(name) for name in (*subject.rivals, NOTHING)}
    outcomes = batch.outcomes(played | {NOTHING: batch.no_migration}, kinds)
    decisions = decisions_of(recorder, batch, source.model, ActionCodec(source.daemon))
    return {
        "schema": 1,
        "git_revision": git_revision(),
        "policy": options.policy,
        "daemon": source.daemon.name,
        "suite": options.suite,
        "seeds": list(batch.seeds),
        "groups": [group.to_json(batch) for group in groups],
        "importance": [{"feature": name, "meaning": meanings[name]} | rows[name] for name in ranked],
        EVERYTHING: everything,
        "behaviour": behaviour(decisions, source.daemon, source.observation, groups),
        "tree": of_tree,
        "kernel_rule": kernel_rule(source.daemon).splitlines(),
        "comparison": {group.name: _standings(outcomes, group) for group in groups},
    }


def _recorded(policy: Policy, batch: Batch) -> tuple[Episodes, Recorder]:
    """A policy's episodes, and what it decided on."""
    recorders: list[Recorder] = []

    def wrap(actor: Policy, system: ModelledSystem) -> Recorder:
        recorders.append(Recorder(actor, system))
        return recorders[0]

    # a journal would know the episodes of an earlier command without what was seen in them
    episodes = replace(batch, journal=Journal()).run(policy, wrap)
    return episodes, recorders[0]


def _tree(options: Understanding, subject: Subject, step: Callable[[str], None]) -> tuple[dict[str, Any], Episodes]:
    """A tree of the policy: what it says, how far it agrees, and its episodes."""
    source, codec = subject.source, ActionCodec(subject.source.daemon)
    count = len(subject.lessons)
    course = Course(
        practice=simulated_task(subject.lessons, observation=source.observation),
        practice_seeds=[[seed] * count for seed in seed_blocks.block(seed_blocks.DISTILLATION, ROUNDS, "rounds")],
        selection=simulated_task(subject.lessons, observation=source.observation),
        selection_seeds=seed_blocks.block(seed_blocks.SELECTION, 1, "selection episodes") * count,
    )
    tree, rounds = best_tree(
        source.model,
        codec,
        course,
        2**options.depth,
        lambda _done, _total, doing: step(f"{TREE}, {doing}"),
        options.depth,
    )
    step(TREE)
    episodes, recorder = _recorded(TreePolicy(tree, source.daemon, source.observation), subject.batch)
    agreement = fidelity(source.model, tree, codec, recorder.decided_on).agreement
    content = {
        "trained_on": [scenario.name for scenario in subject.lessons],
        "decisions": min(rounds, key=lambda entry: entry.normalised_time).decisions,
        "depth": tree.depth,
        "leaves": tree.num_leaves,
        "legend": tree_legend(tree, source.daemon, source.observation),
        "rules": tree_lines(tree, source.daemon, source.observation),
        "tolerance": TOLERANCE,
        "agreement": {TUNABLES[name].symbol: share for name, share in zip(codec.names, agreement, strict=True)},
    }
    return content, episodes


def _standings(outcomes: Sequence[Outcome], group: Group) -> dict[str, Any]:
    found = standings([outcomes[number] for number in group.members])
    return {standing.name: standing.to_json() for standing in found}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was found. Returns the exit code: 2 for bad input."""
    options = tyro.cli(Understanding, args=arguments, prog="python -m tierenv.train.studies.understanding")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if options.output is not None:
            check_output(options.output)
        with (
            journal_of("understanding", options.policy, options.suite, options.seeds) as journal,
            shown_progress("understanding", stderr_console()) as report_progress,
        ):
            result = study(options, journal, report_progress)
    except ConfigError as error:
        print(f"tierenv: {error}", file=sys.stderr)
        return 2
    _print(result)
    if options.output is not None:
        write_json(options.output, result)
    return 0


def _print(result: dict[str, Any]) -> None:
    groups = [group["name"] for group in result["groups"]]
    rows = [*result["importance"], {"feature": EVERYTHING} | result[EVERYTHING]]
    lost = [[row["feature"], *(_change(row["changes"][group]) for group in groups)] for row in rows]
    policies = dict.fromkeys(name for of_group in result["comparison"].values() for name in of_group)
    times = [[name, *(_time(result["comparison"][group].get(name)) for group in groups)] for name in policies]
    console = Console(width=None if sys.stdout.isatty() else 160, markup=False, highlight=False)
    console.print(plain_table("lost with another machine's", ["feature", *groups], lost))
    console.print(plain_table("time over no migration", ["policy", *groups], times))
    console.print("\n".join(result["tree"]["rules"]))


def _change(row: dict[str, Any]) -> str:
    low, high = row["ci95"] or (math.nan, math.nan)
    return percent_interval(Estimate(row["change"], low, high), 2, signed=True)


def _time(row: dict[str, Any] | None) -> str:
    return "-" if row is None else f"{row['mean_of_time_over_no_migration']['ratio']:.3f}"


if __name__ == "__main__":
    sys.exit(main())
