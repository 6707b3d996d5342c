"""The generated part of docs/algorithm.md: `python -m tierenv.train.studies.growth_doc` rewrites it."""

import sys

from tierenv.reading import read_json
from tierenv.train.studies.generated import RESULTS, ROOT, markdown_table, rewrite, with_parts
from tierenv.train.studies.growth import COLUMNS, cells

ALGORITHM_DOC = ROOT / "docs" / "algorithm.md"


def growth() -> str:
    """What more workers brought."""
    return markdown_table(COLUMNS, cells(read_json(RESULTS / "sweep.json")["rows"]), numbers_from=0)


def render(text: str) -> str:
    """The document with its part made anew."""
    return with_parts(ALGORITHM_DOC, text, {"growth": growth})


def main() -> int:
    """Rewrite docs/algorithm.md. Returns the exit code."""
    return rewrite(ALGORITHM_DOC, render)


if __name__ == "__main__":
    sys.exit(main())
