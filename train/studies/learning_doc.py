"""The generated parts of docs/learning.md: `python -m tierenv.train.studies.learning_doc` rewrites them."""

import math
import sys
from collections.abc import Callable
from typing import Any

from tierenv.agents.export.rules import setting_text
from tierenv.reading import read_json
from tierenv.train.statistics import Estimate
from tierenv.train.studies.behaviour import PARTS
from tierenv.train.studies.generated import RESULTS, ROOT, markdown_table, rewrite, with_parts
from tierenv.train.studies.pieces import GENERALIST
from tierenv.train.studies.understanding import EVERYTHING
from tierenv.train.texts import counted, listed, percent_interval, short
from tierenv.tunables import TUNABLES

LEARNING_DOC = ROOT / "docs" / "learning.md"
COMMANDS = {
    "understanding.json": f"understanding {GENERALIST} --output results/understanding.json",
    "generalist-ways.json": "ways --json results/generalist-ways.json",
}
"""Of `tierenv.train.studies`: what makes a result, by its file."""

PART_WORDS = dict(zip(PARTS, ("first tenth", "after"), strict=True))

Result = dict[str, Any]


def of_result(make: Callable[[Result], str], file: str = "understanding.json") -> Callable[[], str]:
    """A part made of a result; where that is to come, how it is made."""

    def part() -> str:
        path = RESULTS / file
        return (
            make(read_json(path))
            if path.exists()
            else f"Not made yet: `python -m tierenv.train.studies.{COMMANDS[file]}` makes it."
        )

    return part


def does(result: Result) -> str:
    """How long which settings are in force, and between which values."""
    groups, behaviour = result["groups"], result["behaviour"]
    names = _tunables(result)
    rows = [
        [*each["setting"].values(), *(_parts(each["shares"][group["name"]]) for group in groups)]
        for each in behaviour["settings"]
    ]
    if any(share >= 0.005 for shares in behaviour["others"].values() for share in shares.values()):
        rows.append(
            ["others", *[""] * (len(names) - 1), *(_parts(behaviour["others"][group["name"]]) for group in groups)]
        )
    words = [name.replace("_", " ") for name in names.values()]
    settings = markdown_table([*words, *(group["words"] for group in groups)], rows, numbers_from=len(names))
    thirds = "; ".join(
        f"{word}: {', '.join(f'{key} {text}' for key, text in behaviour['words'][symbol].items() if key != text)}"
        for word, symbol in zip(words, names, strict=True)
    )
    quantiles = markdown_table(
        ["at stake", "part of the episode", *words],
        [
            [group["words"], PART_WORDS[part], *(_between(values, symbol, name) for symbol, name in names.items())]
            for group in groups
            for part, values in behaviour["quantiles"][group["name"]].items()
            if values
        ],
        numbers_from=2,
    )
    levels = ", ".join(f"{100 * level:g} %" for level in behaviour["levels"])
    return (
        f"{_of_what(result)} Percent of the time in the first tenth of an episode / after, by what is at stake:\n\n"
        f"{settings}\n\nLow, middle and high are thirds of a range on its logarithmic scale ({thirds}).\n\n"
        f"Quantiles of what is in force ({levels} of the time):\n\n{quantiles}"
    )


def features(result: Result) -> str:
    """What is lost where a feature is another machine's, and how settings go with it."""
    groups, names = result["groups"], _tunables(result)
    correlations = result["behaviour"]["correlations"]
    rows = [
        [
            f"`{row['feature']}`",
            row["meaning"],
            *(_change(row["changes"][group["name"]]) for group in groups),
            *(_correlation(correlations[row["feature"]][symbol]) for symbol in names),
        ]
        for row in result["importance"]
    ]
    changes = result[EVERYTHING]["changes"]
    rows.append(["all of them", "", *(_change(changes[group["name"]]) for group in groups), *[""] * len(names)])
    columns = [group["words"] for group in groups] + [f"with {name.replace('_', ' ')}" for name in names.values()]
    table = markdown_table(["feature", "what it is", *columns], rows, numbers_from=2)
    given_up = [f"`{row['feature']}`" for row in result["importance"] if row["truncated_runs"]]
    return f"{table}\n\nAt least, for runs were given up: {listed(given_up)}." if given_up else table


