"""The generated part of docs/algorithm.md: `python -m tierenv.train.studies.growth_doc` rewrites it."""

import sys

from tierenv.reading import read_json
from tierenv.train.studies.generated import RESULTS, ROOT, markdown_table, rewrite, with_parts
from tierenv.train.studies.growth import COLUMNS, cells

ALGORITHM_DOC = ROOT / "docs" / "algorithm.md"


MOST_OTHERS = 0.5
"""Processors that may be busy with something else while growth is measured; Ray and the sweep itself are some of it."""


def growth() -> str:
    """What more workers brought, and whether that says anything."""
    rows = read_json(RESULTS / "sweep.json")["rows"]
    others = max(row["busy_processors"] - row["cpu_s"] / row["wall_s"] for row in rows)
    table = markdown_table(COLUMNS, cells(rows), numbers_from=0)
    if others <= MOST_OTHERS:
        return table
    return (
        f"{table}\n\nOther work kept up to {others:.1f} processors busy meanwhile: this table says nothing on growth."
    )


def render(text: str) -> str:
    """The document with its part made anew."""
    return with_parts(ALGORITHM_DOC, text, {"growth": growth})


def main() -> int:
    """Rewrite docs/algorithm.md. Returns the exit code."""
    return rewrite(ALGORITHM_DOC, render)


if __name__ == "__main__":
    sys.exit(main())
