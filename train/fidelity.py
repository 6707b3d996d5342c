"""Modelled against measured completion times: `python -m tierenv.train.fidelity`.

Nothing is fitted here: what the shipped platform file says about the times it was fitted to, or any other about any
times.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tyro
from rich.console import Console

from tierenv.errors import ConfigError
from tierenv.measurements import SYSTEMS, Cell, read_measurements
from tierenv.scenario import Scenario, load_scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.train.report import plain_table
from tierenv.train.terminal import on_any_terminal


@dataclass(frozen=True)
class Fidelity:
    """Compare modelled with measured completion times."""

    measurements: str = "abench_rfc_v1"
    """Measured times: a path, or a packaged name."""
    scenario: str = "abench-8g"
    """Scenario that supplies workload, platform and fast tier."""
    system: tuple[str, ...] = tuple(SYSTEMS)
    """Systems to compare, those of them that were measured."""


def modelled_seconds(cells: Sequence[Cell], like: Scenario) -> list[float]:
    """Completion time of each cell in the model, one seed [s]."""
    system = LumpedSystem([cell.scenario(like, like.platform) for cell in cells])
    system.reset(np.arange(len(cells), dtype=np.uint64), ["training"] * len(cells))
    system.run_to_end()
    return [float(seconds) for seconds in system.elapsed_s]


@on_any_terminal
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table. Returns the exit code."""
    options = tyro.cli(Fidelity, args=arguments)
    try:
        cells = [cell for cell in read_measurements(options.measurements) if cell.system in options.system]
        if not cells:
            raise ConfigError(f"--system: {options.measurements} has no cell of {', '.join(options.system)}")
        modelled = modelled_seconds(cells, load_scenario(options.scenario))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    rows = [
        (
            cell.system,
            f"{cell.size_gib:g} GiB",
            f"{cell.seconds:.1f}",
            f"{seconds:.1f}",
            f"{100 * (seconds / cell.seconds - 1):+.1f} %",
        )
        for cell, seconds in zip(cells, modelled, strict=True)
    ]
    columns = ["system", "abench", "measured [s]", "modelled [s]", "error"]
    Console().print(plain_table("modelled against measured completion times", columns, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
