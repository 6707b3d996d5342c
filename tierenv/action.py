"""Actions: points of the cube [-1, 1]^T to settings of a daemon's T tunables and back.

A coordinate stands for a tunable on a logarithmic scale over the daemon's range. A tunable with settings of its own
beyond the range (throttle: 0 promotes nothing, infinity is unlimited) keeps a dead zone for each at the ends:

    -1 .. -0.5    0            -0.5 .. 0.5    least to greatest value            0.5 .. 1    infinity

Of a tunable that is counted (access threshold) the nearest whole number is in force.
"""

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import ArrayLike, NDArray

from tierenv.daemon import DaemonRecord
from tierenv.errors import ConfigError
from tierenv.tunables import TUNABLES, Tunable, columns_of

DEAD_ZONE_EDGE = 0.5
"""Where a dead zone begins; a float32, so that an end of the range survives a policy's float32 output."""

ROUNDING = 1e-6
"""How far beyond -1 or 1 a coordinate may lie, where it stands for that end: eight times the distance of two float32
numbers there, which is what the last operations of a policy leave."""


def edges_of(row: Tunable) -> tuple[float, float]:
    """Coordinates at which the range of a tunable begins and ends."""
    return (-DEAD_ZONE_EDGE if row.has_zero else -1.0), (DEAD_ZONE_EDGE if row.has_unlimited else 1.0)


def checked_coordinates(actions: ArrayLike) -> NDArray[np.float64]:
    """Actions as float64[...] in [-1, 1]. Raises `ConfigError` for one beyond, rounding aside, or what is no number."""
    coordinates = np.asarray(actions)
    if coordinates.dtype.kind not in "fiu":
        raise ConfigError(f"actions: must be numbers in [-1, 1], got {coordinates.dtype}")
    coordinates = coordinates.astype(np.float64, copy=False)
    if not (np.abs(coordinates) <= 1 + ROUNDING).all():
        raise ConfigError(
            f"actions: must lie in [-1, 1], got values from {coordinates.min():.9g} to {coordinates.max():.9g}"
        )
    return np.minimum(np.maximum(coordinates, -1.0), 1.0)  # np.clip takes thrice as long


class ActionCodec:
    """Translates actions to tunables and back for one machine or a batch.

    Args:
        daemons: one for all machines, or one for each; all must have the same tunables.

    Raises:
        ConfigError: if they have not.
    """

    def __init__(self, *daemons: DaemonRecord) -> None:
        self.names = tuple(daemons[0].tunables)
        """Tunables the coordinates stand for, in this order."""
        for daemon in daemons:
            if tuple(daemon.tunables) != self.names:
                raise ConfigError(
                    f"daemon={daemon.name}: has other tunables than {daemons[0].name} "
                    f"({', '.join(sorted(set(self.names) ^ set(daemon.tunables)))}); "
                    "the machines of one batch must share theirs"
                )
        bounds = np.array([[(row.min, row.max) for row in daemon.tunables.values()] for daemon in daemons])
        bounds = bounds.reshape(len(daemons), len(self.names), 2)
        bounds = bounds[0] if (bounds == bounds[0]).all() else bounds
        self._min, self._max = bounds[..., 0], bounds[..., 1]
        edges = np.array([edges_of(TUNABLES[name]) for name in self.names]).reshape(-1, 2)
        self._low_edge, self._high_edge = edges.T
        self._log2_min = np.log2(self._min)
        self._octaves_per_unit = np.log2(self._max / self._min) / (self._high_edge - self._low_edge)
        quantities = [TUNABLES[name].quantity for name in self.names]
        self._whole = [(column, quantity) for column, quantity in enumerate(quantities) if quantity.is_whole]
        self._columns = columns_of(self.names)
        self.columns = dict(zip(self.names, self._columns, strict=True))
        """Column of each tunable in an array of tunables."""
        self._has_all = len(self.names) == len(TUNABLES)

    @property
    def space(self) -> Box[np.float32]:
        """float32[T] in [-1, 1]."""
        return Box(-1.0, 1.0, (len(self.names),), np.float32)

    @property
    def octaves_per_unit(self) -> NDArray[np.float64]:
        """float64[T] or float64[n, T]: doublings of a tunable per unit of its coordinate."""
        return self._octaves_per_unit.copy()

    def decode(self, actions: ArrayLike) -> NDArray[np.float64]:
        """Tunables float64[..., len(TUNABLES)] for actions [..., T]; NaN where the daemons lack one.

        Raises `ConfigError` for a coordinate outside [-1, 1], rounding aside, or not a number.
        """
        actions = checked_coordinates(actions)
        tunables = np.exp2(self._log2_min + (actions - self._low_edge) * self._octaves_per_unit)
        tunables = np.minimum(np.maximum(tunables, self._min), self._max)
        for column, quantity in self._whole:
            tunables[..., column] = quantity.nearest(tunables[..., column])
        tunables[actions < self._low_edge] = 0.0
        tunables[actions > self._high_edge] = np.inf
        if self._has_all:
            return tunables
        widened = np.full((*tunables.shape[:-1], len(TUNABLES)), np.nan)
        widened[..., self._columns] = tunables
        return widened

    def encode(self, tunables: ArrayLike) -> NDArray[np.float64]:
        """Actions float64[..., T] that decode to tunables [..., len(TUNABLES)]; -1 or 1 for what is beyond a range."""
        tunables = np.asarray(tunables, dtype=np.float64)
        if not self._has_all:
            tunables = tunables[..., self._columns]
        octaves = np.log2(np.minimum(np.maximum(tunables, self._min), self._max)) - self._log2_min
        actions = np.minimum(self._low_edge + octaves / self._octaves_per_unit, self._high_edge)
        actions[tunables < self._min] = -1.0
        actions[tunables > self._max] = 1.0
        return actions
