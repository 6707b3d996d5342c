"""What a report says of `tierenv.train.studies.search_curves`: several searches for the sake of their budgets."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from tierenv.records import validate_record
from tierenv.train.html_report import reproduce
from tierenv.train.html_report.document import Part as ReportPart
from tierenv.train.html_report.document import Section, Table, Text
from tierenv.train.html_report.search import SearchedScenario
from tierenv.train.results import Part
from tierenv.train.texts import counted, four_digits, listed

MOST_SEARCHES = 500


class StoredSearches(Part):
    """Searches of one or several scenarios."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    git_revision: str | None = None
    searches: Annotated[tuple[SearchedScenario, ...], Field(min_length=1, max_length=MOST_SEARCHES)]


def section(content: Mapping[str, Any], path: str) -> Section:
    """The section of such searches. Raises `ConfigError`."""
    stored = validate_record(StoredSearches, content, path)
    searches = stored.searches
    samplers = listed(list(dict.fromkeys(search.sampler for search in searches)))
    scenarios = listed(list(dict.fromkeys(search.scenario for search in searches)))
    summary = Text(f"{counted(len(searches), 'search', 'searches')} of {scenarios} by {samplers}.")
    how = reproduce.known(
        command=reproduce.command_of(content),
        daemon=", ".join(dict.fromkeys(search.daemon for search in searches)),
        git_revision=stored.git_revision,
    )
    curves = [
        curve
        for number, search in enumerate(searches)
        if (curve := search.budget_curve(f"{path}: searches.{number}")) is not None
    ]
    return Section(f"Budgets of searches of {scenarios}", path, [summary], [_costs(searches)], how, curves)


def _costs(searches: tuple[SearchedScenario, ...]) -> ReportPart:
    rows = [
        [
            search.scenario,
            search.sampler,
            four_digits(search.sampler_seed),
            four_digits(search.budget.trials),
            four_digits(search.budget.env_steps),
            "-" if search.budget.machine_s is None else f"{search.budget.machine_s / 3600:,.1f}",
            "-" if search.budget.wall_s is None else f"{search.budget.wall_s:,.1f}",
        ]
        for search in searches
    ]
    columns = ["scenario", "sampler", "seed", "settings", "environment steps", "hours of a machine", "wall time [s]"]
    table = Table("What they cost, the second look at the finalists included", columns, rows, numbers_from=2)
    return ReportPart("Costs", [table])
