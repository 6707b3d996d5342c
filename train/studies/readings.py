"""What abench's times cannot tell apart, and what follows: `python -m tierenv.train.studies.readings`.

The card of the measured machine is not named. For each class of card that has been published this fits what else is
unknown to the twelve times, and looks at what another workload makes of the platform that results: what tiering is
worth there, and what the kernel's mechanisms save.
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

from tierenv.agents.policies import load_policy
from tierenv.agents.policy import scenario_for
from tierenv.bounds import clairvoyant_bound_s
from tierenv.calibration import Calibration, calibrate
from tierenv.measurements import read_measurements
from tierenv.platform import Platform
from tierenv.records import load_record
from tierenv.scenario import Scenario, load_scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.train.limits import of_each
from tierenv.train.provenance import git_revision
from tierenv.train.run_dir import write_json
from tierenv.train.studies.convergence import completion_s
from tierenv.train.tables import plain_table

CARDS = ("amd-epyc-cxl", "two-x8-cards", "one-x8-card", "far-card")
"""Platforms whose slow tier is put into the measured machine; the first is the shipped reading."""
BENCHMARK, APPLICATION = "abench-8g", "skewed"
MECHANISMS = ("numab2", "kmmscand-v1", "kscand-v3", "built-in")
"""Policies whose time is compared with that without migration."""


@dataclass(frozen=True)
class Readings:
    """Fit abench with one class of card after another, and compare what follows."""

    seeds: int = 8
    """Episodes averaged for each figure."""
    json: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write the result to this file, for machines."""


def reading(card: str, seeds: int) -> dict[str, Any]:
    """The fit with a card, and what the application makes of it: all shares are of the time without migration."""
    like = load_scenario(BENCHMARK)
    cxl = load_record("platforms", Platform, card).cxl
    like = like.model_copy(update={"platform": like.platform.model_copy(update={"cxl": cxl})})
    calibration = calibrate(read_measurements("abench_rfc_v1"), like)
    application = load_scenario(APPLICATION)
    application = application.model_copy(update={"platform": calibration.scenario.platform})
    eager = application.model_copy(update={"workload": application.workload.model_copy(update={"think": 0.0})})
    return {
        "card": card,
        "idle_latency_ns": round(1e9 * cxl.idle_latency, 1),
        "bandwidth_gb_per_s": round(cxl.bandwidth / 1e9, 1),
        "fit": _fit(calibration),
        "saved": {"as it is": savings(application, seeds), "without think time": savings(eager, seeds)},
    }


def _fit(calibration: Calibration) -> dict[str, Any]:
    return {
        "mean_absolute_error": float(np.abs(calibration.errors).mean()),
        "worst_error": float(np.abs(calibration.errors).max()),
        "keeps_order": calibration.keeps_order,
        "values": {estimate.parameter.field: estimate.value for estimate in calibration.estimates},
    }


def savings(scenario: Scenario, seeds: int) -> dict[str, float]:
    """Share of the time without migration that each mechanism, and knowing all, saves."""
    off = scenario.model_copy(update={"control": "off", "numa_balancing_mode": 0})
    off_s = completion_s(off, seeds, None)
    system = LumpedSystem([scenario] * seeds)
    system.reset(np.arange(seeds, dtype=np.uint64), ["training"] * seeds)
    best_s = of_each(system, clairvoyant_bound_s)
    shares = {"clairvoyant": float(1 - best_s.mean() / off_s.mean())}
    for name in MECHANISMS:
        played = scenario_for(load_policy(name, scenario), scenario)
        shares[name] = float(1 - completion_s(played, seeds, None).mean() / off_s.mean())
    return shares


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables. Returns the exit code."""
    options = tyro.cli(Readings, args=arguments)
    rows = [reading(card, options.seeds) for card in CARDS]
    console = Console(width=160)
    cells = [
        [
            row["card"],
            f"{row['idle_latency_ns']:g} ns, {row['bandwidth_gb_per_s']:g} GB/s",
            f"{row['fit']['mean_absolute_error']:.1%}",
            f"{row['fit']['worst_error']:.1%}",
            *(f"{value:g}" for value in row["fit"]["values"].values()),
        ]
        for row in rows
    ]
    fields = [field.partition(".")[2] for field in rows[0]["fit"]["values"]]
    console.print(plain_table("abench", ["card", "latency, bandwidth", "mean error", "worst", *fields], cells))
    for case in rows[0]["saved"]:
        cells = [[row["card"], *(f"{share:+.1%}" for share in row["saved"][case].values())] for row in rows]
        console.print(plain_table(f"time saved on {APPLICATION}, {case}", ["card", *rows[0]["saved"][case]], cells))
    if options.json is not None:
        write_json(options.json, {"schema": 1, "git_revision": git_revision(), "seeds": options.seeds, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
