"""Fitting what is unknown of a platform and of the program measured on it to completion times (docs/model.md).

What is fitted is a short table of physical quantities, each with a unit, a prior and the prior's source; none belongs
to one size or one system. The fit maximises the posterior under log-normal priors and errors:

    minimise  e' C^-1 e + sum_p (log value_p - log prior_p)^2 / s_p^2 ,   e = log modelled - log measured

a bounded least-squares problem. A measured time is off the model by what all times of its size share (SIZE_ERROR:
memory laid out anew, cache conflicts), by an error of its own (CELL_ERROR) and by the spread of its repeats; C is the
covariance that follows. Intervals and correlations come from the curvature at the optimum. Leaving out one size at a
time and predicting it shows what the fit is worth where nothing was measured.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from tierenv.errors import ConfigError
from tierenv.measurements import Cell, check_sizes
from tierenv.progress import ReportProgress, unreported
from tierenv.scenario import Scenario
from tierenv.sim.lumped.system import LumpedSystem

Floats = NDArray[np.float64]

SIZE_ERROR = 0.02
"""Standard deviation of the logarithm of what all times at one size share."""
CELL_ERROR = 0.012
"""Standard deviation of the logarithm of what is a time's own."""
STEP = 0.05
"""Step of the finite differences in the logarithm of a parameter: far above what a run's random draws do."""
MAX_PRIOR_SDS = 3.5
"""Bounds of a parameter in standard deviations of its prior."""
TOLERANCE = 3e-4
"""Relative change of cost or parameters at which the search stops; a run's random draws do as much."""
INTERVAL_SDS = 1.96
"""Half width of a 95 % interval in standard deviations."""
SIGNIFICANT_DIGITS = 4
"""Digits of a fitted value that are kept."""
LEAST_SIZES = 2
SEED = 0


@dataclass(frozen=True)
class Parameter:
    """One row of the table of what is fitted."""

    field: str
    """Field of `Scenario`, dotted: of its platform or its workload."""
    unit: str
    """As in YAML; "" for a plain number."""
    scale: float
    """One `unit` in the field's own unit."""
    prior: float
    """Median [unit]."""
    prior_sd: float
    """Standard deviation of the logarithm."""
    source: str


PARAMETERS = (
    Parameter(
        "workload.memory_parallelism",
        "",
        1,
        2.5,
        0.5,
        "independent accesses: as many as the core finds among its instructions",
    ),
    Parameter("workload.think", "ns", 1e-9, 40, 0.5, "assumed: a random number, a division and a loop for each access"),
    Parameter("platform.page_walk_per_doubling", "ns", 1e-9, 8, 0.7, "assumed: one walk in ten more goes to memory"),
    Parameter(
        "platform.numa_start_period_factor",
        "",
        1,
        1.4,
        0.5,
        "the rules give 1, or 2 where all threads look a moment early",
    ),
    Parameter("platform.numa_shared_move_share", "", 1, 0.01, 1.0, "assumed: base NUMAB1 promotes little"),
)
"""What a run of a benchmark tells and nothing else does. Latencies and bandwidths of the tiers are measured with other
programs: the times cannot tell a near, narrow card from a far, wide one."""


@dataclass(frozen=True)
class Estimate:
    """A parameter's fitted value and 95 % interval, in its unit."""

    parameter: Parameter
    value: float
    low: float
    high: float

    @property
    def is_informed(self) -> bool:
        """Whether the measurements at least halve the prior's standard deviation."""
        return math.log(self.high / self.low) / (2 * INTERVAL_SDS) <= 0.5 * self.parameter.prior_sd


