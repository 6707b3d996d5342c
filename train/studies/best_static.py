"""The settings that come with tierenv: `python -m tierenv.train.studies.best_static SUITE`.

As `tierenv tune --save`, which stores into the folder of the user, does it.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, arg

from tierenv.agents.best_static import packaged_path
from tierenv.train.journal import journal_of
from tierenv.train.search import save_search, search_target


@dataclass(frozen=True)
class PackagedSettings:
    """Search the best static settings of packaged suites or sets of families, for configs/policies/best-static.json."""

    targets: Annotated[Positional[tuple[str, ...]], arg(metavar="SUITE_OR_SCENARIO")]
    """Which: suites, scenarios, or FAMILY:SET."""
    daemon: Annotated[str | None, arg(metavar="DAEMON")] = None
    """Daemon in place of the scenarios' own."""
    seeds: Annotated[int, arg(metavar="N")] = 8
    """Tuning episodes for each setting."""
    trials: Annotated[int | None, arg(metavar="N")] = None
    """Settings to draw at random, in place of the grid."""
    open_final: bool = False
    """Open the final set of a family, which is logged."""
    output: Annotated[Path, arg(metavar="FILE")] = packaged_path()
    """File that the settings are put into."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the searches."""
    options = tyro.cli(PackagedSettings, args=arguments)
    for target in options.targets:
        under = f"--daemon {options.daemon} " if options.daemon else ""
        sampler = "grid" if options.trials is None else "random"
        drawn = "" if options.trials is None else f"--sampler random --trials {options.trials} "
        with journal_of("best-static", target, options.daemon, options.seeds, options.trials) as journal:
            result = search_target(
                target,
                sampler,
                options.trials,
                options.seeds,
                daemon=options.daemon,
                open_final=options.open_final,
                journal=journal,
            )
            opened = "--open-final " if options.open_final else ""
            command = f"tierenv tune {target} {under}{opened}{drawn}--seeds {options.seeds} --save"
            save_search(result, command, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
