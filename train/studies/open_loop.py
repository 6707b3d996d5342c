"""How far a known future takes a daemon on the model itself: `python -m tierenv.train.studies.open_loop`.

For the record, beside the bounds, which relax the model or estimate. Two searches by CMA-ES with diagonal covariances
(Ros and Hansen, 2008), at a coarse resolution; what they find is judged at the full one:

* `open loop`: a setting for each part of each phase, so that the schedule knows what comes and when, for the phase
  order it was made for. Other episodes of that order differ in the lengths of the phases and in where pages start.
* `told`: one setting for a while after the start, one for as long after each change, of which the script is told at its
  next decision, and one for the rest. It knows when, not what, and nothing ahead: what `tierenv.no_foresight` assumes.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from tyro.conf import arg

from tierenv.action import ActionCodec
from tierenv.bounds import clairvoyant_bound_s
from tierenv.daemon import load_daemon
from tierenv.progress import ReportProgress
from tierenv.scenario import Scenario, load_scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.train import seeds as seed_blocks
from tierenv.train.episodes import episode_seeds
from tierenv.train.journal import Journal, journal_of
from tierenv.train.limits import of_each
from tierenv.train.progress import shown_progress
from tierenv.train.provenance import git_revision
from tierenv.train.run_dir import write_json
from tierenv.train.tables import plain_table
from tierenv.train.verbs.common import stderr_console
from tierenv.tunables import setting_of

Floats = NDArray[np.float64]

CASES = {
    ("moving-hot-set", "kmmscand-tunable"): ("open loop", "told"),
    ("skewed", "kmmscand-tunable"): ("open loop", "told"),
    ("skewed", "numa-balancing"): ("open loop", "told"),
    ("moving-hot-set", "numa-balancing"): ("told",),
}
"""What is searched for, by scenario and daemon. NUMA balancing takes ten times as long, which rules out many phases."""
REGIONS = 8
"""Resolution of the searches."""
PARTS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Where the parts of a phase begin, in shares of its work; the last one can prepare for the next phase."""
PARTS_OF_ONE = (0.0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.5)
"""The same for a run that is one phase."""
LEAST_BURST_S, MOST_BURST_S = 0.5, 40.0
"""Lengths of the time after a change in which the script that is told promotes."""
SIGMA = 0.3
"""First standard deviation of the searches, in coordinates from -1 to 1."""
SEED = 20_000
"""Of the searches."""
FIGURES = ("on its episodes", "on fresh ones")
"""Columns of a table of what was found: shares of the gap."""
GIVEN_UP_AT = 2.0
"""Candidates are given up at this many times the all-fast time."""


@dataclass(frozen=True)
class OpenLoop:
    """Search schedules with a known future, and scripts that are told of changes."""

    generations: int = 100
    """Of the search for a schedule; that for a script has a quarter of them."""
    population: int = 16
    """Candidates in each."""
    seeds: int = 4
    """Episodes of a candidate; twice as many fresh ones judge the best."""
    json: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write the result to this file, for machines."""


Actions = Callable[[Floats, LumpedSystem, Floats, Floats], Floats]
"""float[n, T] in [-1, 1], from one vector of coordinates for each machine, the machines, and for each the share of its
present phase's work that is done and the time since it was told that this began [s]."""


@dataclass(frozen=True)
class Form:
    """What a vector of coordinates in [-1, 1] stands for."""

    name: str
    first: Floats
    """Where the search begins."""
    actions: Actions


def schedule(scenario: Scenario) -> Form:
    """A setting for each part of each phase in the order of the episode."""
    phases, tunables = len(scenario.workload.phases), len(scenario.daemon.tunables)
    begins = np.array(PARTS if phases > 1 else PARTS_OF_ONE)

    def actions(vectors: Floats, system: LumpedSystem, done: Floats, _since_s: Floats) -> Floats:
        table = vectors.reshape(len(vectors), phases, len(begins), tunables)
        part = np.searchsorted(begins, done, side="right") - 1
        chosen: Floats = table[np.arange(len(vectors)), system.phase, part]
        return chosen

    promoting = begins < 0.2 if phases > 1 else begins < 0.08
    first = np.where(promoting[:, None], *_burst_and_rest(scenario))
    return Form("open loop", np.tile(first.ravel(), phases), actions)


