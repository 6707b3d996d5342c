"""Resident memory of simulated machines: what the processes hold that run."""

import numpy as np
from numpy.typing import NDArray

_ROUNDING = 1e-12
"""By which times of one moment may differ."""


def resident_pages(processes: NDArray[np.void], is_done: NDArray[np.bool_]) -> NDArray[np.int64]:
    """int64[n]: pages of the processes PROCESS[n, M] that run, at least 1; `rules.resident_pages` for many machines.

    Once the run is over, bool[n], of those that ended with it: nothing is divided by the memory of nobody.
    """
    is_counted = processes["is_running"]
    if is_done.any():
        finished_s = processes["finished_s"]
        last_s = finished_s.max(axis=1, keepdims=True)
        was_running = (finished_s >= (1 - _ROUNDING) * last_s) & (processes["start_s"] <= finished_s)
        is_counted = is_counted | (is_done[:, None] & was_running)
    return np.maximum((processes["pages"] * is_counted).sum(axis=1), 1)
