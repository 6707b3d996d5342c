"""What a report says of `tune --json`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tierenv.errors import ConfigError
from tierenv.records import validate_record
from tierenv.train.html_report import reproduce
from tierenv.train.html_report.charts import Dot, dot_chart
from tierenv.train.html_report.document import BudgetCurve, BudgetPoint, Charts, Section, Table, Text
from tierenv.train.html_report.document import Part as ReportPart
from tierenv.train.results import MeanWithInterval, Number, Part
from tierenv.train.texts import four_digits, with_interval
from tierenv.tunables import TUNABLES

_TUNABLES = {tunable.symbol: tunable for tunable in TUNABLES.values()}


MOST_SCENARIOS = 200
MOST_INCUMBENTS = 1000
Positive = Annotated[float, Field(gt=1e-18, le=1e18)]
_WORDS = {"last-end": "time"}


class StoredObjective(Part):
    """What settings are judged by."""

    name: str = "last-end"
    unit: str = "s"


class StoredFinalist(Part):
    """One of the best settings of a scenario."""

    policy: str
    setting: dict[str, Number | None] = {}
    screening: Number | None = None
    screening_s: Number | None = None
    objective: MeanWithInterval | None = None
    seconds: MeanWithInterval

    @property
    def judged(self) -> MeanWithInterval:
        """What it is judged by, on fresh seeds."""
        return self.objective or self.seconds

    @property
    def when_picked(self) -> float | None:
        """The same on the seeds that picked it."""
        return self.screening_s if self.screening is None else self.screening


class StoredBudget(Part):
    """What the search cost."""

    trials: int | None = None
    episodes: int | None = None
    env_steps: int | None = None
    wall_s: Number | None = None
    machine_s: Number | None = None


class StoredMean(Part):
    """What an incumbent comes to."""

    mean: Positive


class StoredIncumbent(Part):
    """A setting that was the best so far, and what the search had cost by then."""

    env_steps: Positive
    machine_s: Positive
    objective: StoredMean


class StoredCurve(Part):
    """What a search had found against what it had cost."""

    env_steps: Positive
    machine_s: Positive
    """Of the whole screening."""
    incumbents: Annotated[tuple[StoredIncumbent, ...], Field(min_length=1, max_length=MOST_INCUMBENTS)]

    @property
    def problem(self) -> str:
        """What is wrong with it as a whole; empty if nothing is."""
        ends = (*self.incumbents, self)
        for field in ("env_steps", "machine_s"):
            costs = [getattr(end, field) for end in ends]
            if any(later < earlier for earlier, later in zip(costs, costs[1:], strict=False)):
                return f"{field} must not fall"
        return ""


class StoredReferences(Part):
    """What the objective comes to without a search."""

    all_fast: Positive
    clairvoyant: Positive | None = None


class SearchedScenario(Part):
    """What a search on one scenario cost, and what it had found by when."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    scenario: str
    daemon: str = ""
    sampler: str = ""
    sampler_seed: int | None = None
    objective: StoredObjective = StoredObjective()
    git_revision: str | None = None
    budget: StoredBudget = StoredBudget()
    references: StoredReferences | None = None
    curve: StoredCurve | None = None

    def budget_curve(self, path: str) -> BudgetCurve | None:
        """The curve, if there is one. Raises `ConfigError`."""
        if self.curve is None or self.references is None:
            return None
        if self.curve.problem:
            raise ConfigError(f"{path}: curve: {self.curve.problem}")
        scale, bound = self.references.all_fast, self.references.clairvoyant
        points = [
            BudgetPoint(each.env_steps, each.machine_s, each.objective.mean / scale) for each in self.curve.incumbents
        ]
        points.append(BudgetPoint(self.curve.env_steps, self.curve.machine_s, points[-1].value))
        name = f"search: {self.sampler}" if self.sampler else "search"
        return BudgetCurve(self.scenario, self.daemon, name, points, bound and bound / scale)


class StoredSearch(SearchedScenario):
    """A search on one scenario."""

    no_migration: MeanWithInterval | None = None
    """What doing nothing comes to on the same seeds."""
    finalists: Annotated[tuple[StoredFinalist, ...], Field(min_length=1)]

    @property
    def unit(self) -> str:
        """Behind a number."""
        return "" if self.objective.unit == "1" else f" {self.objective.unit}"


class CommonFinalist(Part):
    """One of the best settings for all scenarios together."""

    policy: str
    screening: Number | None = None
    relative_time: Number


