"""The settings that come with tierenv: `python -m tierenv.train.studies.best_static`.

As `tierenv tune --save`, which stores into the folder of the user, does it for the packaged scenarios.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro
from tyro.conf import Positional, arg

from tierenv.agents.best_static import packaged_path
from tierenv.records import packaged
from tierenv.train.search import save_best_static, search


@dataclass(frozen=True)
class PackagedSettings:
    """Search the best static settings of packaged scenarios and store them in configs/policies/best-static.json."""

    scenarios: Annotated[Positional[tuple[str, ...]], arg(metavar="SCENARIO")] = tuple(packaged("scenarios"))
    """Which; all without any."""
    daemon: Annotated[str | None, arg(metavar="DAEMON")] = None
    """Daemon in place of the scenarios' own."""
    seeds: Annotated[int, arg(metavar="N")] = 8
    """Tuning episodes for each setting."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the searches."""
    options = tyro.cli(PackagedSettings, args=arguments)
    for scenario in options.scenarios:
        result = search(scenario, num_seeds=options.seeds, daemon=options.daemon)
        under = f"--daemon {options.daemon} " if options.daemon else ""
        save_best_static(result, f"tierenv tune {scenario} {under}--seeds {options.seeds} --save", packaged_path())
    return 0


if __name__ == "__main__":
    sys.exit(main())
