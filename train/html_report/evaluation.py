"""What a report says of `evaluate --json`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tierenv.errors import ConfigError
from tierenv.records import validate_record
from tierenv.train.html_report import reproduce
from tierenv.train.html_report.charts import MOST_CHARTS, Line, dot_chart, dot_of
from tierenv.train.html_report.document import Block, Charts, Part, Section, Table, Text
from tierenv.train.html_report.timelines import StoredTimeline, timelines_of
from tierenv.train.html_report.verdicts import (
    CLASSES,
    harm_words,
    mean_excess,
    mean_gap_closed,
    same_policies,
    stake_words,
    verdict,
    worst,
)
from tierenv.train.outcomes import Outcome
from tierenv.train.results import EvaluationResult, MeanWithInterval, ResultRow, unbounded_outcome
from tierenv.train.seeds import EVALUATION
from tierenv.train.statistics import mean_estimate
from tierenv.train.texts import counted, percent, percent_interval, short, with_interval

BEST_STATIC = "best-static"
LAST_END = "last-end"
"""The objective that is the time."""
MOST_TIMELINES = 400


class ReportedEvaluation(EvaluationResult):
    """A file with its timelines, if it has any."""

    timelines: tuple[StoredTimeline, ...] = ()


def section(content: Mapping[str, Any], path: str) -> Section:
    """The section of an evaluation. Raises `ConfigError`."""
    result = validate_record(ReportedEvaluation, content, path)
    _check(result, path)
    outcomes = result.outcomes()
    parts = [part for entry in CLASSES for part in _stake_parts(result, outcomes, *entry)]
    known = {outcome.scenario for outcome in outcomes}
    if others := [scenario for scenario in result.by_scenario if scenario not in known]:
        words = Text(
            "What is judged here is no time, or the file does not say what is at stake: there is no bound to it."
        )
        verdicts = [block for scenario in others for block in _unbounded_verdict(result, scenario)]
        parts.append(Part("Without bounds", [words, *verdicts, _time_table(result, others, {})]))
    parts += _process_parts(result)
    parts += _timeline_parts(result)
    name = result.suite or Path(path).name
    return Section(f"Evaluation of {name}", path, _summary(result, outcomes), parts, _reproduce(result, content))


def _check(result: ReportedEvaluation, path: str) -> None:
    """Refuse what is of the right form and says nothing. Raises `ConfigError`."""
    for index, timeline in enumerate(result.timelines):
        if timeline.problem:
            raise ConfigError(f"{path}: timelines.{index}: {timeline.problem}")
    if len(result.timelines) > MOST_TIMELINES:
        raise ConfigError(f"{path}: timelines: must be at most {MOST_TIMELINES}, got {len(result.timelines)}")
    seen = set()
    for index, row in enumerate(result.rows):
        if (row.scenario, row.policy) in seen:
            raise ConfigError(f"{path}: rows.{index}: has the scenario and the policy of a row before")
        seen.add((row.scenario, row.policy))


def _summary(result: ReportedEvaluation, outcomes: Sequence[Outcome]) -> list[Text]:
    number = len(result.rows[0].seconds.runs)
    objective = f" Judged by {result.objective}." if result.objective else ""
    texts = [
        Text(
            f"{counted(len(result.policies), 'policy', 'policies')} on {counted(len(result.by_scenario), 'scenario')}, "
            f"{counted(number, 'episode')} each, all modelled.{objective} Intervals are Student's, of 95 %; "
            "differences are taken episode by episode, and over several scenarios every scenario counts the same."
        )
    ]
    if BEST_STATIC in result.policies and len(result.by_scenario) > 1:
        texts.append(Text(f"{BEST_STATIC} is the best setting of each scenario, another on each."))
    if result.family:
        texts.append(Text(_origin_words(result)))
    given_up = sum(row.truncated_runs for row in result.rows)
    if given_up:
        texts.append(Text(f"{given_up} runs were given up; their times, marked ≥, are at least what is said."))
    if len(outcomes) > 1 and (overall := verdict(outcomes)):
        texts.append(Text(f"Over all scenarios: {overall.words}", is_verdict=True))
        texts.append(Text(harm_words(outcomes), is_verdict=True))
    return texts


def _origin_words(result: ReportedEvaluation) -> str:
    """Whose scenarios they are, and of a final set when it was opened, and which were before."""
    words = f"The scenarios are the {result.split or 'unknown'} set of family {result.family}."
    told = [f"{each.opened} (seed {each.seed})" for each in result.openings]
    if told:
        before = f"Opened before: {', '.join(told[:-1])}." if told[1:] else "None was opened before."
        words += f" It was opened at {told[-1]}. {before}"
    return words


def _stake_parts(
    result: ReportedEvaluation, outcomes: Sequence[Outcome], title: str, low: float, high: float
) -> list[Part]:
    """The part on scenarios with so much at stake; none without any."""
    chosen = [outcome for outcome in outcomes if low < outcome.at_stake <= high]
    if not chosen:
        return []
    names = [outcome.scenario for outcome in chosen]
    blocks: list[Block] = [Text(f"Here {stake_words(low, high)}: {', '.join(names)}.")]
    if found := verdict(chosen):
        blocks += [Text(found.words, is_verdict=True), Text(harm_words(chosen), is_verdict=True)]
    if len(chosen) > 1 and same_policies(chosen):
        blocks.append(_mean_table(chosen))
    by_scenario = {outcome.scenario: outcome for outcome in chosen}
    blocks += [_verdict_table(chosen), _time_table(result, names, by_scenario), _stake_charts(chosen)]
    return [Part(title, blocks)]


def _unbounded_verdict(result: EvaluationResult, scenario: str) -> list[Block]:
    """Who wins on a scenario without bounds, and who does harm; nothing if nobody did nothing there."""
    outcome = unbounded_outcome(result.by_scenario[scenario])
    found = None if outcome is None else verdict([outcome])
    if outcome is None or found is None:
        return []
    return [Text(f"{scenario}: {words}", is_verdict=True) for words in (found.words, harm_words([outcome]))]


def _mean_table(outcomes: Sequence[Outcome]) -> Table:
    policies = same_policies(outcomes)
    rows = []
    for policy in sorted(policies, key=lambda policy: mean_excess(outcomes, policy).value):
        share, scenario = worst(outcomes, policy)
        rows.append(
            [
                policy,
                percent_interval(mean_excess(outcomes, policy), signed=True),
                percent(mean_gap_closed(outcomes, policy), 0),
                f"{percent(share, signed=True)} ({scenario})",
            ]
        )
    columns = ["policy", "mean time against no migration", "gap closed", "worst against no migration"]
    return Table(f"Means over {len(outcomes)} scenarios, best first", columns, rows)


def _verdict_table(outcomes: Sequence[Outcome]) -> Table:
    rows = []
    for outcome in outcomes:
        found = verdict([outcome])
        assert found is not None
        rows.append(
            [
                outcome.scenario,
                percent(outcome.at_stake),
                found.winner,
                "-" if found.runner_up is None else found.runner_up,
                percent_interval(found.lead, 2, signed=True),
                ", ".join(found.equals) or "none",
            ]
        )
    columns = ["scenario", "at stake", "least mean", "next", "difference to the next", "not told apart from it"]
    return Table("Who wins, by scenario; shares of the time without migration", columns, rows, numbers_from=6)


def _time_table(result: EvaluationResult, scenarios: Sequence[str], outcomes: Mapping[str, Outcome]) -> Table:
    has_objective = any(row.objective is not None and row.objective.name != LAST_END for row in result.rows)
    columns: dict[str, Callable[[ResultRow], str]] = {
        "scenario": lambda row: row.scenario,
        "policy": lambda row: row.policy,
        "daemon": lambda row: row.daemon,
        "time [s]": _time,
    }
    if has_objective:
        columns["objective"] = _objective
    if outcomes:
        columns["against no migration"] = lambda row: percent_interval(
            outcomes[row.scenario].excess(row.policy), signed=True
        )
        columns["gap closed"] = lambda row: percent(mean_gap_closed([outcomes[row.scenario]], row.policy), 0)
    rows = [[cell(row) for cell in columns.values()] for scenario in scenarios for row in result.by_scenario[scenario]]
    return Table("Means, by scenario and policy", list(columns), rows, numbers_from=3)


def _time(row: ResultRow) -> str:
    seconds = mean_estimate(row.seconds.runs)
    return ("≥ " if row.truncated_runs else "") + with_interval(seconds.value, seconds.interval)


def _objective(row: ResultRow) -> str:
    if row.objective is None:
        return "-"
    estimate = mean_estimate(row.objective.runs)
    numbers = with_interval(estimate.value, estimate.interval, ".4g")
    unit = "" if row.objective.unit == "1" else f" {row.objective.unit}"
    return f"{row.objective.name}: {numbers}{unit}"


def _stake_charts(outcomes: Sequence[Outcome]) -> Charts:
    charts = []
    for outcome in outcomes[:MOST_CHARTS]:
        dots = [dot_of(short(policy), outcome.excess(policy), 100) for policy in outcome.runs]
        lines = [Line(0, "no migration"), Line(-100 * outcome.at_stake, "the clairvoyant", is_dashed=True)]
        charts.append(dot_chart(outcome.scenario, "time against no migration [%]", dots, lines))
    caption = "Mean time against no migration (solid line), with 95 % intervals; dashed: what no policy beats."
    return Charts(caption, charts)


def _process_parts(result: EvaluationResult) -> list[Part]:
    """When each of several processes was done; nothing where there is one in every scenario."""
    rows = [cells for row in result.rows for cells in _process_rows(row)]
    if not rows:
        return []
    columns = ["scenario", "policy", "process", "done after [s]", "slowdown", "access [ns]"]
    used = [index for index in range(len(columns)) if index < 4 or any(cells[index] != "-" for cells in rows)]
    table = Table(
        "Means of each process",
        [columns[index] for index in used],
        [[cells[index] for index in used] for cells in rows],
        numbers_from=3,
    )
    return [Part("Processes", [table])]


def _process_rows(row: ResultRow) -> list[list[str]]:
    """A line for each of several processes of a row."""
    if len(row.processes) > 1:
        return [
            [
                row.scenario,
                row.policy,
                each.process if each.lifetime == "once" else f"{each.process} ({each.lifetime})",
                ("≥ " if each.runs_not_ended else "") + _mean(each.end_s, 1, ".1f"),
                _mean(each.slowdown, 1, ".2f"),
                _mean(each.access_s, 1e9, ".0f"),
            ]
            for each in row.processes
        ]
    if len(row.process_seconds) > 1:
        return [
            [row.scenario, row.policy, each.workload, with_interval(each.mean, each.ci95), "-", "-"]
            for each in row.process_seconds
        ]
    return []


def _mean(value: MeanWithInterval | None, scale: float, number: str) -> str:
    if value is None:
        return "-"
    interval = None if value.ci95 is None else [scale * end for end in value.ci95]
    return with_interval(scale * value.mean, interval, number)


def _timeline_parts(result: ReportedEvaluation) -> list[Part]:
    scenarios = dict.fromkeys(timeline.scenario for timeline in result.timelines)
    blocks = [
        timelines_of(scenario, [entry for entry in result.timelines if entry.scenario == scenario])
        for scenario in scenarios
    ]
    return [Part("Over time", blocks)] if blocks else []


def _reproduce(result: ReportedEvaluation, content: Mapping[str, Any]) -> list[tuple[str, str]]:
    daemons = ", ".join(dict.fromkeys(row.daemon for row in result.rows))
    is_evaluation = result.seeds == tuple(range(EVALUATION, EVALUATION + len(result.seeds)))
    words = [text for policy in result.policies for text in ("--policy", policy)]
    words += ["--json", "FILE", *(["--timelines"] if result.timelines else [])]
    command = None
    if result.suite and result.seeds and is_evaluation:
        command = reproduce.command("evaluate", result.suite, "--seeds", str(len(result.seeds)), *words)
    return reproduce.known(
        command=reproduce.command_of(content, command),
        daemons=f"{daemons} (give --daemon where it is not the scenarios' own)",
        git_revision=result.git_revision,
        seeds=reproduce.seeds_text(result.seeds),
        versions=reproduce.versions_text(content.get("versions")),
    )
