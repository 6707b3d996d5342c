"""The generated part of docs/kernel.md: `python -m tierenv.train.studies.search_doc` rewrites it."""

import sys
from typing import Any

import numpy as np

from tierenv.reading import read_json
from tierenv.train.studies.generated import RESULTS, ROOT, markdown_table, rewrite, with_parts

KERNEL_DOC = ROOT / "docs" / "kernel.md"

BUDGETS = (8, 16, 32, 64, 144)
"""Settings tried, for the columns."""

Search = dict[str, Any]


def search() -> str:
    """What each sampler has found by when: medians over its seeds, with the worst."""
    searches: list[Search] = read_json(RESULTS / "search-curves.json")["searches"]
    samplers = list(dict.fromkeys(each["sampler"] for each in searches))
    rows = []
    for sampler in samplers:
        own = [each for each in searches if each["sampler"] == sampler]
        regrets = [[_regret(each, budget) for each in own] for budget in BUDGETS]
        rows.append([f"`{sampler}`", *(f"{np.median(column):.1f} % ({max(column):.1f})" for column in regrets)])
    first = searches[0]
    steps, hours = (
        float(np.median([each["curve"][key] / each["curve"]["trials"] for each in searches])) * factor
        for key, factor in (("env_steps", 1.0), ("machine_s", 1 / 3600))
    )
    seeds = len({each["sampler_seed"] for each in searches})
    words = (
        f"On `{first['scenario']}` under `{first['daemon']}` the best setting so far takes so much more time than the "
        f"clairvoyant bound; median of {seeds} sampler seeds, in brackets the worst. A setting costs {steps:,.0f} "
        f"environment steps, {hours:.2f} hours of a real machine:"
    )
    columns = ["sampler", *(f"{budget} settings" for budget in BUDGETS)]
    return f"{words}\n\n{markdown_table(columns, rows, numbers_from=1)}"


def _regret(search: Search, budget: int) -> float:
    """Of the incumbent after so many settings, on fresh seeds [%]."""
    known = [each for each in search["curve"]["incumbents"] if each["trials"] <= budget]
    return 100.0 * (float(known[-1]["objective"]["mean"]) / float(search["references"]["clairvoyant"]) - 1.0)


def render(text: str) -> str:
    """The document with its part made anew."""
    return with_parts(KERNEL_DOC, text, {"search": search})


def main() -> int:
    """Rewrite docs/kernel.md. Returns the exit code."""
    return rewrite(KERNEL_DOC, render)


if __name__ == "__main__":
    sys.exit(main())