class StoredSuiteSearch(Part):
    """A search on the scenarios of a suite."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    suite: str
    git_revision: str | None = None
    scenarios: Annotated[tuple[StoredSearch, ...], Field(min_length=1, max_length=MOST_SCENARIOS)]
    for_all: Annotated[tuple[CommonFinalist, ...], Field(min_length=1)]


def section(content: Mapping[str, Any], path: str) -> Section:
    """The section of a search. Raises `ConfigError`."""
    if "for_all" not in content:
        search = validate_record(StoredSearch, content, path)
        return _section(search.scenario, path, [search], [], search.git_revision, content)
    suite = validate_record(StoredSuiteSearch, content, path)
    return _section(suite.suite, path, suite.scenarios, [_common_part(suite)], suite.git_revision, content)


def _section(
    name: str,
    path: str,
    searches: "tuple[StoredSearch, ...] | list[StoredSearch]",
    parts: list[ReportPart],
    git_revision: str | None,
    content: Mapping[str, Any],
) -> Section:
    first = searches[0]
    summary = Text(
        "The best static settings that were found. They were picked on some seeds and judged on others: the times of "
        "the latter count, those of the former are what they looked like when they were picked."
    )
    words = ["tune", name, *(["--sampler", first.sampler] if first.sampler else [])]
    if content.get("split") == "final":
        words.append("--open-final")
    if first.budget.trials and first.sampler == "random":
        words += ["--trials", str(first.budget.trials)]
    how = reproduce.known(
        command=reproduce.command_of(content, reproduce.command(*words, "--json", "FILE")),
        daemon=", ".join(dict.fromkeys(search.daemon for search in searches)),
        git_revision=git_revision,
        versions=reproduce.versions_text(content.get("versions")),
    )
    curves = [curve for search in searches if (curve := search.budget_curve(path)) is not None]
    title = f"Search of {name or Path(path).name}"
    return Section(title, path, [summary], [*parts, *map(_part, searches)], how, curves)


def _common_part(suite: StoredSuiteSearch) -> ReportPart:
    rows = [
        [each.policy, f"{each.relative_time:.4f}", "-" if each.screening is None else f"{each.screening:.4f}"]
        for each in suite.for_all
    ]
    columns = ["setting", "time over time without migration", "when picked"]
    best = Text(f"One setting for all scenarios: {suite.for_all[0].policy}.", is_verdict=True)
    return ReportPart(
        "One setting for all", [best, Table(f"Means over {len(suite.scenarios)} scenarios", columns, rows)]
    )


def _part(search: StoredSearch) -> ReportPart:
    names = list(dict.fromkeys(name for finalist in search.finalists for name in finalist.setting))
    rows = [
        [
            str(rank),
            with_interval(finalist.judged.mean, finalist.judged.ci95, ".4g"),
            "-" if finalist.when_picked is None else f"{finalist.when_picked:.4g}",
            *(_value(finalist, name) for name in names),
            finalist.policy,
        ]
        for rank, finalist in enumerate(search.finalists, start=1)
    ]
    judged = f"{_WORDS.get(search.objective.name, search.objective.name)} [{search.objective.unit}]"
    titles = [_TUNABLES[name].name.replace("_", " ") if name in _TUNABLES else name for name in names]
    columns = ["rank", judged, "when picked", *titles, "as a policy"]
    table = Table("Finalists, best first", columns, rows)
    dots = [
        Dot(f"rank {rank}", finalist.judged.mean, *(finalist.judged.ci95 or (None, None)))
        for rank, finalist in enumerate(search.finalists, start=1)
    ]
    chart = dot_chart(search.scenario, f"{judged} on fresh seeds", dots)
    charts = Charts("The finalists with 95 % intervals.", [chart])
    return ReportPart(f"Settings for {search.scenario}", [Text(_verdict(search), is_verdict=True), table, charts])


def _verdict(search: StoredSearch) -> str:
    best = search.finalists[0]
    words = f"{best.policy} is the best of {search.budget.trials or 'the'} settings"
    words += f", {with_interval(best.judged.mean, best.judged.ci95, '.4g')}{search.unit}."
    if search.no_migration is not None:
        rest = search.no_migration
        words += f" No migration comes to {with_interval(rest.mean, rest.ci95, '.4g')}{search.unit}."
    if best.judged.ci95 is None:
        return words
    near = [
        each.policy
        for each in search.finalists[1:]
        if each.judged.ci95 is not None and each.judged.ci95[0] <= best.judged.ci95[1]
    ]
    return f"{words} The intervals of {len(near)} of the other {len(search.finalists) - 1} finalists overlap with its."


def _value(finalist: StoredFinalist, name: str) -> str:
    if name not in finalist.setting:
        return "-"
    value = finalist.setting[name]
    if value is None:
        return "unlimited"
    return _TUNABLES[name].quantity.text(value) if name in _TUNABLES else four_digits(value)
