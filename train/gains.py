"""What an exported policy is expected to gain, from the JSON of `tierenv evaluate`."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

from tierenv.agents.export.header import Gain
from tierenv.errors import ConfigError
from tierenv.records import is_bare_word
from tierenv.train.results import ResultRow, read_evaluation
from tierenv.train.statistics import paired_difference

BASELINES = ("numab2", "built-in", "best-static", "no-migration")
"""Policies a reader wants the comparison with: the kernel as booted, the daemon's own rule, one setting, nothing."""


def read_gains(path: Path, policy: str) -> tuple[Gain, ...]:
    """The policy against each of `BASELINES` that the file holds, on every scenario.

    Raises `ConfigError` for another file, one without this policy or without a baseline, and if runs were given up.
    """
    try:
        evaluation = read_evaluation(path)
    except ConfigError as error:
        raise ConfigError(f"{error}; give a file that `evaluate --json` wrote") from None
    own = [row for row in evaluation.rows if _plain(row.policy) == _plain(policy)]
    if not own:
        known = ", ".join(dict.fromkeys(row.policy for row in evaluation.rows))
        raise ConfigError(f"{path}: has no row for policy {policy!r}; it has {known}")
    gains = [
        _gain(path, row, other)
        for row in own
        for baseline in BASELINES
        for other in _rows_of(baseline, row, evaluation.rows)
        if other is not row
    ]
    if not gains:
        raise ConfigError(f"{path}: has no policy to compare with; evaluate {' or '.join(BASELINES)} in the same call")
    return tuple(gains)


def _plain(policy: str) -> str:
    """A path without detours; a bare word, which names a packaged policy, is never that of a path."""
    return policy if is_bare_word(policy) else os.path.join(os.curdir, os.path.normpath(policy))


def _rows_of(policy: str, own: ResultRow, rows: Sequence[ResultRow]) -> list[ResultRow]:
    """A policy's row on the scenario of another row; if it ran on several daemons, the one on that row's."""
    found = [row for row in rows if (row.policy, row.scenario) == (policy, own.scenario)]
    return found if len(found) == 1 else [row for row in found if row.daemon == own.daemon]


def _gain(path: Path, own: ResultRow, other: ResultRow) -> Gain:
    for row in (own, other):
        if row.truncated_runs:
            raise ConfigError(f"{path}: {row.policy} was given up in {row.truncated_runs} runs of {row.scenario}")
    if len(own.runs) != len(other.runs):
        raise ConfigError(f"{path}: {own.policy} and {other.policy} have different numbers of runs on {own.scenario}")
    saved = paired_difference(other.runs, own.runs)
    scale = math.fsum(other.runs) / len(other.runs)
    interval = None if saved.interval is None else (saved.low / scale, saved.high / scale)
    return Gain(
        scenario=own.scenario,
        against=other.policy,
        share=saved.value / scale,
        ci95=interval,
        episodes=len(own.runs),
    )
