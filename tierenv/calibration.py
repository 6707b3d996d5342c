"""Fitting what is unknown of a platform and of the program measured on it to what was measured (docs/model.md).

What is fitted is a short list of physical quantities, each with a unit, a prior and the prior's source
(`tierenv.priors`); none belongs to one size or one system. The fit maximises the posterior under log-normal priors and
errors:

    minimise  e' C^-1 e + sum_p (log value_p - log prior_p)^2 / s_p^2 ,   e = log modelled - log measured

a bounded least-squares problem, for any number of rows: where they say little the priors carry the rest. A measured
time is off the model by what all times of its size share (SIZE_ERROR: memory laid out anew, cache conflicts), by an
error of its own (OWN_ERRORS) and by the spread of its repeats, and a rate of accesses likewise; others have only the
last two. C is the
covariance that follows. Intervals and correlations come from the curvature at the optimum.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tierenv.errors import ConfigError
from tierenv.fit import Floats, Posterior, Problem, Remember, evaluated_anew
from tierenv.measurements import TIME, Cell, at_size, check_runs
from tierenv.priors import INFORMED, INTERVAL_SDS, Fixed, Parameter, bounds_of, priors_of, with_values
from tierenv.progress import ReportProgress, unreported
from tierenv.quantities import QUANTITIES, Outcome, traffic_per_access
from tierenv.records import validate_record
from tierenv.scenario import Scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.units import PAGE_BYTES

SIZE_ERROR = 0.02
"""Standard deviation of the logarithm of what all times at one size share."""
SHARED_ERRORS = {TIME: 1, "accesses_per_s": -1}
"""By quantity, how often it counts SIZE_ERROR: a rate of accesses is work over a time."""
OWN_ERRORS = {TIME: 0.012, "accesses_per_s": 0.012, "traffic_mb_per_s": 0.1}
"""Standard deviation of the logarithm of what is a row's own. Counters of memory controllers also see page tables,
other programs and what the kernel copies."""
KERNEL_RATE_ERROR = 0.3
"""The same of what the kernel counts: by a tenth to a half of such rates models and machines differ (docs/model.md)."""
LEAST_RATES = {"promoted_mb_per_s": PAGE_BYTES / 1e6}
LEAST_RATE = 1.0
"""What is added to rates before their logarithm is taken: one event a second, below which none says anything."""
BATCH_MACHINES = 256
"""Simulated together: enough for the cores, and no more memory than so many large machines take."""
SIGNIFICANT_DIGITS = 4
"""Digits of a fitted value that are kept."""
SEED = 0


@dataclass(frozen=True)
class Estimate:
    """A parameter's fitted value and 95 % interval, in its unit."""

    parameter: Parameter
    value: float
    low: float
    high: float
    log_sd: float
    """Standard deviation of the logarithm after the rows have been seen."""

    @property
    def share_of_rows(self) -> float:
        """Share of the prior's variance that the rows take away: how much of what is known comes from them."""
        return max(0.0, 1 - (self.log_sd / self.parameter.prior_sd) ** 2)

    @property
    def is_informed(self) -> bool:
        """Whether the rows at least halve the prior's standard deviation."""
        return self.share_of_rows >= INFORMED


