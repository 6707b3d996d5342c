"""The generated part of docs/reliability.md: `python -m tierenv.train.studies.reliability_doc` rewrites it."""

import sys

from tierenv.reading import read_json
from tierenv.train.studies.generated import RESULTS, ROOT, markdown_table, rewrite, with_parts

RELIABILITY_DOC = ROOT / "docs" / "reliability.md"

COLUMNS = {
    "case": "killed",
    "seconds": "takes [s]",
    "kills": "kills",
    "corrupt_files": "corrupt",
    "different_results": "different",
    "needed_a_human": "needed a human",
    "left_behind": "left behind",
}
"""Keys of a case of results/reliability.json, and what they are called."""


def kills() -> str:
    """What the kills came to."""
    rows = [
        [f"`{row['case']}`", *(f"{row[key]:g}" for key in list(COLUMNS)[1:])]
        for row in read_json(RESULTS / "reliability.json")["cases"]
    ]
    return markdown_table(list(COLUMNS.values()), rows, numbers_from=1)


def render(text: str) -> str:
    """The document with its part made anew."""
    return with_parts(RELIABILITY_DOC, text, {"kills": kills})


def main() -> int:
    """Rewrite docs/reliability.md. Returns the exit code."""
    return rewrite(RELIABILITY_DOC, render)


if __name__ == "__main__":
    sys.exit(main())