def told(scenario: Scenario) -> Form:
    """One setting for some time after the start, one for as long after each change, and another for the rest."""
    tunables = len(scenario.daemon.tunables)

    def actions(vectors: Floats, system: LumpedSystem, _done: Floats, since_s: Floats) -> Floats:
        table = vectors[:, :-1].reshape(len(vectors), 3, tunables)
        is_burst = since_s < LEAST_BURST_S * (MOST_BURST_S / LEAST_BURST_S) ** (0.5 * (vectors[:, -1] + 1.0))
        chosen: Floats = table[np.arange(len(vectors)), np.where(is_burst, system.phase > 0, 2)]
        return chosen

    burst, rest = _burst_and_rest(scenario)
    return Form("told", np.concatenate((burst, burst, rest, [0.2])), actions)


def _burst_and_rest(scenario: Scenario) -> tuple[Floats, Floats]:
    """Coordinates float[T] of scanning fast without a limit, and of scanning slowly without promotions."""
    extremes = {"scan_period": (-0.9, 0.9), "scan_size": (0.9, -0.9), "throttle": (0.8, -0.8)}
    names = list(scenario.daemon.tunables)
    burst, rest = ([extremes.get(name, (-0.9, -0.9))[column] for name in names] for column in (0, 1))
    return np.array(burst), np.array(rest)


def play(scenario: Scenario, form: Form, vectors: Floats, seeds: Sequence[int]) -> Floats:
    """float[candidates, seeds]: completion times under each candidate, or the time at which it is given up [s]."""
    system = LumpedSystem([scenario] * (len(vectors) * len(seeds)))
    system.reset(np.tile(episode_seeds(seeds), len(vectors)), ["training"] * system.num_machines)
    every = np.repeat(vectors, len(seeds), axis=0)
    codec = ActionCodec(scenario.daemon)
    work = np.array([system.phase_work(index) for index in range(system.num_machines)])
    ends = np.cumsum(work, axis=1)
    machines = np.arange(system.num_machines)
    since_s, told_phase = np.zeros(system.num_machines), np.zeros(system.num_machines, dtype=np.int64)
    limit_s = GIVEN_UP_AT * float(system.reference_s.max())
    while not system.is_done.all() and system.elapsed_s.max() < limit_s:
        phase = system.phase
        since_s = np.where(phase == told_phase, since_s, 0.0)
        told_phase = phase
        left = ends[machines, phase] - system.process_accesses[:, 0]
        done = np.clip(1.0 - left / work[machines, phase], 0.0, 1.0)
        system.apply(codec.decode(form.actions(every, system, done, since_s)))
        system.advance(scenario.control_interval)
        since_s = since_s + scenario.control_interval
    return system.elapsed_s.reshape(len(vectors), len(seeds))


def search(
    scenario: Scenario,
    form: Form,
    seeds: Sequence[int],
    options: tuple[int, int],
    journal: Journal,
    report_progress: ReportProgress,
) -> Floats:
    """The best coordinates for some episodes, judged by their mean time at the full resolution.

    Args:
        scenario: of which the episodes are.
        form: of the coordinates.
        seeds: of the episodes.
        options: generations, and candidates in each.
        journal: keeps what is done.
        report_progress: told of every generation.
    """
    generations, population = options
    coarse = scenario.replace(regions=REGIONS)
    bounds = np.tile((-1.0, 1.0), (len(form.first), 1))
    from cmaes import SepCMA  # here, because documents read the table of this module in the base installation

    optimizer = SepCMA(form.first.copy(), SIGMA, bounds=bounds, seed=SEED, population_size=population)
    best_s, best = math.inf, form.first
    for generation in range(generations):
        report_progress(generation, generations, f"{scenario.name}, {scenario.daemon.name}: {form.name}")
        asked = np.array([optimizer.ask() for _ in range(population)])
        decides = [coarse.identity, form.name, asked.tolist(), list(seeds)]
        times_s = journal.numbers(decides, lambda asked=asked: play(coarse, form, asked, seeds)).mean(axis=1)  # type: ignore[misc]
        if times_s.min() < best_s:
            best_s, best = float(times_s.min()), asked[times_s.argmin()]
        optimizer.tell(list(zip(asked, times_s.tolist(), strict=True)))
    finalists = np.clip([best, optimizer.mean, form.first], -1.0, 1.0)
    chosen: Floats = finalists[play(scenario, form, finalists, seeds).mean(axis=1).argmin()]
    return chosen