@dataclass(frozen=True)
class Calibration:
    """What was fitted and how well it does."""

    scenario: Scenario
    """That of the measurements, with the fitted values."""
    estimates: list[Estimate]
    fixed: list[Fixed]
    """What the files keep from being fitted."""
    correlations: Floats
    """float64[parameters, parameters], of the logarithms."""
    cells: list[Cell]
    modelled: Floats
    """float64[cells], at the fitted values as rounded, in the units of the quantities."""
    left_out_log_errors: Floats
    """float64[cells]: logarithm of what a fit without the row's size would make of it, over what was measured; of rows
    at one size without the row; NaN for a single row. To first order: the slopes at the optimum tell where it would lie
    (`tierenv.fit.Posterior.left_out`)."""

    @cached_property
    def errors(self) -> Floats:
        """float64[cells]: modelled over measured, less one."""
        return np.exp(self._log_errors) - 1

    @cached_property
    def left_out_errors(self) -> Floats:
        """float64[cells]: as `errors`, of fits without the row."""
        return np.exp(self.left_out_log_errors) - 1

    @cached_property
    def normalised_errors(self) -> Floats:
        """float64[cells]: logarithm of modelled over measured in standard deviations of the row's error."""
        return self._log_errors / np.sqrt(np.diag(_covariance(self.cells)))

    @cached_property
    def _log_errors(self) -> Floats:
        return _logs(self.cells, self.modelled) - _logs(self.cells, _measured(self.cells))

    @property
    def left_out(self) -> str:
        """What the fits of `left_out_errors` do without: size, row or, for a single row, "" for nothing."""
        return "size" if len({cell.size_gib for cell in self.cells}) > 1 else "row" if len(self.cells) > 1 else ""

    def gains(self, system: str, baseline: str) -> list[tuple[float, float, float]]:
        """Size in GiB, measured and modelled share of the baseline's time a system saves, where both were measured."""
        times = self._times()
        gains = []
        for size_gib in sorted({size for size, _ in times}):
            if (size_gib, system) in times and (size_gib, baseline) in times:
                ratios = [
                    own / other for own, other in zip(times[size_gib, system], times[size_gib, baseline], strict=True)
                ]
                gains.append((size_gib, 1 - ratios[0], 1 - ratios[1]))
        return gains

    @property
    def keeps_order(self) -> bool:
        """Whether at every size the modelled times order the systems as the measured ones do."""
        times = self._times()
        for size in {size for size, _ in times}:
            measured, modelled = zip(*(pair for (at, _), pair in times.items() if at == size), strict=True)
            if not np.array_equal(np.argsort(measured), np.argsort(modelled)):
                return False
        return True

    def _times(self) -> dict[tuple[float, str], tuple[float, float]]:
        """Measured and modelled time by size and system."""
        return {
            (cell.size_gib or 0.0, cell.system): (cell.value, float(modelled))
            for cell, modelled in zip(self.cells, self.modelled, strict=True)
            if cell.quantity == TIME
        }

    def to_json(self) -> dict[str, Any]:
        """What is stored beside the platform file."""
        worst_left_out = float(np.abs(self.left_out_errors).max()) if self.left_out else None
        return {
            "schema": 2,
            "platform": self.scenario.platform.name,
            "workload": self.scenario.workload.name,
            "mean_absolute_error": float(np.abs(self.errors).mean()),
            "worst_error": float(np.abs(self.errors).max()),
            "left_out": self.left_out or None,
            "worst_error_left_out": worst_left_out,
            "keeps_order": self.keeps_order,
            "parameters": [
                {
                    "field": estimate.parameter.field,
                    "unit": estimate.parameter.unit,
                    "value": estimate.value,
                    "ci95": [estimate.low, estimate.high],
                    "log_sd": round(estimate.log_sd, 5),
                    "prior": estimate.parameter.prior,
                    "prior_log_sd": estimate.parameter.prior_sd,
                    "share_of_rows": round(estimate.share_of_rows, 4),
                    "informed": estimate.is_informed,
                    "source": estimate.parameter.source,
                }
                for estimate in self.estimates
            ],
            "fixed": [{"field": row.field, "value": row.value, "source": row.source} for row in self.fixed],
            "correlations": self.correlations.round(3).tolist(),
            "cells": [
                {
                    "size_gb": cell.size_gib,
                    "system": cell.system,
                    "quantity": cell.quantity,
                    "unit": QUANTITIES[cell.quantity].unit,
                    "measured": cell.value,
                    "modelled": _rounded(float(modelled), 6),
                    "error": round(float(error), 5),
                    "normalised_error": round(float(normalised), 3),
                    "error_left_out": round(float(left_out), 5) if math.isfinite(left_out) else None,
                }
                for cell, modelled, error, normalised, left_out in zip(
                    self.cells, self.modelled, self.errors, self.normalised_errors, self.left_out_errors, strict=True
                )
            ],
        }


def calibrate(
    cells: Sequence[Cell],
    like: Scenario,
    origin: str = "measurements",
    report_progress: ReportProgress = unreported,
    files: Mapping[str, Any] | None = None,
    remember: Remember = evaluated_anew,
) -> Calibration:
    """Fit what is unknown to what was measured. Raises `ConfigError`.

    Args:
        cells: what was measured, one row at least.
        like: scenario of the measurements; what is not fitted of its platform and its workload stays as it is.
        origin: where the cells come from, for messages.
        report_progress: told what is being fitted.
        files: what the files of `platform` and `workload` hold, marks included: see `tierenv.priors.priors_of`.
        remember: keeps what points of the search were found to give.
    """
    if not cells:
        raise ConfigError(f"{origin}: has no row")
    cells = sorted(at_size(cells, like, origin), key=lambda cell: cell.size_gib or 0.0)
    if sum(process.is_awaited for process in like.processes) > 1:
        raise ConfigError(
            f"scenario {like.name}: corunners: a measured time is that of one program; must be lifetime: endless, "
            "repeating or periodic"
        )
    check_runs(cells, like, origin)
    priors = priors_of(like, files or {})
    parameters = priors.fitted
    if not parameters:
        raise ConfigError(f"{origin}: nothing is left to be fitted: platform and workload fix it all")
    runs = _Runs(cells, like, parameters)
    problem = Problem(
        log_measured=_logs(cells, _measured(cells)),
        covariance=_covariance(cells),
        prior_sds=np.array([parameter.prior_sd for parameter in parameters]),
        bounds=np.array([bounds_of(parameter, like, parameters) for parameter in parameters]).T,
        evaluate=lambda points: remember(points.tolist(), lambda: _logs(cells, runs.modelled(runs.scenarios(points)))),
    )
    posterior = problem.solve(report_progress)
    values = [_rounded(value) for value in runs.values(posterior.offsets)]
    fitted = with_values(like, parameters, values)
    validate_record(Scenario, fitted.model_dump(), f"{origin}: fitted values")
    sds = np.sqrt(np.diag(posterior.covariance))
    return Calibration(
        scenario=fitted,
        estimates=[
            Estimate(parameter, value, _rounded(value / spread), _rounded(value * spread), sd)
            for parameter, value, sd in zip(parameters, values, sds.tolist(), strict=True)
            for spread in [math.exp(INTERVAL_SDS * sd)]
        ],
        fixed=list(priors.fixed),
        correlations=posterior.covariance / np.outer(sds, sds),
        cells=cells,
        modelled=runs.modelled([fitted])[0],
        left_out_log_errors=_left_out(cells, posterior),
    )


