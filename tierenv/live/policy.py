"""A policy as tables of integers, which format controller writes: from a sample to a setting.

Tables are a JSON object: `features` (rows of `tierenv.features` in integers), `ranges` of the tunables, `model` (a
network's layers, a tree's nodes, or one setting), `counts` (which counters make up which field), `interval_ms`, `name`
and `origin`.
"""

from collections.abc import Callable
from typing import Any

from tierenv.live import arithmetic
from tierenv.live.arithmetic import AVERAGE_BITS, ONE, average, clamped, encode, layer_sum, shift_rounded
from tierenv.live.facts import FACTS

Tables = dict[str, Any]
Sample = dict[str, int]
"""Counts since the last sample, levels, sizes and the setting in force, by the names of C's struct tierenv_sample."""
Setting = dict[str, int]
"""Values of the tunables by symbol; `UNLIMITED` for a throttle without a limit."""

SCHEMA = 2
"""Of the tables; others are refused."""
_ACTIVATIONS: dict[str, Callable[[int], int]] = {"tanh": arithmetic.tanh_of, "relu": arithmetic.relu_of}


class Policy:
    """What tierenv_policy_decide() of format kernel-c does, and what it remembers.

    Raises ValueError for tables of another schema.
    """

    def __init__(self, tables: Tables) -> None:
        if tables["schema"] != SCHEMA:
            raise ValueError(f"tables of schema {tables['schema']}: this controller reads {SCHEMA}; export it again")
        self.name: str = tables["name"]
        self.interval_s: float = tables["interval_ms"] / 1000
        self.origin: dict[str, str] = tables["origin"]
        self.ranges: list[dict[str, Any]] = tables["ranges"]
        self.counts: dict[str, Any] = tables["counts"]
        self._features: list[dict[str, Any]] = tables["features"]
        fields = {symbol for row in self._features for symbol in (row["field"], *row["per"])}
        self.facts = [name for name in FACTS if name in fields]
        """What it has to know of the tiers."""
        self._model: dict[str, Any] = tables["model"]
        self.forget()

    def forget(self) -> None:
        """Begin anew, as after a gap in the samples."""
        self._kept: list[list[int]] = [[] for _ in self._features]

    def decide(self, sample: Sample) -> Setting:
        """The setting for the next interval."""
        if self._model["kind"] == "setting":
            return dict(self._model["values"])
        observation = self.observe(sample)
        action = self._tree(observation) if self._model["kind"] == "tree" else self._network(observation)
        return {span["symbol"]: arithmetic.decode(span, value) for span, value in zip(self.ranges, action)}

    def observe(self, sample: Sample) -> list[int]:
        """The observation that a sample makes, 20 fractional bits; the past takes the sample in."""
        log2 = {symbol: arithmetic.log2_of(max(sample[symbol], 1)) for symbol in self._divisors()}
        columns: list[int] = []
        values: dict[str, int] = {}
        for index, row in enumerate(self._features):
            name = row["name"]
            if name not in values:
                values[name] = self._feature(row, sample, log2)
            columns += self._with_history(index, row, values[name])
        return columns

    def _divisors(self) -> list[str]:
        return list(dict.fromkeys(symbol for row in self._features for symbol in row["per"]))

    def _feature(self, row: dict[str, Any], sample: Sample, log2: dict[str, int]) -> int:
        value, function = sample[row["field"]], row["function"]
        if function == "encode":
            return encode(next(span for span in self.ranges if span["symbol"] == row["field"]), value)
        log2_unit = row["log2_unit"] - sum(log2[symbol] for symbol in row["per"])
        if function == "log_feature":
            return arithmetic.log_feature(value, log2_unit, row["octaves"], row["gain"])
        if function == "octave_feature":
            return arithmetic.octave_feature(value, log2_unit, row["gain"], row["offset"])
        return arithmetic.share_feature(value, log2_unit, row["gain"], row["offset"])

    def _with_history(self, index: int, row: dict[str, Any], value: int) -> list[int]:
        kept, kind, length = self._kept[index], row["history"], row["length"]
        if kind == "average":
            moved = average(kept[0], value, length.bit_length() - 1) if kept else value << AVERAGE_BITS
            self._kept[index] = [moved]
            return [shift_rounded(moved, AVERAGE_BITS)]
        if kind == "stack":
            self._kept[index] = [value, *(kept or [value] * length)][:length]
            return self._kept[index]
        return [value]

    def _tree(self, observation: list[int]) -> list[int]:
        model, node = self._model, 0
        while model["feature"][node] >= 0:
            is_left = observation[model["feature"][node]] <= model["threshold"][node]
            node = (model["left"] if is_left else model["right"])[node]
        return model["values"][node]

    def _network(self, observation: list[int]) -> list[int]:
        activation = _ACTIVATIONS[self._model["activation"]]
        values = [clamped(value, -ONE, ONE) for value in observation]
        *hidden, last = self._model["layers"]
        for layer in hidden:
            values = [activation(value) for value in _outputs(layer, values)]
        sums = _outputs(last, values)
        if self._model["output"] == "menu":
            return self._model["menu"][sums.index(max(sums))]  # of equal values the first
        return [arithmetic.tanh_of(value) for value in sums] if self._model["output"] == "tanh" else sums


def _outputs(layer: dict[str, Any], values: list[int]) -> list[int]:
    limit = layer["limit"]
    return [
        clamped(shift_rounded(layer_sum(weights, values, bias), layer["shift"]), -limit, limit)
        for weights, bias in zip(layer["weights"], layer["biases"])
    ]