def tree(result: Result) -> str:
    """The tree beside the kernel's rule, and what each is worth."""
    of_tree, comparison = result["tree"], result["comparison"]
    groups = result["groups"]
    legend = [f"# {name:<14} {meaning}" for name, meaning in of_tree["legend"].items()]
    lines = [*legend, "", *of_tree["rules"], *result["kernel_rule"]]
    agreement = listed([f"{100 * of_tree['agreement'][symbol]:.0f} % in {name}" for symbol, name in _words(result)])
    policies = dict.fromkeys(name for of_group in comparison.values() for name in of_group)
    rows = [
        [
            f"*{name}*" if row["kind"] == "bound" else f"`{short(name)}`",
            *(_ratio(comparison[group["name"]].get(name)) for group in groups),
            _worst(row),
        ]
        for name in policies
        if (row := comparison[groups[0]["name"]].get(name)) is not None
    ]
    table = markdown_table(["policy", *(group["words"] for group in groups), "worst"], rows, numbers_from=1)
    return (
        f"Learned on {counted(len(of_tree['trained_on']), 'scenario')} for training, "
        f"{counted(of_tree['decisions'], 'decision')} in all; on `{result['suite']}` it is within "
        f"{100 * of_tree['tolerance']:.0f} % of the policy for {agreement} of the time.\n\n"
        "```text\n" + "\n".join(lines) + f"\n```\n\nMean time over no migration, by what is at stake:\n\n{table}"
    )


def ways(result: Result) -> str:
    """What each way of training comes to."""
    groups = list(result["scenarios"])
    rows = [
        [
            f"*{row['way']}*: {row['what_differs']}",
            str(row["seed"]),
            *(f"{row['time_over_no_migration'][group]:.3f}" for group in groups),
            f"{row['worst']:.3f}",
            f"{row['total']:.3f}",
        ]
        for row in result["rows"]
    ]
    table = markdown_table(["what differs", "seed", *groups, "worst", "total"], rows, numbers_from=1)
    return (
        f"{counted(result['timesteps'], 'environment step')} each; mean time over no migration of the best model, by "
        f"what is at stake, {counted(result['seeds'], 'episode')} of each scenario for selection:\n\n{table}"
    )


def _of_what(result: Result) -> str:
    scenarios = counted(len(result["groups"][0]["scenarios"]), "scenario")
    return (
        f"`{short(result['policy'])}` on daemon `{result['daemon']}`, on `{result['suite']}`: {scenarios} with "
        f"{counted(len(result['seeds']), 'episode')} each."
    )


def _tunables(result: Result) -> dict[str, str]:
    """Names by symbol."""
    return {row.symbol: name for name, row in TUNABLES.items() if row.symbol in result["behaviour"]["words"]}


def _words(result: Result) -> list[tuple[str, str]]:
    return [(symbol, name.replace("_", " ")) for symbol, name in _tunables(result).items()]


def _parts(shares: dict[str, float]) -> str:
    return " / ".join(f"{100 * shares[part]:.0f}" if part in shares else "-" for part in PARTS)


def _between(values: list[dict[str, float | None]], symbol: str, name: str) -> str:
    return ", ".join(setting_text(name, math.inf if (value := each[symbol]) is None else value) for each in values)


def _change(row: dict[str, Any]) -> str:
    low, high = row["ci95"] or (math.nan, math.nan)
    return percent_interval(Estimate(row["change"], low, high), 2, signed=True)


def _correlation(number: float | None) -> str:
    return "" if number is None else f"{round(number, 2) + 0.0:+.2f}"  # no -0.0


def _ratio(row: dict[str, Any] | None) -> str:
    return "-" if row is None else f"{row['mean_of_time_over_no_migration']['ratio']:.3f}"


def _worst(row: dict[str, Any]) -> str:
    return f"{row['worst']['ratio']:.3f} (`{row['worst']['scenario']}`)"


PARTS_OF_DOCUMENT = {
    "does": of_result(does),
    "features": of_result(features),
    "tree": of_result(tree),
    "ways": of_result(ways, "generalist-ways.json"),
}


def render(text: str) -> str:
    """The document with its parts made anew."""
    return with_parts(LEARNING_DOC, text, PARTS_OF_DOCUMENT)


def main() -> int:
    """Rewrite docs/learning.md. Returns the exit code."""
    return rewrite(LEARNING_DOC, render)


if __name__ == "__main__":
    sys.exit(main())
