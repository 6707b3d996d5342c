"""An evaluation for people, on a terminal: verdicts, by what is at stake, against the rivals, and each scenario."""

from collections.abc import Callable

import numpy as np
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tierenv.agents.kinds import KINDS
from tierenv.train.episodes import CPU_TIMES
from tierenv.train.evaluation import Evaluation
from tierenv.train.evaluation_words import chosen_words, left_out_words, passed_words, unfinished_words
from tierenv.train.judging import BASELINE, Standing, bounded
from tierenv.train.outcomes import AT_STAKE, NOTHING
from tierenv.train.scenario_tables import COST_WORDS, scenario_tables
from tierenv.train.statistics import Estimate
from tierenv.train.tables import AT_LEAST, AT_MOST, estimated, table
from tierenv.train.texts import counted, percent
from tierenv.train.verdicts import harm_words, verdict

MOST_IN_DETAIL = 3
"""Scenarios whose tables are shown without being asked for."""


def evaluation_tables(evaluation: Evaluation, with_details: bool = False) -> list[Table | Group]:
    """Of few scenarios, or with details, the tables of each; of several what they come to together; and verdicts."""
    several = len(evaluation.outcomes) > 1
    tables: list[Table | Group] = []
    if with_details or len(evaluation.outcomes) <= MOST_IN_DETAIL:
        tables += [part for rows in evaluation.by_scenario.values() for part in scenario_tables(rows)]
    if several and bounded(evaluation.outcomes):
        tables += [_stake_table(evaluation), _rival_table(evaluation), _cost_table(evaluation)]
    if several:
        tables.append(_verdict_table(evaluation))
    return [*tables, _sentences(evaluation)]


def _sentences(evaluation: Evaluation) -> Group:
    """The verdicts in words, and what has to be known about them."""
    known = bounded(evaluation.outcomes)
    lines = []
    if len(evaluation.outcomes) == 1:
        parts = [("Verdict", evaluation.outcomes)]
    else:
        parts = [(f"{stake.words.capitalize()} at stake", members) for stake, members, _ in evaluation.by_stake]
        parts.append((f"In all, {counted(len(known), 'scenario')} by total time", known))
    for title, outcomes in parts:
        found = verdict(outcomes)
        if found is not None:
            lines.append(f"{title}: {found.words}.")
    if known:
        lines.append(harm_words(known))
    timeless = [outcome.scenario for outcome in evaluation.outcomes if not outcome.limits]
    if len(evaluation.outcomes) > 1 and timeless:
        lines.append(f"Without {', '.join(timeless)}: bounds hold for times alone.")
    lines += unfinished_words(evaluation.outcomes)
    lines += passed_words(known)
    lines += chosen_words(evaluation.chosen_on, evaluation.by_scenario)
    lines += left_out_words(evaluation.left_out)
    return Group(*(Padding(Text(line), (0, 0, 0, 2)) for line in lines), Text())


def _stake_table(evaluation: Evaluation) -> Table:
    """Total time over that without migration, by what is at stake and in all."""
    known = bounded(evaluation.outcomes)
    columns = [
        (stake.short_words, len(members), {each.name: each for each in of_class})
        for stake, members, of_class in evaluation.by_stake
    ]
    in_all = {each.name: each for each in evaluation.standings}
    columns.append(("all", len(known), in_all))
    headings = ["policy", "kind", *(f"{title} ({number})" for title, number, _ in columns)]
    found = table(f"suite {evaluation.suite}: total time over that without migration, by stake", headings, 2)
    for standing in in_all.values():
        cells = [_over(of_class.get(standing.name), number) for _, number, of_class in columns]
        found.add_row(standing.title, standing.kind, *cells)
    found.caption = (
        f"in brackets scenarios, of a number where it is of fewer; {len(evaluation.seeds)} episodes of each; 95 % "
        f"intervals, paired{_given_up_caption(evaluation)}"
    )
    return found


def _over(standing: Standing | None, num_scenarios: int) -> str:
    if standing is None:
        return "-"
    at_least = AT_LEAST * bool(standing.num_given_up)
    return f"{at_least}{_within(standing.over_no_migration)}{_of_fewer(standing.num_scenarios, num_scenarios)}"


def _of_fewer(number: int, of_column: int) -> str:
    """Behind what is of fewer scenarios than others of its column."""
    return f" ({number})" if number < of_column else ""


def _given_up_caption(evaluation: Evaluation) -> str:
    return f"; {AT_LEAST.strip()}: runs were given up" * any(row.num_truncated for row in evaluation.rows)


