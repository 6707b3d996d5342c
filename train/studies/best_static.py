"""The settings that come with tierenv: `python -m tierenv.train.studies.best_static SUITE`.

As `tierenv tune --save`, which stores into the folder of the user, does it.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro
from tyro.conf import Positional, arg

from tierenv.agents.best_static import packaged_path
from tierenv.train.journal import journal_of
from tierenv.train.search import save_search, search_target


@dataclass(frozen=True)
class PackagedSettings:
    """Search the best static settings of packaged suites and store them in configs/policies/best-static.json."""

    targets: Annotated[Positional[tuple[str, ...]], arg(metavar="SUITE_OR_SCENARIO")]
    """Which."""
    daemon: Annotated[str | None, arg(metavar="DAEMON")] = None
    """Daemon in place of the scenarios' own."""
    seeds: Annotated[int, arg(metavar="N")] = 8
    """Tuning episodes for each setting."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the searches."""
    options = tyro.cli(PackagedSettings, args=arguments)
    for target in options.targets:
        under = f"--daemon {options.daemon} " if options.daemon else ""
        with journal_of("best-static", target, options.daemon, options.seeds) as journal:
            result = search_target(target, num_seeds=options.seeds, daemon=options.daemon, journal=journal)
            save_search(result, f"tierenv tune {target} {under}--seeds {options.seeds} --save", packaged_path())
    return 0


if __name__ == "__main__":
    sys.exit(main())
