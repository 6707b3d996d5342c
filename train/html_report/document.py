"""What a report is made of, whatever it is about; every text in it is plain, and the template escapes it.

Nothing is drawn yet: pictures are specifications of Vega-Lite.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    is_verdict: bool = False
    """Whether it is what the part comes to."""
    block: Literal["text"] = "text"


@dataclass(frozen=True)
class Table:
    """A table of texts; the first column heads the rows."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers_from: int = 1
    """The first column that is aligned to the right, as numbers are."""
    block: Literal["table"] = "table"


@dataclass(frozen=True)
class Chart:
    """A picture with the words that stand for it."""

    title: str
    description: str
    specification: dict[str, Any]
    """Of Vega-Lite."""


@dataclass(frozen=True)
class Charts:
    """Pictures side by side, as many as the page is wide."""

    caption: str
    charts: Sequence[Chart]
    block: Literal["charts"] = "charts"


@dataclass(frozen=True)
class LiveChart(Chart):
    """A picture that the script draws anew, so that it can be zoomed and filtered."""

    numbers: Table
    """The same, for who does not see it."""


@dataclass(frozen=True)
class Timelines:
    """Pictures over the same time, with what is common to them."""

    title: str
    caption: str
    classes: Sequence[str]
    """In the order of the patterns that stand for them."""
    end_s: float
    charts: Sequence[LiveChart]
    block: Literal["timelines"] = "timelines"


Block = Text | Table | Charts | Timelines


@dataclass(frozen=True)
class Part:
    """A part of a section, under a heading of its own."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class BudgetPoint:
    """What had been found when so much had been spent."""

    env_steps: float
    machine_s: float | None
    value: float
    """Objective over what it comes to with all memory fast."""


@dataclass(frozen=True)
class BudgetCurve:
    """What a search or a training had found on a scenario, against what it had cost."""

    scenario: str
    daemon: str
    group: str
    """What its seeds have in common: the sampler, the training configuration."""
    points: Sequence[BudgetPoint]
    """In the order of their costs, one at least."""
    bound: float | None = None
    """The value that nobody beats; None where it is not known."""


@dataclass(frozen=True)
class Section:
    """What the report says of one input."""

    title: str
    """Of the input's kind and name."""
    origin: str
    """Its path."""
    summary: Sequence[Text]
    parts: Sequence[Part]
    reproduce: Sequence[tuple[str, str]] = field(default_factory=list)
    """What is known of how it came about: names and values."""
    curves: Sequence[BudgetCurve] = ()
    """Budgets that those of other inputs are compared with."""