def _over_baseline(standing: Standing) -> str:
    if standing.over_best_static is None:
        return "-"
    at_least = AT_LEAST * bool(standing.num_given_up)
    return f"{at_least}{_within(standing.over_best_static)}{_of_fewer(standing.num_paired, standing.num_scenarios)}"


def _within(estimate: Estimate | None, number: str = ".3f") -> str:
    """An estimate whose interval is as long to both sides."""
    if estimate is None:
        return "-"
    half = "" if estimate.interval is None else f" ± {estimate.high - estimate.value:{number}}"
    return f"{estimate.value:{number}}{half}"


def _rival_table(evaluation: Evaluation) -> Table:
    """Over all scenarios: against best-static and no migration, the gap, and the worst."""
    has_baseline = BASELINE in evaluation.policies
    against = BASELINE if has_baseline else NOTHING
    number = len(bounded(evaluation.outcomes))
    columns: dict[str, Callable[[Standing], str]] = {
        "policy": lambda each: each.title + _of_fewer(each.num_scenarios, number)
    }
    if has_baseline:
        columns[f"over {BASELINE}"] = _over_baseline
    columns[f"better than {against}"] = lambda each: estimated(each.improvement.get(against), ".2f")
    columns["gap closed"] = _gap
    columns["worst"] = lambda each: AT_LEAST * each.worst.is_at_least + _within(each.worst.over_no_migration)
    columns["on"] = lambda each: each.worst.scenario
    found = table(f"suite {evaluation.suite}: all scenarios", list(columns))
    found.columns[-1].justify = "left"
    for standing in evaluation.standings:
        found.add_row(*(cell(standing) for cell in columns.values()))
    over = f"over {BASELINE}: ratio of total times; " if has_baseline else ""
    found.caption = (
        f"{over}better than: probability that a run is faster; gap closed: interquartile mean over scenarios with more "
        f"than {percent(AT_STAKE, 0)} at stake [%]; worst: greatest mean time over that without migration; in "
        f"brackets scenarios, where it is of fewer than {number}{_given_up_caption(evaluation)}"
    )
    return found


def _gap(standing: Standing) -> str:
    if standing.gap_closed is None:
        return "-"
    percents = Estimate(*(100 * limit for limit in standing.gap_closed))
    return AT_MOST * bool(standing.num_given_up) + estimated(percents, ".0f")


def _cost_table(evaluation: Evaluation) -> Table:
    """How long changes are felt, and whose CPU time it takes: means over the scenarios, each counting the same."""
    columns = ["policy", "recovery [s]", "regained", "CPU [s]", *CPU_TIMES]
    found = table(f"suite {evaluation.suite}: recovery and CPU time, means over scenarios", columns)
    for policy in evaluation.policies:
        rows = [row for row in evaluation.rows if row.policy == policy]
        recovery = [row.recovery_s.value for row in rows if row.recovery_s is not None]
        regained = [row.regained for row in rows if row.regained is not None]
        times = {key: np.mean([row.cpu_s[key].value for row in rows]) for key in rows[0].cpu_s}
        found.add_row(
            policy + _of_fewer(len(rows), len(evaluation.outcomes)),
            f"{np.mean(recovery):.1f}" if recovery else "-",
            percent(float(np.mean(regained))) if regained else "-",
            *(f"{times[key]:.1f}" for key in ("total", *CPU_TIMES)),
        )
    found.caption = COST_WORDS
    return found


def _verdict_table(evaluation: Evaluation) -> Table:
    """Who wins on each scenario, and by how much over the strongest policy of another kind."""
    columns = ["scenario", "at stake", "wins", "least mean", "strongest rival", "slower"]
    found = table(f"suite {evaluation.suite}: verdicts", columns, text_columns=len(columns))
    for outcome in evaluation.outcomes:
        stake = "-" if outcome.stake is None else percent(outcome.at_stake)
        judgement = verdict([outcome])
        if judgement is None:
            found.add_row(outcome.scenario, stake, *["-"] * 4)
            continue
        rival = judgement.rival
        wins = KINDS[judgement.kind] if judgement.is_sure else "undecided"
        slower = "-" if rival is None else AT_LEAST * rival.is_at_least + percent(rival.slower.value, 2)
        beside = "-" if rival is None else rival.policy
        found.add_row(outcome.scenario, stake, wins, judgement.winner, beside, slower)
    for index in (1, 5):
        found.columns[index].justify = "right"
    found.caption = (
        "undecided: some policy of another kind is not told apart (Holm, 5 %); strongest rival: of another kind, or "
        f"where there is none the next of the same{_given_up_caption(evaluation)}"
    )
    return found