class _Runs:
    """What the model makes of the cells; those that differ only in quantity are one run."""

    def __init__(self, cells: Sequence[Cell], like: Scenario, parameters: Sequence[Parameter]) -> None:
        self._cells = cells
        self._like = like
        self._parameters = parameters
        self._runs = {(cell.size_gib, cell.system): cell for cell in cells}

    def values(self, offsets: Floats) -> list[float]:
        """Parameters in their units, of logarithms over their priors."""
        return [row.prior * math.exp(offset) for row, offset in zip(self._parameters, offsets, strict=True)]

    def scenarios(self, points: Floats) -> list[Scenario]:
        """What was measured at points, float64[points, parameters], of the logarithms."""
        return [with_values(self._like, self._parameters, self.values(point)) for point in points]

    def modelled(self, like: Sequence[Scenario]) -> Floats:
        """float64[scenarios, cells]: what the model makes of each, in batches, so that all processors take part."""
        at_once = max(1, BATCH_MACHINES // len(self._runs))
        batches = [self._batch(like[first : first + at_once]) for first in range(0, len(like), at_once)]
        return np.concatenate(batches)

    def _batch(self, like: Sequence[Scenario]) -> Floats:
        scenarios = [cell.scenario(scenario) for scenario in like for cell in self._runs.values()]
        system = LumpedSystem(scenarios)
        system.reset(np.full(len(scenarios), SEED, dtype=np.uint64), ["training"] * len(scenarios))
        system.run_to_end()
        outcomes = [
            Outcome(
                seconds=float(elapsed_s),
                counted_s=float(elapsed_s),
                accesses=scenario.total_accesses,
                traffic_bytes=scenario.total_accesses * traffic_per_access(scenario),
                counters=counters.astype(np.float64),
            )
            for scenario, elapsed_s, counters in zip(scenarios, system.elapsed_s, system.counters, strict=True)
        ]
        place = {run: index for index, run in enumerate(self._runs)}
        firsts = range(0, len(outcomes), len(place))
        return np.array(
            [
                [_value(cell, outcomes[first + place[cell.size_gib, cell.system]]) for cell in self._cells]
                for first in firsts
            ]
        )


def _value(cell: Cell, outcome: Outcome) -> float:
    of_run: Callable[[Outcome], float] | None = QUANTITIES[cell.quantity].of_run
    assert of_run is not None  # of MEASURED_QUANTITIES
    return of_run(outcome)


def _measured(cells: Sequence[Cell]) -> Floats:
    return np.array([cell.value for cell in cells])


def _logs(cells: Sequence[Cell], values: Floats) -> Floats:
    """Logarithms of what was measured or modelled, float64[..., cells], of rates with what makes none of them 0."""
    least = [0.0 if cell.quantity == TIME else LEAST_RATES.get(cell.quantity, LEAST_RATE) for cell in cells]
    return np.log(values + least)


def _covariance(cells: Sequence[Cell]) -> Floats:
    """float64[cells, cells]: covariance of the rows' errors."""
    sizes = np.array([cell.size_gib for cell in cells])
    shares = np.array([SHARED_ERRORS.get(cell.quantity, 0.0) for cell in cells])
    own = np.array([OWN_ERRORS.get(cell.quantity, KERNEL_RATE_ERROR) for cell in cells])
    repeats = 0.01 * np.array([cell.stdev_percent for cell in cells])
    shared = (sizes[:, None] == sizes) * np.outer(shares, shares)
    return SIZE_ERROR**2 * shared + np.diag(own**2 + repeats**2)


def _left_out(cells: Sequence[Cell], posterior: Posterior) -> Floats:
    """float64[cells]: see `Calibration.left_out_log_errors`."""
    sizes = np.array([cell.size_gib for cell in cells])
    groups = [sizes == size for size in np.unique(sizes)]
    if len(groups) == 1:
        groups = list(np.eye(len(cells), dtype=np.bool_))
    found = np.full(len(cells), np.nan)
    for group in groups if len(cells) > 1 else []:
        found[group] = posterior.left_out(group)
    return found


def _rounded(number: float, digits: int = SIGNIFICANT_DIGITS) -> float:
    return float(f"{number:.{digits}g}")
