"""What a report says of `evaluate --json`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tierenv.errors import ConfigError
from tierenv.records import validate_record
from tierenv.train.evaluation_words import chosen_words, left_out_words, passed_words, unfinished_words
from tierenv.train.html_report import reproduce
from tierenv.train.html_report.charts import MOST_CHARTS, Line, dot_chart, dot_of
from tierenv.train.html_report.document import Block, Charts, Part, Section, Table, Text
from tierenv.train.html_report.timelines import StoredTimeline, timelines_of
from tierenv.train.judging import (
    AGAINST,
    BASELINE,
    Standing,
    bounded,
    in_classes,
    mean_gap_closed,
    over_no_migration,
    standings,
)
from tierenv.train.outcomes import AT_STAKE, Outcome, Stake
from tierenv.train.recovery import REGAINED
from tierenv.train.results import EvaluationResult, MeanWithInterval, ResultRow, opening_words
from tierenv.train.seeds import EVALUATION
from tierenv.train.statistics import Estimate, mean_estimate
from tierenv.train.texts import counted, percent, percent_interval, short, with_interval
from tierenv.train.verdicts import harm_words, verdict

LAST_END = "last-end"
"""The objective that is the time."""
AT_LEAST = "≥ "
"""Before a mean of runs of which some were given up."""
AT_MOST = "≤ "
"""Before what is the less the longer runs take."""
MOST_TIMELINES = 400
MOST_POLICIES = 200


class ReportedEvaluation(EvaluationResult):
    """A file with its timelines, if it has any."""

    timelines: tuple[StoredTimeline, ...] = ()


def section(content: Mapping[str, Any], path: str) -> Section:
    """The section of an evaluation. Raises `ConfigError`."""
    result = validate_record(ReportedEvaluation, content, path)
    _check(result, path)
    outcomes = result.outcomes()
    known = bounded(outcomes)
    parts = [Part("All scenarios", [_standings_table(known)])] if len(known) > 1 else []
    parts += [_stake_part(result, *entry) for entry in in_classes(known)]
    if others := [outcome for outcome in outcomes if outcome.stake is None]:
        words = Text(
            "What is judged here is no time, or the file does not say what is at stake, or no migration was given up: "
            "there is no bound to it."
        )
        verdicts = [block for outcome in others for block in _unbounded_verdict(outcome)]
        table = _time_table(result, [outcome.scenario for outcome in others], {})
        parts.append(Part("Without bounds", [words, *verdicts, table]))
    parts += _cost_parts(result)
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
    if len(result.policies) > MOST_POLICIES:
        raise ConfigError(f"{path}: rows: must be of at most {MOST_POLICIES} policies, got {len(result.policies)}")
    seen = set()
    for index, row in enumerate(result.rows):
        if (row.scenario, row.policy) in seen:
            raise ConfigError(f"{path}: rows.{index}: has the scenario and the policy of a row before")
        seen.add((row.scenario, row.policy))
        first = result.by_scenario[row.scenario][0]
        if len(row.runs) != len(first.runs):
            raise ConfigError(
                f"{path}: rows.{index}: has {len(row.runs)} runs, policy {first.policy} of the same scenario "
                f"{len(first.runs)}; policies are compared on the same episodes"
            )
    for index, each in enumerate(result.verdicts):
        rows = result.by_scenario.get(each.scenario, [])
        for key, limit in each.bounds.items():
            if rows and len(limit.runs) != len(rows[0].runs):
                raise ConfigError(f"{path}: verdicts.{index}.bounds.{key}.runs: must be {len(rows[0].runs)}")


def _summary(result: ReportedEvaluation, outcomes: Sequence[Outcome]) -> list[Text]:
    known = bounded(outcomes)
    number = len(result.rows[0].seconds.runs)
    objective = f" Judged by {result.objective}." if result.objective else ""
    texts = [
        Text(
            f"{counted(len(result.policies), 'policy', 'policies')} on {counted(len(result.by_scenario), 'scenario')}, "
            f"{counted(number, 'episode')} each, all modelled.{objective} Intervals are of 95 %, and of differences "
            "episode by episode; scenarios are taken as given. Who wins is told after Holm's correction for all pairs "
            "of policies, and over several scenarios by the sum of the mean times."
        )
    ]
    if BASELINE in result.policies and len(result.by_scenario) > 1:
        texts.append(Text(f"{BASELINE} is the best setting of each scenario, another on each."))
    if result.family:
        texts.append(Text(_origin_words(result)))
    given_up = sum(row.truncated_runs for row in result.rows)
    if given_up:
        texts.append(Text(f"{given_up} runs were given up; their times, marked ≥, are at least what is said."))
    if len(known) > 1 and (overall := verdict(known)):
        texts.append(Text(f"Over all scenarios: {overall.words}.", is_verdict=True))
        texts.append(Text(harm_words(known), is_verdict=True))
    chosen_on = {row.policy: row.chosen_on for row in result.rows if len(row.chosen_on) > 1}
    notes = [
        *unfinished_words(outcomes),
        *passed_words(known),
        *chosen_words(chosen_on, result.by_scenario),
        *left_out_words(result.left_out),
    ]
    return [*texts, *map(Text, notes)]


def _origin_words(result: ReportedEvaluation) -> str:
    """Whose scenarios they are, and of a final set when it was opened and for whom, and what else was."""
    words = f"The scenarios are the {result.split or 'unknown'} set of family {result.family}"
    return f"{words}: {opening_words(result.openings)}." if result.openings else f"{words}."


def _stake_part(result: ReportedEvaluation, stake: Stake, chosen: Sequence[Outcome]) -> Part:
    """The part on scenarios with so much at stake."""
    names = [outcome.scenario for outcome in chosen]
    words = f"Here the clairvoyant saves {stake.words} of the time without migration: {', '.join(names)}."
    blocks: list[Block] = [Text(words)]
    if found := verdict(chosen):
        blocks += [Text(f"{_capital(found.words)}.", is_verdict=True), Text(harm_words(chosen), is_verdict=True)]
    if len(chosen) > 1:
        blocks.append(_standings_table(chosen))
    by_scenario = {outcome.scenario: outcome for outcome in chosen}
    blocks += [_verdict_table(chosen), _time_table(result, names, by_scenario), _stake_charts(chosen)]
    return Part(stake.title, blocks)


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _unbounded_verdict(outcome: Outcome) -> list[Block]:
    """Who wins on a scenario without bounds, and who does harm if somebody did nothing there."""
    found = verdict([outcome])
    words = [] if found is None else [f"{found.words}."]
    if outcome.no_migration is not None:
        words.append(harm_words([outcome]))
    return [Text(f"{outcome.scenario}: {each}", is_verdict=True) for each in words]


def _standings_table(outcomes: Sequence[Outcome]) -> Table:
    rows = []
    for standing in sorted(standings(outcomes), key=lambda standing: standing.over_no_migration.value):
        worst, at_least = standing.worst, AT_LEAST * bool(standing.num_given_up)
        rows.append(
            [
                standing.title,
                standing.kind,
                str(standing.num_scenarios),
                at_least + _excess(standing.over_no_migration),
                _over_baseline(standing),
                *(_probability(standing, rival) for rival in AGAINST),
                _gap(standing),
                f"{AT_LEAST * worst.is_at_least}{_excess(worst.over_no_migration)} ({worst.scenario})",
            ]
        )
    columns = [
        "policy",
        "kind",
        "scenarios",
        "against no migration",
        f"against {BASELINE}",
        *(f"P(faster than {rival})" for rival in AGAINST),
        "gap closed",
        "worst",
    ]
    caption = (
        f"Total times over {counted(len(outcomes), 'scenario')}, least first; P: probability that a run is faster than "
        f"one of the other; gap closed: interquartile mean where more than {percent(AT_STAKE, 0)} is at stake; worst: "
        "greatest mean time against no migration"
    )
    used = [index for index in range(len(columns)) if index < 4 or any(row[index] != "-" for row in rows)]
    return Table(
        caption, [columns[index] for index in used], [[row[index] for index in used] for row in rows], numbers_from=2
    )


def _over_baseline(standing: Standing) -> str:
    """With the number of scenarios where it is of fewer than the rest of the line."""
    if standing.over_best_static is None:
        return "-"
    scenarios = f" ({standing.num_paired})" if standing.num_paired < standing.num_scenarios else ""
    return f"{AT_LEAST * bool(standing.num_given_up)}{_excess(standing.over_best_static)}{scenarios}"


def _gap(standing: Standing) -> str:
    if standing.gap_closed is None:
        return "-"
    return AT_MOST * bool(standing.num_given_up) + percent_interval(standing.gap_closed)


def _excess(ratio: Estimate | None) -> str:
    """A ratio of times as what is more or less."""
    return "-" if ratio is None else percent_interval(Estimate(*(limit - 1 for limit in ratio)), signed=True)


def _probability(standing: Standing, rival: str) -> str:
    estimate = standing.improvement.get(rival)
    return "-" if estimate is None else with_interval(estimate.value, estimate.interval, ".2f")


def _verdict_table(outcomes: Sequence[Outcome]) -> Table:
    rows = []
    for outcome in outcomes:
        found = verdict([outcome])
        assert found is not None
        rival = found.rival
        rows.append(
            [
                outcome.scenario,
                percent(outcome.at_stake),
                found.headline,
                found.winner,
                ", ".join(other.policy for other in found.equals) or "none",
                "-" if rival is None else rival.policy,
                "-" if rival is None else AT_LEAST * rival.is_at_least + percent_interval(rival.slower, 2, signed=True),
            ]
        )
    columns = [
        "scenario",
        "at stake",
        "verdict",
        "least mean",
        "not told apart from it",
        "strongest rival",
        "slower by",
    ]
    caption = "Who wins, by scenario; the strongest rival is one of another kind, where there is any"
    return Table(caption, columns, rows, numbers_from=6)


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
        columns["against no migration"] = lambda row: _against_nothing(row, outcomes[row.scenario])
        columns["gap closed"] = lambda row: _own_gap(row, outcomes[row.scenario])
    rows = [[cell(row) for cell in columns.values()] for scenario in scenarios for row in result.by_scenario[scenario]]
    return Table("Means, by scenario and policy", list(columns), rows, numbers_from=3)


def _against_nothing(row: ResultRow, outcome: Outcome) -> str:
    return AT_LEAST * bool(row.truncated_runs) + _excess(over_no_migration(outcome, row.policy))


def _own_gap(row: ResultRow, outcome: Outcome) -> str:
    closed = mean_gap_closed(outcome, row.policy)
    return "-" if closed is None else AT_MOST * bool(row.truncated_runs) + percent_interval(closed)


def _time(row: ResultRow) -> str:
    seconds = mean_estimate(row.seconds.runs)
    return AT_LEAST * bool(row.truncated_runs) + with_interval(seconds.value, seconds.interval)


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
        dots = [dot_of(short(policy), _less_one(outcome, policy), 100) for policy in outcome.runs]
        lines = [Line(0, "no migration"), Line(-100 * outcome.at_stake, "the clairvoyant", is_dashed=True)]
        charts.append(dot_chart(outcome.scenario, "time against no migration [%]", dots, lines))
    caption = "Mean time against no migration (solid line), with 95 % intervals; dashed: what no policy beats."
    return Charts(caption, charts)


def _less_one(outcome: Outcome, policy: str) -> Estimate:
    ratio = over_no_migration(outcome, policy)
    assert ratio is not None
    return Estimate(*(limit - 1 for limit in ratio))


def _cost_parts(result: EvaluationResult) -> list[Part]:
    """How long changes are felt, and whose CPU time it takes; nothing where the file does not say."""
    known = [row for row in result.rows if row.daemon_cpu_s]
    if not known:
        return []
    keys = list(dict.fromkeys(key for row in known for key in row.daemon_cpu_s))
    rows = [
        [
            row.scenario,
            row.policy,
            _mean(row.recovery_s, 1, ".1f"),
            "-" if row.recovery_s is None else percent(row.recovery_s.regained, 0),
            *(_mean(row.daemon_cpu_s.get(key), 1, ".1f") for key in keys),
        ]
        for row in known
    ]
    words = Text(
        f"Recovery is the time after a change until {percent(REGAINED, 0)} of the access rate that there is to regain "
        "is regained; where it never is, the length of the phase counts. CPU time is that of the scanning and the "
        "migration thread, and what NUMA balancing takes threads of the processes."
    )
    columns = ["scenario", "policy", "recovery [s]", "regained", *(f"CPU, {key} [s]" for key in keys)]
    return [Part("Recovery and CPU time", [words, Table("Means over the episodes", columns, rows, numbers_from=2)])]


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
                AT_LEAST * bool(each.runs_not_ended) + _mean(each.end_s, 1, ".1f"),
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
    words += ["--open-final"] if result.split == "final" else []
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
