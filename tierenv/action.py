"""Actions: points of the cube [-1, 1]^3 to settings of the tunables and back.

A coordinate stands for a tunable on a logarithmic scale over the range of the daemon variant. A tunable with
settings of its own beyond its range (throttle: 0 promotes nothing, infinity is unlimited) keeps a dead zone
for each at the ends:

    -1 .. -0.5    0            -0.5 .. 0.5    least to greatest value            0.5 .. 1    infinity
"""

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import ArrayLike, NDArray

from tierenv.daemon import DaemonVariant
from tierenv.tunables import NUM_TUNABLES, TUNABLES

DEAD_ZONE_EDGE = 0.5
"""Where a dead zone begins; a float32, so that an end of the range survives a policy's float32 output."""

_LOW_EDGE = np.array([-DEAD_ZONE_EDGE if row.has_zero else -1.0 for row in TUNABLES])
_HIGH_EDGE = np.array([DEAD_ZONE_EDGE if row.has_unlimited else 1.0 for row in TUNABLES])


def action_space() -> Box[np.float32]:
    """float32[3] in [-1, 1], coordinates in the order of `TUNABLES`."""
    return Box(-1.0, 1.0, (NUM_TUNABLES,), np.float32)


class ActionCodec:
    """Translates actions to tunables and back for one machine or a batch.

    Args:
        daemons: one variant for all machines, or one for each.
    """

    def __init__(self, *daemons: DaemonVariant) -> None:
        bounds = np.array([[row[:2] for row in daemon.ranges.by_name.values()] for daemon in daemons])
        bounds = bounds[0] if (bounds == bounds[0]).all() else bounds
        self._min, self._max = bounds[..., 0], bounds[..., 1]
        self._log2_min = np.log2(self._min)
        self._octaves = np.log2(self._max / self._min)
        self._octaves_per_unit = self._octaves / (_HIGH_EDGE - _LOW_EDGE)

    @property
    def octaves_per_unit(self) -> NDArray[np.float64]:
        """float64[3] or float64[n, 3]: doublings of a tunable per unit of its coordinate."""
        return self._octaves_per_unit.copy()

    def decode(self, actions: ArrayLike) -> NDArray[np.float64]:
        """Tunables float64[..., 3], columns as `TUNABLES`, for actions [..., 3].

        Raises ValueError for a coordinate outside [-1, 1] or not a number.
        """
        actions = np.asarray(actions, dtype=np.float64)
        if not (np.abs(actions) <= 1).all():
            raise ValueError(f"actions must lie in [-1, 1], got values from {actions.min()} to {actions.max()}")
        tunables = np.exp2(self._log2_min + (actions - _LOW_EDGE) * self._octaves_per_unit)
        tunables = np.minimum(np.maximum(tunables, self._min), self._max)  # np.clip takes thrice as long
        tunables[actions < _LOW_EDGE] = 0.0
        tunables[actions > _HIGH_EDGE] = np.inf
        return tunables

    def encode(self, tunables: ArrayLike) -> NDArray[np.float64]:
        """Actions float64[..., 3] that decode to these tunables; -1 or 1 for what lies beyond the range."""
        tunables = np.asarray(tunables, dtype=np.float64)
        octaves = np.log2(np.minimum(np.maximum(tunables, self._min), self._max)) - self._log2_min
        actions = np.minimum(_LOW_EDGE + octaves / self._octaves_per_unit, _HIGH_EDGE)
        actions[tunables < self._min] = -1.0
        actions[tunables > self._max] = 1.0
        return actions
