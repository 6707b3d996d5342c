"""The law of loaded latencies, fitted to what was measured: L = idle + a u / (1 - u), u = B / bandwidth.

Neither the latency nor the bandwidth of a measured point is given exactly, and towards its end the curve runs straight
up, so a point's error is its distance from the curve, a share of the idle latency weighing as much as the same share of
the most that was read. With (L - idle) (bandwidth - B) - a B = 0 for the curve that distance is, to first order, this
over the length of its gradient (P. D. Sampson, "Fitting conic sections to 'very scattered' data", 1982).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

MIN_POINTS = 4
"""One more than there are unknowns."""
MAX_BANDWIDTH = 2.0
"""Of the most that was read: farther off the curve does not tell where it ends."""
MAX_LOG_SD = 0.5
"""Of an estimate that is worth its name."""
_MIN_ERROR = 1e-4
"""Of a point, as a share: printed digits."""


@dataclass(frozen=True)
class Fitted:
    """Constants of the law, each with the standard deviation of its logarithm."""

    idle_s: float
    queueing_s: float
    bandwidth: float
    """Bytes per second."""
    idle_log_sd: float
    """0 where it was given."""
    queueing_log_sd: float
    bandwidth_log_sd: float


def fit(bytes_per_s: NDArray[np.float64], seconds: NDArray[np.float64], idle_s: float | None = None) -> Fitted | None:
    """The law that lies nearest to measured points, None where they do not tell.

    Args:
        bytes_per_s: float64[points], reads.
        seconds: float64[points], latencies beside them.
        idle_s: idle latency where it is known better; then two constants are fitted.
    """
    most, least_s = float(np.max(bytes_per_s)), float(np.min(seconds))
    load, latency = bytes_per_s / most, seconds / least_s
    if len(np.unique(load)) < MIN_POINTS:
        return None

    def constants(logs: NDArray[np.float64]) -> tuple[float, float, float]:
        queueing, bandwidth, *idle = np.exp(logs)
        return (idle[0] if idle_s is None else idle_s / least_s), queueing, bandwidth

    def distances(logs: NDArray[np.float64]) -> NDArray[np.float64]:
        idle, queueing, bandwidth = constants(logs)
        wait, spare = latency - idle, bandwidth - load
        return (wait * spare - queueing * load) / np.hypot(wait + queueing, spare)

    start, low, high = [0.3, 1.2], [1e-4, 1.0], [100.0, 1.1 * MAX_BANDWIDTH]
    if idle_s is None:
        start, low, high = [*start, 1.0], [*low, 0.5], [*high, 1.5]
    result = least_squares(distances, np.log(start), bounds=(np.log(low), np.log(high)), x_scale=0.1)
    queueing_sd, bandwidth_sd, *idle_sd = _log_sds(result.jac, result.fun)
    idle, queueing, bandwidth = constants(result.x)
    if bandwidth > MAX_BANDWIDTH or not max(queueing_sd, bandwidth_sd) < MAX_LOG_SD:
        return None
    return Fitted(
        idle_s=idle * least_s,
        queueing_s=queueing * least_s,
        bandwidth=bandwidth * most,
        idle_log_sd=idle_sd[0] if idle_sd else 0.0,
        queueing_log_sd=queueing_sd,
        bandwidth_log_sd=bandwidth_sd,
    )


def _log_sds(jacobian: NDArray[np.float64], errors: NDArray[np.float64]) -> list[float]:
    """Standard deviations of what was fitted, infinite where points do not tell."""
    points, unknowns = jacobian.shape
    variance = max(_MIN_ERROR**2, float(errors @ errors) / (points - unknowns))
    try:
        return [float(value) for value in np.sqrt(variance * np.diag(np.linalg.inv(jacobian.T @ jacobian)))]
    except np.linalg.LinAlgError:
        return [np.inf] * unknowns
