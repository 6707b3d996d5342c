"""What a report says of `tune --json`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tierenv.records import validate_record
from tierenv.train.html_report import reproduce
from tierenv.train.html_report.charts import Dot, dot_chart
from tierenv.train.html_report.document import Charts, Section, Table, Text
from tierenv.train.html_report.document import Part as ReportPart
from tierenv.train.results import MeanWithInterval, Number, Part
from tierenv.train.texts import four_digits, with_interval
from tierenv.tunables import TUNABLES

_TUNABLES = {tunable.symbol: tunable for tunable in TUNABLES.values()}


MOST_SCENARIOS = 200
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


class StoredSearch(Part):
    """A search on one scenario."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    scenario: str
    daemon: str = ""
    sampler: str = ""
    objective: StoredObjective = StoredObjective()
    git_revision: str | None = None
    budget: StoredBudget = StoredBudget()
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
    if first.budget.trials and first.sampler == "random":
        words += ["--trials", str(first.budget.trials)]
    how = reproduce.known(
        command=reproduce.command_of(content, reproduce.command(*words, "--json", "FILE")),
        daemon=", ".join(dict.fromkeys(search.daemon for search in searches)),
        git_revision=git_revision,
        versions=reproduce.versions_text(content.get("versions")),
    )
    return Section(f"Search of {name or Path(path).name}", path, [summary], [*parts, *map(_part, searches)], how)


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
