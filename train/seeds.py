"""Which seeds serve which purpose: disjoint blocks, so that nothing is judged on what chose or trained it."""

from tierenv.errors import ConfigError
from tierenv.phase_orders import PhaseOrders

EVALUATION = 10_000
TUNING = 20_000
SELECTION = 30_000
DISTILLATION = 40_000
"""First seeds of the episodes that compare policies, tune static settings, pick the best model or tree, show a tree
what its teacher does."""

BLOCK = 10_000
"""Seeds in each of these blocks."""

TRAINING_STRIDE = 1_000_000
"""Distance between the seeds of two training runs; resuming one moves on by a thousand."""


def block(first: int, count: int, field: str) -> list[int]:
    """`count` seeds of the block that starts at `first`. Raises `ConfigError` for more than it has."""
    if not 1 <= count <= BLOCK:
        raise ConfigError(f"{field}={count}: must be 1 to {BLOCK}")
    return [first + index for index in range(count)]


def evaluation_phase_orders(count: int) -> list[PhaseOrders]:
    """Of the evaluation episodes every second one uses phase orders that training never sees."""
    return ["held-out" if index % 2 else "training" for index in range(count)]


def training_seed(run_seed: int, times_resumed: int) -> int:
    """Seed of the first training environment; the others follow it."""
    return TRAINING_STRIDE * (1 + run_seed) + 1000 * times_resumed
