"""Room for machines: a batch whose arrays are as long as its largest machine needs takes in a larger one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.sim.lumped.state import Machine

Arrays = tuple[NDArray[Any], ...]


def with_machine(machines: Machine, index: int, other: Machine) -> Machine:
    """A batch in which one machine is that of a batch of one, whose arrays are empty but for its parameters.

    Args:
        machines: the batch, which is written to where it has the room.
        index: of the machine that is replaced.
        other: the one in its place.
    """
    if len(machines.state) == 1:
        return Machine._make(array.copy() for array in other)
    machines = _with_room(machines, other)
    for array in machines:
        array[index] = np.zeros((), dtype=array.dtype)
    machines.parameters[index] = other.parameters[0]
    return machines


def _with_room(machines: Machine, other: Machine) -> Machine:
    """The batch itself, or a copy in which each machine has room for what another batch's has."""
    own: Arrays = machines
    its: Arrays = other
    shapes = [tuple(map(max, mine.shape[1:], theirs.shape[1:])) for mine, theirs in zip(own, its, strict=True)]
    if all(array.shape[1:] == shape for array, shape in zip(own, shapes, strict=True)):
        return machines
    larger = Machine._make(
        np.zeros((len(array), *shape), array.dtype) for array, shape in zip(own, shapes, strict=True)
    )
    new: Arrays = larger
    for array, copy in zip(own, new, strict=True):
        if array is not machines.ring:
            copy[(slice(None), *map(slice, array.shape[1:]))] = array
    # record k of a list stands in row k modulo the length of its ring
    for index, state in enumerate(machines.state):
        records = np.arange(int(state["list_head"]), int(state["list_tail"]))
        old_rows, new_rows = records % machines.ring.shape[1], records % larger.ring.shape[1]
        larger.ring[index, new_rows] = machines.ring[index, old_rows]
    return larger
