"""What `reset(options=...)` of the environments takes: another scenario, another split of phase orders, a mask."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tierenv.daemon import Daemon
from tierenv.errors import ConfigError, close_match
from tierenv.phase_orders import PhaseOrders
from tierenv.scenario import Control, Scenario
from tierenv.task import Info, SimulatedTask, resolve_scenarios, split_of_each

OF_ONE = ("scenario", "phase_orders")
"""Keys of the options of a single environment."""
OF_BATCH = ("reset_mask", *OF_ONE)
"""Keys of those of a vector environment."""


class Choice(NamedTuple):
    """What the options say. Nothing is done yet."""

    mask: NDArray[np.bool_]
    """bool[n]: environments to reset."""
    scenarios: dict[int, Scenario]
    """By the number of an environment under the mask, a scenario that it has not had."""
    phase_orders: dict[int, PhaseOrders]
    """The same for splits of the orders of phases."""


def read_options(
    options: object, allowed: tuple[str, ...], task: SimulatedTask, daemon: Daemon | None, control: Control | None
) -> Choice:
    """Read and check options of a reset.

    Args:
        options: what the caller gave; None for nothing.
        allowed: keys, `OF_ONE` or `OF_BATCH`.
        task: of the environments.
        daemon: takes the place of a scenario's, as when the environments were made.
        control: likewise.

    Raises:
        ConfigError: for what is no mapping, an unknown key, or a value that cannot be.
    """
    given = {} if options is None else options
    names = ", ".join(map(repr, allowed))
    if not isinstance(given, Mapping):
        raise ConfigError(f"options={options!r}: must be a mapping, which may hold {names}, or None")
    for key in given:
        if key not in allowed:
            raise ConfigError(f"options: unknown key {key!r}{close_match(str(key), allowed)}; allowed: {names}")
        if allowed == OF_ONE and isinstance(given[key], Sequence) and not isinstance(given[key], str):
            raise ConfigError(f"options: {key}: must be one, for one environment, got a sequence of {len(given[key])}")
    n = task.num_machines
    mask = _mask_of(given["reset_mask"], n) if "reset_mask" in given else np.ones(n, dtype=np.bool_)
    chosen = [int(index) for index in np.flatnonzero(mask)]
    scenarios, splits = {}, {}
    try:
        if "scenario" in given:
            each = resolve_scenarios(given["scenario"], n, daemon, control)
            # what stays as it was need not be made anew
            scenarios = {index: each[index] for index in chosen if each[index] is not task.system.scenarios[index]}
            for index, scenario in scenarios.items():
                task.check_scenario(index, scenario)
        if "phase_orders" in given:
            split_of = split_of_each(given["phase_orders"], n)
            splits = {index: split_of[index] for index in chosen}
    except ConfigError as error:
        raise ConfigError(f"options: {error}") from None
    return Choice(mask, scenarios, splits)


def begin(task: SimulatedTask, choice: Choice, seeds: NDArray[np.uint64]) -> tuple[NDArray[np.float32], Info]:
    """Start the episodes that were chosen. Returns what `tierenv.task.TieredMemoryTask.reset` does.

    Args:
        task: as given to `read_options`.
        choice: what that returned.
        seeds: uint64[n] of the episodes.
    """
    task.change_scenarios(choice.scenarios)
    for index, split in choice.phase_orders.items():
        task.phase_orders[index] = split
    return task.reset(seeds, choice.mask)


def _mask_of(mask: object, n: int) -> NDArray[np.bool_]:
    """The environments to reset. Raises `ConfigError`."""
    if isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and mask.shape == (n,) and mask.any():
        return mask
    raise ConfigError(f"options['reset_mask']: must be bool[{n}] with a True in it, got {mask!r}")
