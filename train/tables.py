"""What tables for the terminal have in common."""

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.table import Table

from tierenv.objective import objective_row
from tierenv.scenario import Scenario
from tierenv.train.statistics import Estimate
from tierenv.train.texts import with_interval

AT_LEAST = ">= "
"""Before a mean of runs of which some were given up."""
AT_MOST = "<= "
"""Before what is the less the longer runs take."""


def table(title: str, columns: list[str], text_columns: int = 1) -> Table:
    """An empty table; columns after those of text hold numbers."""
    empty = Table(title=title, title_justify="left", caption_justify="left", box=SIMPLE_HEAD)
    for index, column in enumerate(columns):
        is_text = index < text_columns
        empty.add_column(column, justify="left" if is_text else "right", overflow="fold")
    return empty


def plain_table(title: str, columns: list[str], rows: Iterable[Iterable[str]]) -> Table:
    """A table of texts."""
    shown = table(title, columns, text_columns=len(columns))
    for row in rows:
        shown.add_row(*row)
    return shown


def heading(scenario: Scenario, title: str | None = None) -> str:
    """Of a column of what is judged, or of differences of it."""
    row = objective_row(scenario.objective)
    return f"{title or row.title} [{row.shown_unit}]" if row.shown_unit else title or row.title


def judged(scenario: Scenario, estimate: Estimate | None, sign: str = "", more_digits: int = 0) -> str:
    """A mean of what is judged, or a difference of it, in the unit of its heading."""
    if estimate is None:
        return "-"
    row = objective_row(scenario.objective)
    shown = Estimate(*(row.shown_factor * number for number in estimate))
    return estimated(shown, f"{sign}.{row.shown_digits + more_digits}f")


def estimated(estimate: Estimate | None, number: str) -> str:
    """An estimate with its interval."""
    if estimate is None:
        return "-"
    return with_interval(estimate.value, estimate.interval, number)
