"""How far the resolution of the model decides its results: `python -m tierenv.train.studies.convergence`.

Completion times of every scenario of a suite under every kernel mechanism and the best static setting, at the shipped
resolution and at finer ones. The bar is half a percent.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from tyro.conf import arg

from tierenv.agents.best_static import find_best_static
from tierenv.agents.policies import load_policy
from tierenv.agents.policy import scenario_for
from tierenv.scenario import Scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.parameters import MAX_SUBSTEP_S, SERVER_QUANTUM_S
from tierenv.train.config import load_suite
from tierenv.train.provenance import git_revision
from tierenv.train.run_dir import write_json
from tierenv.train.tables import plain_table
from tierenv.tunables import Setting

POLICIES = ("numab1", "numab2", "kmmscand-v0", "kmmscand-v1", "kscand-v3", "built-in", "best-static")
"""What promotes; each with its own daemon, rule and mode."""
BAR = 0.005
SUITE = "kmmscand-tunable"
"""On the others what NUMA balancing does is compared with measurements: `tierenv fidelity`."""


@dataclass(frozen=True)
class Convergence:
    """Show what halving the sub-steps or doubling the number of lumps changes."""

    seeds: int = 16
    """Episodes averaged for each figure."""
    json: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write the result to this file, for machines."""


def changes(scenario: Scenario, name: str, seeds: int) -> dict[str, Any]:
    """Relative changes of the mean completion time of a scenario under a policy, each with its standard error."""
    policy = load_policy(name, scenario)
    played = scenario_for(policy, scenario)
    is_static = played.control == "tunables"
    setting = find_best_static(scenario).setting_for(scenario.daemon) if is_static else None
    shipped_s = completion_s(played, seeds, setting)
    finer = {
        "substeps_halved": completion_s(played, seeds, setting, finer=2),
        "lumps_doubled": completion_s(played.replace(regions=2 * played.regions), seeds, setting),
    }
    return {"scenario": scenario.name, "policy": name, "seconds": float(shipped_s.mean())} | {
        kind: _change(seconds, shipped_s) for kind, seconds in finer.items()
    }


def completion_s(scenario: Scenario, seeds: int, setting: Setting | None, finer: int = 1) -> NDArray[np.float64]:
    """float64[seeds]: completion times of a scenario under one setting throughout; None leaves it alone."""
    system = LumpedSystem([scenario] * seeds, MAX_SUBSTEP_S / finer, SERVER_QUANTUM_S / finer)
    system.reset(np.arange(seeds, dtype=np.uint64), ["training"] * seeds)
    if setting is not None:
        system.apply(np.tile(setting.row, (seeds, 1)))
    system.run_to_end()
    return system.elapsed_s


def _change(finer_s: NDArray[np.float64], shipped_s: NDArray[np.float64]) -> dict[str, float]:
    """A seed lays pages out differently at another resolution, so that episodes differ where phases are short."""
    differences = finer_s - shipped_s
    error_s = differences.std(ddof=1) / np.sqrt(len(differences))
    return {"change": float(differences.mean() / shipped_s.mean()), "error": float(error_s / shipped_s.mean())}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table. Returns the exit code: 1 if a change is beyond the bar and its sampling error."""
    options = tyro.cli(Convergence, args=arguments)
    rows = [changes(scenario, policy, options.seeds) for scenario in load_suite(SUITE).scenarios for policy in POLICIES]
    cells = [(row["scenario"], row["policy"], f"{row['seconds']:.1f}", *map(_cell, _kinds(row))) for row in rows]
    columns = ["scenario", "policy", "time [s]", "sub-steps halved", "lumps doubled"]
    Console().print(plain_table("change of the mean completion time", columns, cells))
    if options.json is not None:
        write_json(options.json, {"schema": 1, "git_revision": git_revision(), "seeds": options.seeds, "rows": rows})
    return int(any(abs(kind["change"]) > BAR + 2 * kind["error"] for row in rows for kind in _kinds(row)))


def _kinds(row: dict[str, Any]) -> list[dict[str, float]]:
    return [row["substeps_halved"], row["lumps_doubled"]]


def _cell(kind: dict[str, float]) -> str:
    return f"{100 * kind['change']:+.2f} % +- {100 * kind['error']:.2f}"


if __name__ == "__main__":
    sys.exit(main())
