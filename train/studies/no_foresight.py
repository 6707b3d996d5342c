"""The estimate without foresight beside policies that were evaluated: `python -m tierenv.train.studies.no_foresight`.

An estimate that policies beat, or that none comes near, is a bad one. Policies' times are those of the stored
evaluations; the estimate is made anew for their episodes.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from tyro.conf import arg

from tierenv.daemon import load_daemon
from tierenv.no_foresight import no_foresight_s
from tierenv.scenario import load_scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.train import seeds as seed_blocks
from tierenv.train.episodes import episode_seeds
from tierenv.train.provenance import git_revision
from tierenv.train.results import ResultRow, read_evaluation
from tierenv.train.run_dir import write_json
from tierenv.train.studies.generated import RESULTS
from tierenv.train.tables import plain_table

EVALUATIONS = (("first-round.json", "kmmscand-tunable"), ("numa-balancing.json", "numa-balancing"))
"""Files of results, and the daemons whose policies are compared."""
STILL = "no-migration"


@dataclass(frozen=True)
class NoForesight:
    """Compare the estimate without foresight with the policies of stored evaluations."""

    json: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write the result to this file, for machines."""


def comparison(daemon: str, rows: Sequence[ResultRow], seeds: Sequence[int]) -> dict[str, Any]:
    """Shares of the gap that the estimate and each policy of a daemon close on the episodes of one scenario."""
    bounds = rows[0].bounds
    assert bounds is not None and bounds.clairvoyant is not None and bounds.no_migration is not None
    scenario = load_scenario(rows[0].scenario).under(load_daemon(daemon))
    system = LumpedSystem([scenario] * len(seeds))
    system.reset(episode_seeds(seeds), seed_blocks.evaluation_phase_orders(len(seeds)))
    estimate_s = float(np.mean([no_foresight_s(system, index) for index in range(len(seeds))]))
    most_s, gap_s = bounds.no_migration, bounds.no_migration - bounds.clairvoyant
    return {
        "scenario": scenario.name,
        "daemon": daemon,
        "clairvoyant": bounds.clairvoyant,
        "no_foresight": estimate_s,
        "no_migration": most_s,
        "gap_closed": (most_s - estimate_s) / gap_s,
        "policies": {
            row.policy: (most_s - float(np.mean(row.runs))) / gap_s
            for row in rows
            if row.daemon == daemon and row.policy != STILL
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table. Returns the exit code: 1 if a policy beats the estimate."""
    options = tyro.cli(NoForesight, args=arguments)
    rows = []
    for name, daemon in EVALUATIONS:
        evaluation = read_evaluation(RESULTS / name)
        rows += [comparison(daemon, each, evaluation.seeds) for each in evaluation.by_scenario.values()]
    cells = [(row["scenario"], row["daemon"], f"{row['gap_closed']:.3f}", *best_policy(row)) for row in rows]
    columns = ["scenario", "daemon", "estimate", "best policy", "its share"]
    Console(width=120).print(plain_table("gap to the clairvoyant closed", columns, cells))
    if options.json is not None:
        write_json(options.json, {"schema": 1, "git_revision": git_revision(), "rows": rows})
    return int(any(max(row["policies"].values()) > row["gap_closed"] for row in rows))


def best_policy(row: dict[str, Any]) -> tuple[str, str]:
    """Name and share of the policy that closes most."""
    name = max(row["policies"], key=row["policies"].get)
    return name, f"{row['policies'][name]:.3f}"


if __name__ == "__main__":
    sys.exit(main())
