"""The generated part of docs/live.md: `python -m tierenv.train.studies.live_doc` rewrites it."""

import sys

from tierenv.reading import read_json
from tierenv.train.studies.generated import RESULTS, ROOT, markdown_table, rewrite, with_parts

LIVE_DOC = ROOT / "docs" / "live.md"

COLUMNS = {
    "policy": "policy",
    "cpu_ms_per_interval": "CPU an interval, all of it [ms]",
    "cpu_ms_per_decision": "of it a decision [ms]",
    "pss_mib": "memory of both processes (PSS) [MiB]",
}
"""Keys of a row of results/live-cost.json, and what they are called."""


def cost() -> str:
    """What a controller costs, and on what that was measured."""
    content = read_json(RESULTS / "live-cost.json")
    rows = [[row["policy"], *(f"{row[key]:g}" for key in list(COLUMNS)[1:])] for row in content["rows"]]
    measured = (
        f"Measured with {content['python']} and intervals of {content['interval_s']:g} s on "
        f"{content['machine']['cpu']}, on a copy of a host's tree:"
    )
    return f"{measured}\n\n{markdown_table(list(COLUMNS.values()), rows, numbers_from=1)}"


def render(text: str) -> str:
    """The document with its part made anew."""
    return with_parts(LIVE_DOC, text, {"cost": cost})


def main() -> int:
    """Rewrite docs/live.md. Returns the exit code."""
    return rewrite(LIVE_DOC, render)


if __name__ == "__main__":
    sys.exit(main())