@dataclass(frozen=True)
class Calibration:
    """What was fitted and how well it does."""

    scenario: Scenario
    """That of the measurements, with the fitted values."""
    estimates: list[Estimate]
    correlations: Floats
    """float64[parameters, parameters], of the logarithms."""
    cells: list[Cell]
    modelled_s: Floats
    """float64[cells], at the fitted values as rounded."""
    left_out_s: Floats
    """float64[cells], each predicted by a fit without its size."""

    @cached_property
    def errors(self) -> Floats:
        """float64[cells]: modelled over measured time, less one."""
        return self.modelled_s / _seconds(self.cells) - 1

    @cached_property
    def left_out_errors(self) -> Floats:
        """float64[cells]: `errors` of `left_out_s`."""
        return self.left_out_s / _seconds(self.cells) - 1

    def gains(self, system: str, baseline: str) -> list[tuple[float, float, float]]:
        """Size in GiB, measured and modelled share of the baseline's time a system saves, where both were measured."""
        rows = {(cell.size_gib, cell.system): index for index, cell in enumerate(self.cells)}
        gains = []
        for size_gib in sorted({cell.size_gib for cell in self.cells}):
            pair = [rows.get((size_gib, name)) for name in (system, baseline)]
            if None not in pair:
                measured, modelled = (1 - times[pair[0]] / times[pair[1]] for times in self._times)
                gains.append((size_gib, float(measured), float(modelled)))
        return gains

    @property
    def keeps_order(self) -> bool:
        """Whether at every size the modelled times order the systems as the measured ones do."""
        sizes = np.array([cell.size_gib for cell in self.cells])
        measured, modelled = self._times
        return all(
            np.array_equal(np.argsort(measured[sizes == size]), np.argsort(modelled[sizes == size]))
            for size in np.unique(sizes)
        )

    @property
    def _times(self) -> tuple[Floats, Floats]:
        return _seconds(self.cells), self.modelled_s

    def to_json(self) -> dict[str, Any]:
        """What is stored beside the platform file."""
        return {
            "schema": 1,
            "platform": self.scenario.platform.name,
            "workload": self.scenario.workload.name,
            "mean_absolute_error": float(np.abs(self.errors).mean()),
            "worst_error": float(np.abs(self.errors).max()),
            "worst_error_left_out": float(np.abs(self.left_out_errors).max()),
            "keeps_order": self.keeps_order,
            "parameters": [
                {
                    "field": estimate.parameter.field,
                    "unit": estimate.parameter.unit,
                    "value": estimate.value,
                    "ci95": [estimate.low, estimate.high],
                    "prior": estimate.parameter.prior,
                    "prior_log_sd": estimate.parameter.prior_sd,
                    "source": estimate.parameter.source,
                }
                for estimate in self.estimates
            ],
            "correlations": self.correlations.round(3).tolist(),
            "cells": [
                {
                    "size_gb": cell.size_gib,
                    "system": cell.system,
                    "measured_s": cell.seconds,
                    "modelled_s": round(float(modelled), 2),
                    "error": round(float(error), 5),
                    "error_left_out": round(float(left_out), 5),
                }
                for cell, modelled, error, left_out in zip(
                    self.cells, self.modelled_s, self.errors, self.left_out_errors, strict=True
                )
            ],
        }


def calibrate(
    cells: Sequence[Cell],
    like: Scenario,
    origin: str = "measurements",
    report_progress: ReportProgress = unreported,
) -> Calibration:
    """Fit PARAMETERS to measured times. Raises `ConfigError`.

    Args:
        cells: what was measured.
        like: scenario of the measurements; what is not fitted of its platform and its workload stays as it is.
        origin: where the cells come from, for messages.
        report_progress: told what is being fitted.
    """
    cells = sorted(cells, key=lambda cell: cell.size_gib)
    sizes = sorted({cell.size_gib for cell in cells})
    if len(cells) < len(PARAMETERS) or len(sizes) < LEAST_SIZES:
        raise ConfigError(
            f"{origin}: has {len(cells)} rows at {len(sizes)} sizes; fitting {len(PARAMETERS)} parameters takes at "
            f"least {len(PARAMETERS)} rows at {LEAST_SIZES} sizes"
        )
    check_sizes(cells, like, origin)
    report_progress(0, 1 + len(sizes), "all sizes")
    model = _Model(cells, like)
    offsets, covariance = model.fit(np.zeros(len(PARAMETERS)), np.ones(len(cells), dtype=np.bool_))
    sds = np.sqrt(np.diag(covariance))
    spread = np.exp(INTERVAL_SDS * sds)
    values = [_rounded(value) for value in model.values(offsets)]
    fitted = with_values(like, values)
    left_out = np.empty(len(cells))
    for done, size in enumerate(sizes, start=1):
        report_progress(done, 1 + len(sizes), f"all but {size:g} GiB")
        is_left_out = np.array([cell.size_gib == size for cell in cells])
        refitted, _ = model.fit(offsets, ~is_left_out)
        left_out[is_left_out] = model.seconds([with_values(like, model.values(refitted))])[0, is_left_out]
    return Calibration(
        scenario=fitted,
        estimates=[
            Estimate(parameter, value, _rounded(value / factor), _rounded(value * factor))
            for parameter, value, factor in zip(PARAMETERS, values, spread, strict=True)
        ],
        correlations=covariance / np.outer(sds, sds),
        cells=cells,
        modelled_s=model.seconds([fitted])[0],
        left_out_s=left_out,
    )


