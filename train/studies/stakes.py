"""What is at stake on the scenarios of a family, by kind: `python -m tierenv.train.studies.stakes FAMILY`.

The final set is not looked at: its forms and platforms are drawn with another seed, and none that would be its next.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, get_args

import tyro
from tyro.conf import Positional

from tierenv.family import SPLITS, Drawn, Family, SplitName, load_family
from tierenv.forms import FormKind
from tierenv.train import seeds as seed_blocks
from tierenv.train.evaluate import compute_bounds
from tierenv.train.journal import Journal
from tierenv.train.studies.generated import markdown_table

COLUMNS = ("set", "kind", "scenarios", "at most 2 %", "2 to 8 %", "above 8 %")

NOT_FINAL = 1 << 62
"""Bit of a seed by which the final set's is changed: the one after it would be the next that somebody takes."""


@dataclass(frozen=True)
class Options:
    """Share of the time without migration that the clairvoyant saves, on drawn scenarios."""

    family: Annotated[Positional[str], tyro.conf.arg(metavar="FAMILY")] = "generalist"
    """Its name or path."""
    split: SplitName | None = None
    """This set alone."""
    number: int | None = None
    """The first so many of each set."""
    forms: bool = False
    """Show every scenario."""


def not_final(family: Family) -> Family:
    """The family with another seed for the final set."""
    final = family.splits.final
    splits = family.splits.model_copy(update={"final": final.model_copy(update={"seed": final.seed ^ NOT_FINAL})})
    return family.model_copy(update={"splits": splits})


def stake(drawn: Drawn) -> float:
    """Of one tuning episode."""
    bounds = compute_bounds(drawn.scenario, [seed_blocks.TUNING], Journal())
    assert bounds is not None
    return float(1 - bounds.clairvoyant.mean() / bounds.no_migration.mean())


def rows(split: str, drawn: Sequence[Drawn], stakes: Sequence[float]) -> list[tuple[str, ...]]:
    """Of the table, for each kind."""
    made = []
    for kind in get_args(FormKind):
        own = [stake for each, stake in zip(drawn, stakes, strict=True) if each.kind == kind]
        counts = (sum(low < each <= high for each in own) for low, high in ((-1, 0.02), (0.02, 0.08), (0.08, 1)))
        made.append((split, kind, *map(str, (len(own), *counts))))
    return made


def main() -> int:
    """Print the table. Returns the exit code."""
    options = tyro.cli(Options)
    family = not_final(load_family(options.family))
    table: list[tuple[str, ...]] = []
    for split in SPLITS if options.split is None else (options.split,):
        total = getattr(family.splits, split).scenarios
        drawn = family.drawn(split, min(total, options.number or total))
        stakes = []
        for each in drawn:
            stakes.append(stake(each))
            if options.forms:
                print(
                    f"{each.scenario.name} {each.kind:<14} {each.form} on {each.platform}: {stakes[-1]:.1%}", flush=True
                )
        table += rows(split, drawn, stakes)
    print(markdown_table(COLUMNS, table, numbers_from=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
