"""What an exported policy is expected to gain, from the JSON of `tierenv evaluate`."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from tierenv.agents.export.header import Gain
from tierenv.errors import ConfigError
from tierenv.reading import read_json
from tierenv.records import Record, is_bare_word, validate_record
from tierenv.train.statistics import paired_difference

BASELINES = ("numab2", "built-in", "best-static", "no-migration")
"""Policies a reader wants the comparison with: the kernel as booted, the daemon's own rule, one setting, nothing."""


class _Part(Record):
    """A part of the evaluation; what is of no interest here is left unread."""

    model_config = ConfigDict(extra="ignore")


class _Seconds(_Part):
    runs: Annotated[tuple[Annotated[float, Field(ge=1e-9, le=1e9)], ...], Field(min_length=1)]


class _Objective(_Part):
    name: str = "last-end"
    runs: Annotated[tuple[Annotated[float, Field(ge=1e-12, le=1e9)], ...], Field(min_length=1)]


class _Row(_Part):
    scenario: str
    policy: str
    daemon: str
    seconds: _Seconds
    objective: _Objective | None = None
    """What is judged; the seconds in files of before there were others."""
    truncated_runs: int = 0

    @property
    def runs(self) -> tuple[float, ...]:
        """What each run came to."""
        return (self.objective or self.seconds).runs


class _Evaluation(_Part):
    schema_version: Annotated[Literal[1], Field(alias="schema")]
    rows: tuple[_Row, ...]


def read_gains(path: Path, policy: str) -> tuple[Gain, ...]:
    """The policy against each of `BASELINES` that the file holds, on every scenario.

    Raises `ConfigError` for another file, one without this policy or without a baseline, and if runs were given up.
    """
    try:
        evaluation = validate_record(_Evaluation, read_json(path), str(path))
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


def _rows_of(policy: str, own: _Row, rows: Sequence[_Row]) -> list[_Row]:
    """A policy's row on the scenario of another row; if it ran on several daemons, the one on that row's."""
    found = [row for row in rows if (row.policy, row.scenario) == (policy, own.scenario)]
    return found if len(found) == 1 else [row for row in found if row.daemon == own.daemon]


def _gain(path: Path, own: _Row, other: _Row) -> Gain:
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
        objective=own.objective.name if own.objective else "last-end",
    )
