"""What each sampler finds for its budget: `python -m tierenv.train.studies.search_curves SCENARIO`.

Every sampler that draws at random searches the scenario several times, each time from another seed. `tierenv report`
makes a page of the result, with the folders of trainings on the same scenario beside it.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from tyro.conf import Positional, arg

from tierenv.train.journal import journal_of
from tierenv.train.progress import shown_progress
from tierenv.train.provenance import git_revision
from tierenv.train.run_dir import write_json
from tierenv.train.search import SAMPLERS, SearchResult, search_target
from tierenv.train.tables import plain_table
from tierenv.train.verbs.common import stderr_console

DRAWING = tuple(name for name in SAMPLERS if name != "grid")


@dataclass(frozen=True)
class SearchCurves:
    """Search a scenario with every sampler from several seeds and keep what was found by when."""

    scenario: Positional[str] = "moving-hot-set"
    """A scenario: a path or a name."""
    daemon: str | None = None
    """Daemon in place of the scenario's own."""
    samplers: tuple[str, ...] = DRAWING
    """Which."""
    repeats: int = 3
    """Sampler seeds 0, 1, ... of each."""
    trials: int = 144
    """Settings of each search: as many as the grid of three tunables has."""
    seeds: int = 4
    """Tuning episodes for each setting."""
    json: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write the result to this file, for machines."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the searches. Returns the exit code."""
    options = tyro.cli(SearchCurves, args=arguments)
    results = []
    plan = options.scenario, options.daemon, options.trials, options.seeds
    with journal_of("search-curves", *plan) as journal, shown_progress("searching", stderr_console()) as report:
        for number, (sampler, seed) in enumerate(
            (sampler, seed) for sampler in options.samplers for seed in range(options.repeats)
        ):
            report(number, len(options.samplers) * options.repeats, f"{sampler} {seed}")
            result = search_target(
                options.scenario,
                sampler,
                options.trials,
                options.seeds,
                daemon=options.daemon,
                sampler_seed=seed,
                journal=journal,
            )
            assert isinstance(result, SearchResult), "one scenario"
            results.append(result)
    rows = [
        [result.sampler, str(result.sampler_seed), str(last.trials), f"{last.objective.value:.2f}"]
        for result in results
        for last in result.curve.incumbents[-1:]
    ]
    Console().print(plain_table("last incumbents", ["sampler", "seed", "found at setting", "objective"], rows))
    if options.json is not None:
        searches = [result.curve_to_json() for result in results]
        write_json(options.json, {"schema": 1, "git_revision": git_revision(), "searches": searches})
    return 0


if __name__ == "__main__":
    sys.exit(main())
