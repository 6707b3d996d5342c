"""Orders of a workload's phases: how one is drawn, and which of them are held out of training.

An order is one in which the hottest class changes from phase to phase: otherwise nothing would move.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import numpy as np

PhaseOrders = Literal["training", "held-out"]
"""The two splits of the orders."""
Order = tuple[int, ...]

HELD_OUT_EVERY = 5
"""One order in this many is held out of training."""
MOST_LISTED_PHASES = 6
"""Phases up to which all orders, 720 at most, are listed and split by their places in the list. Policies were trained
and judged on that split of five phases, so it stays; of ten phases there are millions, which a hash splits."""


class ShuffledOrders:
    """The orders of phases whose order is drawn anew for each episode.

    Args:
        hottest: the hottest class of each phase.

    Raises:
        ValueError: if in every order two phases with the same hottest class follow each other.
    """

    def __init__(self, hottest: Sequence[str]) -> None:
        self._hottest = hottest
        most_common, count = Counter(hottest).most_common(1)[0]
        if 2 * count > len(hottest) + 1:
            raise ValueError(
                f"phases: class {most_common} is the hottest in {count} of {len(hottest)}, so that no order lets the "
                f"hottest class change from phase to phase; at most {(len(hottest) + 1) // 2} can be shuffled"
            )

    def draw(self, split: PhaseOrders, rng: np.random.Generator) -> Order:
        """An order of a split. Any of the split may come."""
        if len(self._hottest) <= MOST_LISTED_PHASES:
            orders = self._listed[split]
            return orders[int(rng.integers(len(orders)))]
        while True:
            order = self._draw_any(rng)
            if is_held_out(order) == (split == "held-out"):
                return order

    @cached_property
    def _listed(self) -> dict[PhaseOrders, list[Order]]:
        """All orders of few phases by split; neither split is empty."""
        hottest = self._hottest
        orders = [
            order
            for order in itertools.permutations(range(len(hottest)))
            if all(hottest[before] != hottest[after] for before, after in itertools.pairwise(order))
        ]
        held_out = set(orders[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY] or orders[-1:])
        training = [order for order in orders if order not in held_out]
        return {"training": training or orders, "held-out": sorted(held_out)}

    def _draw_any(self, rng: np.random.Generator) -> Order:
        """One order of all. Each may come, though not all equally often."""
        hottest, left = self._hottest, Counter(self._hottest)
        remaining = list(range(len(hottest)))
        order: list[int] = []
        for chance in rng.random(len(hottest)):
            # what is the hottest in more than half of the rest would later have to follow itself
            pressing = next((name for name, count in left.items() if 2 * count > len(remaining)), None)
            last = hottest[order[-1]] if order else None
            fitting = [
                phase
                for phase in remaining
                if hottest[phase] != last and (pressing is None or hottest[phase] == pressing)
            ]
            phase = fitting[int(chance * len(fitting))]
            order.append(phase)
            remaining.remove(phase)
            left[hottest[phase]] -= 1
        return tuple(order)


def is_held_out(order: Order) -> bool:
    """Whether an order of more than `MOST_LISTED_PHASES` phases is held out: by a hash that is the same everywhere."""
    digest = hashlib.sha256(",".join(map(str, order)).encode()).digest()
    return int.from_bytes(digest[:8], "big") % HELD_OUT_EVERY == 0