def seeds_of_one_order(scenario: Scenario, count: int) -> list[int]:
    """The first tuning seeds whose episodes have the phases in the order of the very first."""
    found: list[int] = []
    order: list[str] = []
    coarse = scenario.replace(regions=1)
    for first in range(seed_blocks.TUNING, seed_blocks.TUNING + seed_blocks.BLOCK, 64):
        seeds = range(first, first + 64)
        system = LumpedSystem([coarse] * len(seeds))
        system.reset(episode_seeds(seeds), ["training"] * len(seeds))
        order = order or system.phase_names(0)
        found += [seed for index, seed in enumerate(seeds) if system.phase_names(index) == order]
        if len(found) >= count:
            break
    return found[:count]


def found(
    scenario: Scenario, name: str, options: OpenLoop, journal: Journal, report_progress: ReportProgress
) -> dict[str, Any]:
    """What a search by its name found for a scenario: gaps closed on the episodes searched on, and on fresh ones."""
    form, generations = schedule(scenario), options.generations
    seeds = seeds_of_one_order(scenario, 3 * options.seeds)
    if name == "told":
        form, generations = told(scenario), math.ceil(options.generations / 4)
        seeds = seed_blocks.block(seed_blocks.TUNING, 3 * options.seeds, "--seeds")
    searched, fresh = seeds[: options.seeds], seeds[options.seeds :]
    budget = (generations, options.population)
    best = search(scenario, form, searched, budget, journal, report_progress)
    row = {
        "scenario": scenario.name,
        "daemon": scenario.daemon.name,
        "search": name,
        "searched": _judged(scenario, form, best, searched),
        "fresh": _judged(scenario, form, best, fresh),
        "episodes": generations * options.population * options.seeds,
        "coordinates": best.tolist(),
    }
    return row | ({"settings": _settings(scenario, best)} if name == "told" else {})


def _settings(scenario: Scenario, vector: Floats) -> dict[str, Any]:
    """What the script that is told does."""
    tunables = scenario.daemon.tunables
    rows = ActionCodec(scenario.daemon).decode(vector[:-1].reshape(3, len(tunables)))
    burst_s = LEAST_BURST_S * (MOST_BURST_S / LEAST_BURST_S) ** (0.5 * (vector[-1] + 1.0))
    names = ("at_start", "after_changes", "rest")
    settings = {name: setting_of(values, tunables).to_json() for name, values in zip(names, rows, strict=True)}
    return {"burst_s": float(burst_s)} | settings


def _judged(scenario: Scenario, form: Form, best: Floats, seeds: Sequence[int]) -> dict[str, Any]:
    """Mean time on some episodes, and what of the gap to the clairvoyant that closes."""
    seconds = play(scenario, form, best[None], seeds).mean()
    systems = [LumpedSystem([scenario.replace(control=control)] * len(seeds)) for control in ("tunables", "off")]
    for system in systems:
        system.reset(episode_seeds(seeds), ["training"] * len(seeds))
    known, still = systems
    least = of_each(known, clairvoyant_bound_s).mean()
    still.run_to_end()
    most = still.elapsed_s.mean()
    return {
        "seeds": list(seeds),
        "seconds": float(seconds),
        "no_migration": float(most),
        "clairvoyant": float(least),
        "gap_closed": float((most - seconds) / (most - least)),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table. Returns the exit code."""
    options = tyro.cli(OpenLoop, args=arguments)
    shape = vars(options) | {"json": None}
    searches = [(*case, name) for case, names in CASES.items() for name in names]
    with journal_of("open-loop", shape) as journal, shown_progress("searching", stderr_console()) as report_progress:
        rows = [
            found(
                load_scenario(scenario).under(load_daemon(daemon)),
                name,
                options,
                journal,
                _part_of(report_progress, number, len(searches)),
            )
            for number, (scenario, daemon, name) in enumerate(searches)
        ]
    cells = [[row["scenario"], row["daemon"], row["search"], *figures(row)] for row in rows]
    Console(width=120).print(
        plain_table("gap to the clairvoyant closed", ["scenario", "daemon", "search", *FIGURES], cells)
    )
    if options.json is not None:
        content = {"schema": 1, "git_revision": git_revision(), "rows": rows}
        write_json(options.json, content | {key: shape[key] for key in ("generations", "population", "seeds")})
    return 0


def figures(row: dict[str, Any]) -> list[str]:
    """`FIGURES` of a row."""
    return [f"{row[episodes]['gap_closed']:.3f}" for episodes in ("searched", "fresh")]


def _part_of(report_progress: ReportProgress, number: int, parts: int) -> ReportProgress:
    """What reports on one of several searches."""

    def report(done: int, total: int, doing: str = "") -> None:
        report_progress(number * total + done, parts * total, doing)

    return report


if __name__ == "__main__":
    sys.exit(main())