def with_values(scenario: Scenario, values: Sequence[float]) -> Scenario:
    """The scenario with other values of PARAMETERS, in their units."""
    for parameter, value in zip(PARAMETERS, values, strict=True):
        outer, inner = parameter.field.split(".")
        record = getattr(scenario, outer).model_copy(update={inner: value * parameter.scale})
        scenario = scenario.model_copy(update={outer: record})
    return scenario


class _Model:
    """Modelled times of the cells as a function of the logarithms of parameters over priors."""

    def __init__(self, cells: Sequence[Cell], like: Scenario) -> None:
        self._cells = cells
        self._like = like
        self._log_measured = np.log(_seconds(cells))
        sizes = np.array([cell.size_gib for cell in cells])
        own_variance = CELL_ERROR**2 + (0.01 * np.array([cell.stdev_percent for cell in cells])) ** 2
        self._covariance = SIZE_ERROR**2 * (sizes[:, None] == sizes) + np.diag(own_variance)
        self._prior_sds = np.array([parameter.prior_sd for parameter in PARAMETERS])

    def values(self, offsets: Floats) -> list[float]:
        """Parameters in their units."""
        return [parameter.prior * math.exp(offset) for parameter, offset in zip(PARAMETERS, offsets, strict=True)]

    def seconds(self, like: Sequence[Scenario]) -> Floats:
        """float64[scenarios, cells]: modelled times."""
        scenarios = [cell.scenario(scenario) for scenario in like for cell in self._cells]
        system = LumpedSystem(scenarios)
        system.reset(np.full(len(scenarios), SEED, dtype=np.uint64), ["training"] * len(scenarios))
        system.run_to_end()
        return system.elapsed_s.reshape(len(like), -1)

    def fit(self, start: Floats, is_used: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Offsets that fit the cells used best, and the covariance of their error."""
        whiten = np.linalg.inv(np.linalg.cholesky(self._covariance[np.ix_(is_used, is_used)]))

        def residuals(offsets: Floats) -> Floats:
            error = (self._log_seconds([offsets])[0] - self._log_measured)[is_used]
            return np.concatenate((whiten @ error, offsets / self._prior_sds))

        def jacobian(offsets: Floats) -> Floats:
            steps = STEP * np.eye(len(offsets))
            up, down = np.split(self._log_seconds([*(offsets + steps), *(offsets - steps)]), 2)
            slopes = ((up - down) / (2 * STEP)).T[is_used]
            return np.concatenate((whiten @ slopes, np.diag(1 / self._prior_sds)))

        limit = MAX_PRIOR_SDS * self._prior_sds
        found = least_squares(
            residuals,
            start,
            jac=jacobian,
            bounds=(-limit, limit),
            x_scale=self._prior_sds,
            ftol=TOLERANCE,
            xtol=TOLERANCE,
        )
        return found.x, np.linalg.inv(found.jac.T @ found.jac)

    def _log_seconds(self, offsets: Sequence[Floats]) -> Floats:
        """A batch, so that all processors take part."""
        return np.log(self.seconds([with_values(self._like, self.values(row)) for row in offsets]))


def _seconds(cells: Sequence[Cell]) -> Floats:
    return np.array([cell.seconds for cell in cells])


def _rounded(number: float) -> float:
    return float(f"{number:.{SIGNIFICANT_DIGITS}g}")
