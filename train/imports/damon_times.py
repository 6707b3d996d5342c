"""Times as damo writes them, and how many checks an aggregation interval has."""

import re

import numpy as np
from numpy.typing import NDArray

from tierenv.errors import ConfigError
from tierenv.train.imports.observations import MAX_TIME_S, Findings, ReadOptions
from tierenv.units import format_seconds

SAMPLE_INTERVAL_S = 5e-3
"""DAMON's default (Documentation/admin-guide/mm/damon/usage.rst, and damo's)."""
AGGREGATION_INTERVAL_S = 0.1
"""DAMON's default."""
MAX_CHECKS = 1_000_000
"""In an aggregation interval: no counter of DAMON's users goes further."""
SLACK = 1.1
"""By so much more than the checks of an interval nr_accesses may be: the intervals of a busy machine are longer."""

_UNITS_S = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"([\d,]{1,30}(?:\.\d{1,9})?) (ns|us|ms|s|m|h|d)(?: |$)")
_NUMBER = re.compile(r"\d{1,30}(?:\.\d{1,30})?")


def parse_time_s(text: object, unit_s: float) -> float:
    """Time of "82877315633000", in a unit, or of "23 h 1 m 17 s 315 ms". Raises ValueError for anything else."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        seconds = float(text) * unit_s
    elif isinstance(text, str) and _NUMBER.fullmatch(text):
        seconds = float(text) * unit_s
    elif isinstance(text, str):
        seconds, place = 0.0, 0
        while match := _PART.match(text, place):
            seconds += float(match[1].replace(",", "")) * _UNITS_S[match[2]]
            place = match.end()
        if place < len(text) or not text:
            raise ValueError("is no time")
    else:
        raise ValueError("is no time")
    if not 0 <= seconds <= MAX_TIME_S:
        raise ValueError(f"must be 0 to {MAX_TIME_S:g} s")
    return seconds


class Checks:
    """How many checks an interval has: from the user, the record, or its times and DAMON's defaults.

    Args:
        options: what the user says.
        findings: told what was assumed.
    """

    def __init__(self, options: ReadOptions, findings: Findings) -> None:
        self._options = options
        self._findings = findings
        self._time_s = 0.0
        self._checks = 0.0
        self._snapshots = 0
        self._intervals_s: set[float] = set()

    def of(self, sample_s: float | None, aggregation_s: float | None, duration_s: float | None) -> int:
        """Checks of a snapshot, of which the record says its intervals and how long it took, or None.

        Raises ValueError for intervals that make no sense.
        """
        sample_s = self._options.sample_interval_s or sample_s
        aggregation_s = self._options.aggregation_interval_s or aggregation_s
        if sample_s is None:
            sample_s = SAMPLE_INTERVAL_S
            self._findings.note(
                "the record does not say how often DAMON checked: its default, 5 ms, is taken (say --sample-interval)"
            )
        if aggregation_s is None and not duration_s:
            aggregation_s = AGGREGATION_INTERVAL_S
            self._findings.note(
                "the record does not say over what time DAMON added up: its default, 100 ms, is taken (say "
                "--aggregation-interval)"
            )
        whole_s = aggregation_s or duration_s or AGGREGATION_INTERVAL_S
        if not (sample_s > 0 and 0.5 <= whole_s / sample_s <= MAX_CHECKS):
            raise ValueError(
                f"an aggregation interval of {format_seconds(whole_s)} with checks every {format_seconds(sample_s)}: "
                f"must hold 1 to {MAX_CHECKS} checks"
            )
        checks = round(whole_s / sample_s) or 1
        self._intervals_s.add(sample_s)
        if len(self._intervals_s) == 2:
            self._findings.note("DAMON's sampling interval changes in the record: heat is averaged over its checks")
            self._intervals_s.add(0.0)  # said once, of however many
        self._time_s += duration_s or whole_s
        self._checks += checks
        self._snapshots += 1
        self._findings.check_interval_s = self._time_s / self._checks
        self._findings.observation_s = self._time_s / self._snapshots
        return checks


def capped(found: NDArray[np.float64], checks: float, findings: Findings) -> NDArray[np.float64]:
    """Checks that found an access, at most all of them. Raises ValueError where they are far more.

    Args:
        found: nr_accesses, float64[n].
        checks: of the interval.
        findings: told if any is above.
    """
    highest = float(found.max(initial=0.0))
    if highest > SLACK * checks + 1:
        raise ValueError(
            f"nr_accesses={highest:.0f}: an aggregation interval has {checks:.0f} checks; say --sample-interval and "
            "--aggregation-interval as they were"
        )
    if highest > checks:
        findings.note("some intervals were longer than they should be: nr_accesses above all of their checks means all")
    return np.minimum(found, checks)


def at(origin: str, error: ValueError) -> ConfigError:
    """The error of a place in a record."""
    return ConfigError(f"{origin}: {error}")
