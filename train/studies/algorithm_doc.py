"""The generated parts of docs/algorithm.md: `python -m tierenv.train.studies.algorithm_doc` rewrites them."""

import sys
from statistics import fmean
from typing import Any

from tierenv.agents.export import formats_for
from tierenv.reading import read_json
from tierenv.train.algorithms import ALGORITHMS, Algorithm
from tierenv.train.judging import BASELINE
from tierenv.train.studies.generated import RESULTS, ROOT, markdown_table, rewrite, with_parts
from tierenv.train.studies.growth import COLUMNS, cells

ALGORITHM_DOC = ROOT / "docs" / "algorithm.md"
RESULT = RESULTS / "algorithms.json"

MOST_OTHERS = 0.5
"""Processors that may be busy with something else while growth is measured; Ray and the sweep itself are some of it."""

OUTPUTS = {
    "clip": "the mean of a normal distribution, clipped",
    "tanh": "tanh of the last layer",
    "menu": "the choice with the greatest value",
}
"""What acts without noise, by what stands behind the last layer."""


def table() -> str:
    """Every algorithm: what it is, how it acts, and what becomes of it."""
    rows = [[f"`{row.name}`", row.summary, _acts(row), _becomes(row)] for row in ALGORITHMS.values()]
    return markdown_table(["algorithm", "what it is", "acts by", "becomes"], rows, numbers_from=4)


def _acts(row: Algorithm) -> str:
    memory = ", of what it remembers" if row.acts_by.is_recurrent else ""
    return OUTPUTS[row.acts_by.output] + memory


def _becomes(row: Algorithm) -> str:
    if row.acts_by.is_recurrent:
        return "a policy in its run folder, nothing else"
    return formats_for("learned").replace("rules", "rules after `tierenv distil`")


def comparison() -> str:
    """What each algorithm made of equal time, from results/algorithms.json; where that is to come, how it is made."""
    if not RESULT.exists():
        made_by = "`.venv/bin/doit -f train/studies/dodo.py algorithms`"
        return f"{made_by} makes the table: three trainings of 15 minutes each, six hours of one processor in all."
    result = read_json(RESULT)
    scenarios = list(result[BASELINE])
    lines = []
    for name in dict.fromkeys(row["algorithm"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["algorithm"] == name]
        steps = fmean(row["timesteps"] for row in rows) / 1e6
        lines.append([f"`{name}`", f"{steps:.2f}", *(_gaps(rows, scenario) for scenario in scenarios)])
    static = [f"{100 * result[BASELINE][scenario]['gap_closed']:.0f}" for scenario in scenarios]
    columns = ["algorithm", "million steps", *(f"`{scenario}` [%]" for scenario in scenarios)]
    runs = len(result["rows"]) // len(lines)
    note = (
        f"Gap closed after {result['wall_time']} of training on {result['machine'].get('cpu', 'one machine')}: mean of "
        f"{runs} trainings and, in brackets, the worst and the best."
    )
    return markdown_table(columns, [*lines, [f"`{BASELINE}`", "", *static]], numbers_from=1) + f"\n\n{note}"


def _gaps(rows: list[dict[str, Any]], scenario: str) -> str:
    gaps = [100 * row["scenarios"][scenario]["gap_closed"] for row in rows]
    return f"{fmean(gaps):.0f} ({min(gaps):.0f}, {max(gaps):.0f})"


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
    """The document with its parts made anew."""
    return with_parts(ALGORITHM_DOC, text, {"algorithms": table, "comparison": comparison, "growth": growth})


def main() -> int:
    """Rewrite docs/algorithm.md. Returns the exit code."""
    return rewrite(ALGORITHM_DOC, render)


if __name__ == "__main__":
    sys.exit(main())
