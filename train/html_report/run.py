"""What a report says of a training run's folder."""

import csv
import itertools
import math
from collections.abc import Sequence
from functools import partial

from tierenv.agents.run_folder import RunFolder, SelectionResult
from tierenv.errors import ConfigError
from tierenv.reading import read_text
from tierenv.train.html_report import reproduce
from tierenv.train.html_report.charts import curve_chart
from tierenv.train.html_report.document import Block, BudgetCurve, BudgetPoint, Charts, Part, Section, Table, Text
from tierenv.train.texts import percent, plain

STEPS = "time/total_timesteps"
"""Column of progress.csv (`tierenv.train.progress_csv`, which needs the learner)."""
CURVES = {
    "rollout/normalised_time": "time over all-fast time, exploring",
    "rollout/ep_rew_mean": "mean return",
    "train/explained_variance": "explained variance of the value function",
    "train/entropy_loss": "entropy loss",
}
"""Columns of progress.csv that tell how learning went, and what they are."""
MOST_CSV_BYTES = 32 << 20
MOST_POINTS = 300
"""Of a curve; of more the mean of as many neighbours as that takes."""
MOST_EVALUATIONS_SHOWN = 40

Points = list[tuple[float, float]]


def section(folder: RunFolder) -> Section:
    """The section of a run folder. Raises `ConfigError`."""
    name = plain(folder.configuration.name)
    manifest, best = folder.manifest, folder.best_evaluation
    evaluations = sorted(folder.evaluations, key=lambda entry: entry.timesteps)
    configuration = folder.configuration
    names = ", ".join(each.name for each in configuration.given) or configuration.trained_on
    summary = [Text(f"Trained on {plain(names)}.")]
    if manifest.timesteps is not None:
        stopped = " It was stopped before its end." if manifest.is_interrupted else ""
        summary.append(Text(f"{manifest.timesteps:,} environment steps.{stopped}"))
    if best is not None:
        words = (
            f"Best after {best.timesteps:,} steps: {best.normalised_time:.4f} times the all-fast time on the episodes "
            "of selection, without noise."
        )
        summary.append(Text(words, is_verdict=True))
    parts = [part for part in (_evaluation_part(evaluations), _curve_part(folder)) if part is not None]
    if not parts:
        parts = [Part("Learning", [Text("Nothing was written yet that tells how learning goes.")])]
    how = reproduce.known(
        command=None if manifest.command is None else plain(manifest.command),
        git_revision=None if manifest.git_revision is None else plain(manifest.git_revision),
        versions=plain(reproduce.versions_text(manifest.versions)),
        machine=", ".join(plain(f"{key} {value}") for key, value in manifest.machine.items()),
        times_resumed=str(manifest.times_resumed),
        time_spent=", ".join(
            plain(f"{key.removesuffix('_s')} {value:.0f} s") for key, value in manifest.time_spent.items()
        ),
    )
    return Section(f"Training run {name}", str(folder.path), summary, parts, how, _budget_curves(folder, evaluations))


def _budget_curves(folder: RunFolder, evaluations: Sequence[SelectionResult]) -> list[BudgetCurve]:
    """What the best model so far came to on each scenario; one that has seen nothing yet has no budget."""
    trained = [entry for entry in evaluations if entry.timesteps > 0]
    seconds = [entry.machine_s or 0.0 for entry in trained]
    is_timed = all(earlier < later for earlier, later in itertools.pairwise([0.0, *seconds]))
    best_so_far = itertools.accumulate(trained, partial(min, key=lambda entry: entry.normalised_time))
    points: dict[str, list[BudgetPoint]] = {}
    for entry, best in zip(trained, best_so_far, strict=True):
        for name, value in best.by_scenario.items():
            if 1e-18 < value < 1e18:
                spent = BudgetPoint(entry.timesteps, entry.machine_s if is_timed else None, value)
                points.setdefault(name, []).append(spent)
    return [
        BudgetCurve(plain(scenario.name), plain(scenario.daemon.name), plain(folder.configuration.name), found)
        for scenario in folder.configuration.first_scenarios
        if (found := points.get(scenario.name))
    ]


def _evaluation_part(evaluations: Sequence[SelectionResult]) -> Part | None:
    """The learning curve of the evaluations on the way."""
    if not evaluations:
        return None
    scenarios = list(dict.fromkeys(name for entry in evaluations for name in entry.by_scenario))
    step = math.ceil(len(evaluations) / MOST_EVALUATIONS_SHOWN)
    rows = [
        [
            f"{entry.timesteps:,}",
            f"{entry.normalised_time:.4f}",
            *(f"{entry.by_scenario[name]:.4f}" if name in entry.by_scenario else "-" for name in scenarios),
        ]
        for entry in [*evaluations[:-1:step], evaluations[-1]]
    ]
    columns = ["environment steps", "mean", *map(plain, scenarios)]
    first, last = evaluations[0], evaluations[-1]
    change = percent(last.normalised_time / first.normalised_time - 1, 2, signed=True) if first.normalised_time else "-"
    blocks: list[Block] = [Text(f"From the first evaluation to the last: {change}.")]
    points = {"mean": [(float(entry.timesteps), entry.normalised_time) for entry in evaluations]}
    for name in scenarios:
        points[plain(name)] = [
            (float(entry.timesteps), entry.by_scenario[name]) for entry in evaluations if name in entry.by_scenario
        ]
    charts = [
        curve_chart(name, "environment steps", "time over all-fast time", curve) for name, curve in points.items()
    ]
    blocks.append(Charts("Evaluations during training, noise off; less is better.", charts))
    blocks.append(Table("Evaluations: time over all-fast time", columns, rows))
    return Part("Learning curve", blocks)


def _curve_part(folder: RunFolder) -> Part | None:
    """The learner's own figures."""
    curves = _read_curves(folder)
    if not curves:
        return None
    charts = [curve_chart(CURVES[name], "environment steps", name, points) for name, points in curves.items()]
    caption = "The learner's figures of its rollouts, with the noise that explores; neighbours are averaged."
    return Part("Rollouts", [Charts(caption, charts)])


def _read_curves(folder: RunFolder) -> dict[str, Points]:
    """Points of each of `CURVES` that progress.csv has; rows that are torn are left out. Raises `ConfigError`."""
    path = folder.progress_path
    if not path.exists():
        return {}
    try:
        header, *rows = list(csv.reader(read_text(path, MOST_CSV_BYTES).splitlines())) or [[]]
    except csv.Error as error:
        raise ConfigError(f"{path}: not valid CSV: {error}") from None
    if STEPS not in header:
        raise ConfigError(f"{path}: has no column {STEPS}")
    curves: dict[str, Points] = {}
    for name in CURVES:
        if name in header:
            pairs = [_pair(row, header.index(STEPS), header.index(name)) for row in rows if len(row) == len(header)]
            if points := [pair for pair in pairs if pair is not None]:
                curves[name] = _thinned(points)
    return curves


def _pair(row: Sequence[str], x: int, y: int) -> tuple[float, float] | None:
    try:
        pair = (float(row[x]), float(row[y]))
    except ValueError:
        return None
    return pair if all(map(math.isfinite, pair)) else None


def _thinned(points: Points) -> Points:
    """Means of as many neighbours as it takes."""
    size = math.ceil(len(points) / MOST_POINTS)
    groups = [points[first : first + size] for first in range(0, len(points), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]
