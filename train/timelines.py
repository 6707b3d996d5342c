"""What happens over time in the first episode of an evaluation, in a form and size that `evaluate --json` can store."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tierenv.agents.policies import PolicyLoader, load_policy
from tierenv.palette import MOST_LAYERS, class_layers
from tierenv.progress import ReportProgress, unreported
from tierenv.render import Timeline
from tierenv.scenario import Scenario
from tierenv.train.episodes import run_episodes
from tierenv.train.evaluate import evaluation_task
from tierenv.tunables import TUNABLES
from tierenv.units import GIB, PAGE_BYTES

MOST_POINTS = 200
"""In time, of one episode."""
LEAST_POINTS = 20
MOST_NUMBERS = 100_000
"""Of all episodes of a file together: some 2 MB, and twice as much in a report."""
MOST_PHASES = 200
"""Of one episode; later ones are not told of."""
DIGITS = 5
"""That are kept of a number."""


def record_timelines(
    entries: Sequence[tuple[Scenario, str]],
    seed: int,
    load: PolicyLoader = load_policy,
    report_progress: ReportProgress = unreported,
) -> list[dict[str, Any]]:
    """Play one episode of each scenario and policy: that of the evaluation with this seed.

    Returns what `--json` writes of each. Raises `ConfigError`.

    Args:
        entries: scenarios and names of policies, as `load` takes them.
        seed: of the episode.
        load: makes a policy of a name.
        report_progress: told what is being run.
    """
    recorded: list[dict[str, Any]] = []
    columns = MOST_LAYERS + len(TUNABLES)
    points = min(MOST_POINTS, max(LEAST_POINTS, MOST_NUMBERS // (len(entries) * columns)))
    for scenario, name in entries:
        report_progress(len(recorded), len(entries), f"{scenario.name}: {name}, over time")
        policy = load(name, scenario)
        task = evaluation_task(policy, scenario, 1)
        timeline = Timeline(task.system)
        run_episodes(task, policy, [seed], timeline)
        played = task.system.scenarios[0]
        entry = {"scenario": scenario.name, "policy": name, "daemon": played.daemon.name, "seed": seed}
        recorded.append(entry | _columns(timeline, played, task.system.phase_names(0), points))
    return recorded


def _columns(timeline: Timeline, scenario: Scenario, phase_names: Sequence[str], points: int) -> dict[str, Any]:
    """What an episode comes to at some of its records, among them the first and the last."""
    kept = np.unique(np.linspace(0, len(timeline.elapsed_s) - 1, points).round().astype(np.intp))
    fast_gib = np.array(timeline.fast_pages)[kept].T * (PAGE_BYTES / GIB)
    classes = [
        {"name": layer.label, "fast_gib": _rounded(fast_gib[layer.classes].sum(axis=0))}
        for layer in class_layers(scenario)
    ]
    settings = dict(zip(TUNABLES, np.array(timeline.tunables)[kept].T, strict=True))
    changes = [0, *(np.flatnonzero(np.diff(timeline.phase)) + 1)]
    return {
        "capacity_gib": scenario.fast_capacity_pages * PAGE_BYTES / GIB,
        "phases": [
            {"from_s": timeline.elapsed_s[index], "name": phase_names[timeline.phase[index] % len(phase_names)]}
            for index in changes[:MOST_PHASES]
        ],
        "time_s": _rounded(np.array(timeline.elapsed_s)[kept]),
        "classes": classes,
        "tunables": [
            {"name": name, "unit": TUNABLES[name].quantity.unit, "min": bounds.min, "max": bounds.max}
            | {"values": _rounded(settings[name])}
            for name, bounds in scenario.daemon.tunables.items()
            if name in timeline.tunable_names
        ],
    }


def _rounded(numbers: Iterable[float]) -> list[float | None]:
    """Numbers in as many digits as a picture shows; None for unlimited."""
    return [float(f"{number:.{DIGITS}g}") if math.isfinite(number) else None for number in numbers]
