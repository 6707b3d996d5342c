"""Observations: the features of `tierenv.features`, computed for one machine or many."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from tierenv.action import ActionCodec
from tierenv.counters import COUNTER_INDEX, NUM_COUNTERS
from tierenv.daemon import Daemon
from tierenv.errors import ConfigError
from tierenv.features import (
    ELAPSED,
    FAST_NODE_PAGES,
    RESIDENT_PAGES,
    TIER_FACTS,
    Count,
    Feature,
    InForce,
    LogScale,
    OctaveScale,
    Size,
    feature_columns,
)
from tierenv.history import NO_HISTORY, HistoryLayout, HistoryState, neighbours
from tierenv.observation_spec import Observation, observation_rows
from tierenv.system import System

_SHORTEST_STEP_S = 1e-9
"""A machine that stands still has counted nothing: its rates are 0, not 0 / 0."""


Columns = slice | NDArray[np.intp]


@dataclass(frozen=True)
class _CountGroup:
    """Features that one division computes."""

    columns: Columns
    signs: NDArray[np.int64]
    """int64[NUM_COUNTERS, features]: of each counter in each feature."""
    only_counter: NDArray[np.intp] | None
    """intp[features]: where each is one counter alone."""
    is_increment: bool
    unit: float
    per: tuple[Size, ...]


class ObservationEncoder:
    """Computes the observations of one machine or of a batch.

    Args:
        daemons: one for all machines, or one for each; all must supply the same features.
        observation: what is observed; None for all that the daemons supply.

    Raises:
        ConfigError: if they do not, or for what cannot be observed.
    """

    def __init__(self, *daemons: Daemon, observation: Observation = None) -> None:
        self.features = observation_rows(observation, daemons[0])
        """Rows of the observation: a feature has one for each of its histories."""
        for daemon in daemons:
            rows = observation_rows(observation, daemon)
            if rows != self.features:
                differing = {row.name for row in self.features} ^ {row.name for row in rows}
                raise ConfigError(
                    f"daemon={daemon.name}: exports other features than {daemons[0].name} "
                    f"({', '.join(sorted(differing))}); the machines of one batch must share theirs"
                )
        self.columns = feature_columns(self.features)
        values = list(dict.fromkeys(replace(row, history=NO_HISTORY) for row in self.features))
        numbers = {row.name: number for number, row in enumerate(values)}
        histories, remembered = [row.history for row in self.features], [numbers[row.name] for row in self.features]
        self._layout = HistoryLayout(histories, remembered)
        self._num_values = len(values)
        self._codec = ActionCodec(*daemons)
        self._counts = _count_groups(values)
        self._sizes = [(i, row.source, row.per) for i, row in enumerate(values) if isinstance(row.source, Size)]
        in_force = [(i, row.source) for i, row in enumerate(values) if isinstance(row.source, InForce)]
        self._in_force = neighbours([column for column, _ in in_force])
        self._coordinates = neighbours([self._codec.names.index(source.tunable) for _, source in in_force])
        scales = [row.scale for row in values]
        self._log = neighbours([i for i, scale in enumerate(scales) if isinstance(scale, LogScale)])
        self._per_log_unit = np.array([1 / scale.unit for scale in scales if isinstance(scale, LogScale)])
        self._octaves = neighbours([i for i, scale in enumerate(scales) if isinstance(scale, OctaveScale)])
        self._per_octave_unit = np.array([1 / scale.unit for scale in scales if isinstance(scale, OctaveScale)])
        self._gain, self._offset = np.array([scale.gain_and_offset for scale in scales]).reshape(-1, 2).T

    @property
    def space(self) -> Box[np.float32]:
        """float32[columns] in [-1, 1]."""
        return Box(-1.0, 1.0, (len(self.columns),), np.float32)

    def initial_state(self, num_machines: int) -> HistoryState:
        """The past of machines that have none."""
        return HistoryState(self._layout, num_machines)

    def observe(
        self,
        previous_counters: NDArray[np.int64],
        counters: NDArray[np.int64],
        step_s: NDArray[np.float64],
        tunables: NDArray[np.float64],
        sizes: Mapping[Size, NDArray[np.int64]],
        state: HistoryState,
        mask: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        """Observations of a step, float32[n, columns], a fresh array.

        Args:
            previous_counters: int64[n, NUM_COUNTERS], at the start of the step.
            counters: int64[n, NUM_COUNTERS], at its end.
            step_s: float64[n], its real duration; 0 for a machine that has just started or stands still.
            tunables: float64[n, len(TUNABLES)], in force.
            sizes: int64[n] for each of `SIZES`, at its end.
            state: the machines' past, which takes the step in.
            mask: bool[n], machines whose past takes it in; None for all.
        """
        divisors = {**sizes, ELAPSED: np.maximum(step_s, _SHORTEST_STEP_S)}
        increments = counters - previous_counters
        raw = np.empty((len(counters), self._num_values))
        for group in self._counts:
            numbers = increments if group.is_increment else counters
            if group.only_counter is not None:
                count = numbers[:, group.only_counter]
            else:
                count = np.maximum(numbers @ group.signs, 0)
            divisor = math.prod((divisors[size] for size in group.per), start=np.ones(len(counters)))
            raw[:, group.columns] = count * group.unit / divisor[:, None]
        for column, size, per in self._sizes:
            raw[:, column] = divisors[size]
            for divisor_size in per:
                raw[:, column] /= divisors[divisor_size]
        raw[:, self._in_force] = self._codec.encode(tunables)[:, self._coordinates]

        raw[:, self._log] = np.log2(1.0 + raw[:, self._log] * self._per_log_unit)
        raw[:, self._octaves] = np.log2(raw[:, self._octaves] * self._per_octave_unit)
        scaled = np.minimum(np.maximum(raw * self._gain + self._offset, -1.0), 1.0)
        return state.extend(scaled, mask).astype(np.float32)


def sizes_of(system: System) -> dict[Size, NDArray[np.int64]]:
    """Int64[n] for each of `SIZES`, as they are now."""
    sizes = {RESIDENT_PAGES: system.resident_pages, FAST_NODE_PAGES: system.fast_capacity_pages}
    return sizes | dict(zip(TIER_FACTS, system.tier_facts.T, strict=True))


def _count_groups(features: Sequence[Feature]) -> list[_CountGroup]:
    """The features made of counters, those together that are divided by the same."""
    members: dict[tuple[bool, float, tuple[Size, ...]], list[tuple[int, Count]]] = {}
    for column, feature in enumerate(features):
        if isinstance(feature.source, Count):
            key = feature.source.is_increment, feature.source.unit, feature.per
            members.setdefault(key, []).append((column, feature.source))
    groups = []
    for (is_increment, unit, per), rows in members.items():
        signs = np.zeros((NUM_COUNTERS, len(rows)), dtype=np.int64)
        for index, (_, count) in enumerate(rows):
            for sign, name in count.terms:
                signs[COUNTER_INDEX[name], index] = sign
        is_single = all(count.terms == ((1, count.counters[0]),) for _, count in rows)
        only_counter = signs.argmax(axis=0) if is_single else None
        columns = neighbours([column for column, _ in rows])
        groups.append(_CountGroup(columns, signs, only_counter, is_increment, unit, per))
    return groups
