"""Tunables of simulated machines: which their daemons have, and what is in force."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tierenv.checks import check_shape
from tierenv.scenario import Scenario
from tierenv.sim.records import PERIOD, SIZE, THROTTLE

Floats = NDArray[np.float64]


class TunablesInForce:
    """The tunables of n machines.

    Args:
        scenarios: of each machine.
    """

    def __init__(self, scenarios: Sequence[Scenario]) -> None:
        self._start = np.array([scenario.daemon.start_setting.row for scenario in scenarios])
        self._rows = self._start.copy()
        self._is_lacking = np.isnan(self._start)
        self._lacks_any = bool(self._is_lacking.any())
        self._is_controlled = np.array(
            [scenario.control == "tunables" and scenario.daemon.tunable_at_run_time for scenario in scenarios]
        )
        self._is_scanned = np.array([scenario.daemon.mechanism == "accessed-bits" for scenario in scenarios])
        # what a model takes where a daemon lacks a tunable: nothing is held back
        self._neutral = np.where(self._is_lacking, np.inf, self._start)

    def restart(self, mask: NDArray[np.bool_]) -> None:
        """An episode begins on the machines under the mask bool[n]. Raises `ConfigError` for another shape."""
        check_shape("mask", mask, (len(self._rows),))
        self._rows[mask] = self._start[mask]

    def keep(self, other: "TunablesInForce", mask: NDArray[np.bool_]) -> None:
        """Keep what another holds in force on the machines under the mask bool[n]."""
        self._rows[mask] = other._rows[mask]

    def accept(self, tunables: Floats) -> Floats:
        """Take what is put in force, float64[n, len(TUNABLES)]; returns it as a model takes it.

        Raises `ConfigError` for another shape: compiled code would read beyond the array.
        """
        check_shape("tunables", tunables, self._rows.shape)
        self._rows[self._is_controlled] = tunables[self._is_controlled]
        if not self._lacks_any:
            return np.ascontiguousarray(tunables, dtype=np.float64)
        return np.where(self._is_lacking, self._neutral, tunables)

    def read(self, period_ms: Floats, size_bytes: Floats, throttle_bytes_per_s: Floats) -> Floats:
        """float64[n, len(TUNABLES)] in force, with what a model holds of each scanner float64[n]."""
        rows = self._rows.copy()
        for column, values in ((PERIOD, period_ms), (SIZE, size_bytes), (THROTTLE, throttle_bytes_per_s)):
            rows[:, column] = np.where(self._is_scanned, values, rows[:, column])
        if self._lacks_any:
            rows[self._is_lacking] = np.nan
        return rows
