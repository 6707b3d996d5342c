"""A pool of Python threads that run a compiled kernel over the machines of a batch, outside the interpreter's lock.

Every thread takes one machine after another, its own block of the batch first, which its processor's cache still holds
from the last step, then what is left of the others' blocks. Machines do not touch each other, so that results depend
neither on the number of threads nor on who took what. The caller always takes part: a thread that the operating system
does not run costs nothing but the one machine it has taken. Not OpenMP, whose threads wait for each other in busy
loops, which a processor in use elsewhere slows down twentyfold, and which neither a fork nor a second caller survives.
"""

import math
import os
import threading
import time
from queue import SimpleQueue
from typing import Any, Literal

import numpy as np
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from tierenv.errors import ConfigError
from tierenv.sim.jit import njit_inlined

WORTH_SHARING_S = 300e-6
"""What a thread must take alone for a call before others are woken for it. Waking one takes up to 100 us, and
milliseconds where its processor is busy."""
ALONE_EVERY = 128
"""One call in so many is not shared, to know what a thread takes alone."""
NUM_PROCESSORS = len(os.sched_getaffinity(0))
"""Those that this process may run on."""
_STRIDE = 8
"""Counters are this far apart, in eight bytes: each has a cache line to itself."""


def get_num_threads() -> int:
    """Threads that work on a batch, the caller included."""
    return _num_threads


def set_num_threads(num_threads: int) -> None:
    """Set how many threads work on a batch, the caller included; unless set, `NUM_PROCESSORS`.

    Raises:
        ConfigError: if it is less than 1.
    """
    global _num_threads
    if num_threads < 1:
        raise ConfigError(f"num_threads={num_threads}: must be at least 1")
    _num_threads = num_threads


_num_threads = NUM_PROCESSORS


@intrinsic
def _fetch_and_add(_context: Any, array: Any, index: Any, amount: Any) -> Any:
    """Add to an entry of int64[...] as one indivisible operation. Returns what it was before."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", builder.gep(data, [arguments[1]]), arguments[2], "monotonic")

    return types.int64(array, types.int64, types.int64), generate


@njit_inlined
def next_item(taken, own_block, num_items):
    """The number of an item that no thread has taken yet, -1 once there is none.

    Args:
        taken: int64[blocks * 8], how many each block has given away.
        own_block: the block to take from as long as it has any.
        num_items: of all blocks together.
    """
    blocks = taken.shape[0] // _STRIDE
    for turn in range(blocks):
        block = (own_block + turn) % blocks
        item = num_items * block // blocks + _fetch_and_add(taken, block * _STRIDE, 1)
        if item < num_items * (block + 1) // blocks:
            return item
    return -1


class Sharing:
    """Calls of a kernel over the machines of one batch, each shared with the pool if it takes long enough.

    Args:
        num_machines: of the batch.
    """

    def __init__(self, num_machines: int) -> None:
        self._num_machines = num_machines
        self._calls = 0
        self._pace = math.inf  # what a thread takes alone for each simulated second, when last measured [s]

    def call(self, kernel: Any, machines: Any, duration_s: float) -> None:
        """Call `kernel(machines, duration_s, taken, own_block)`, which takes its machines from `next_item`."""
        threads = min(_num_threads, self._num_machines)
        is_to_measure = self._calls % ALONE_EVERY == 1 and duration_s < math.inf
        self._calls += 1
        # the caller compiles: a thread of the pool could not be interrupted
        is_compiled = len(kernel.nopython_signatures) > 0
        is_worth_it = self._pace * duration_s > WORTH_SHARING_S
        if threads > 1 and is_compiled and is_worth_it and not is_to_measure:
            _call_together(threads, kernel, machines, duration_s)
            return
        started = time.perf_counter()
        _call_together(1, kernel, machines, duration_s)
        if 0.0 < duration_s < math.inf:
            self._pace = (time.perf_counter() - started) / duration_s


def _call_together(threads: int, kernel: Any, machines: Any, duration_s: float) -> None:
    """Call a kernel on this thread and on those of the pool that are free, and wait for those that have begun.

    An interrupt waits for them, too: once this has raised, no thread touches the machines.
    """
    taken = np.zeros(threads * _STRIDE, dtype=np.int64)
    calls: list[_Call] = []
    try:
        for block, helper in enumerate(_pool.helpers(threads - 1), start=1):
            call = _Call(kernel, (machines, duration_s, taken, block))
            calls.append(call)  # first, or an interrupt in between would leave it to itself
            helper.offer(call)
        kernel(machines, duration_s, taken, 0)
    finally:
        interrupt = None
        is_over = False
        # here and not in a function, which an interrupt could keep from being entered
        while not is_over:
            try:
                for call in calls:
                    call.call_off()
                for call in calls:
                    call.wait()
                is_over = True
            except BaseException as error:  # whatever a signal handler raises
                interrupt = error
        if interrupt is not None:
            raise interrupt
    for call in calls:
        if call.error is not None:
            raise call.error


_Claimant = Literal["helper", "caller"]
"""Who can take a call: the helper to make it, or its caller to call it off."""


class _Call:
    """A call that a thread of the pool makes, unless its caller has no use for it any more.

    What the caller does with it may be interrupted anywhere and done again.
    """

    def __init__(self, kernel: Any, arguments: tuple[Any, float, NDArray[np.int64], int]) -> None:
        self._kernel = kernel
        self._arguments = arguments
        self._claim: dict[str, _Claimant] = {}
        self._is_closed = False
        self._opens_when_closed = threading.Lock()
        self._opens_when_closed.acquire()
        self.error: BaseException | None = None
        """What the kernel raised."""

    def _belongs_to(self, claimant: _Claimant) -> bool:
        """Claim it, in one indivisible operation, for whoever is the first. Returns whether that is this one."""
        return self._claim.setdefault("by", claimant) == claimant

    def make(self) -> None:
        """Call the kernel unless the call is off, for the helper."""
        if self._belongs_to("helper"):
            try:
                self._kernel(*self._arguments)
            except BaseException as error:
                self.error = error

    def close(self) -> None:
        """Let the caller go on, for the helper."""
        self._is_closed = True
        self._opens_when_closed.release()

    def call_off(self) -> None:
        """See to it that the call is not made, unless it has begun, for the caller."""
        self._belongs_to("caller")

    def wait(self) -> None:
        """Wait until a call that could not be called off is closed, for the caller."""
        if not self._belongs_to("caller") and not self._is_closed:
            self._opens_when_closed.acquire()


class _Helper:
    """A thread of the pool. It makes one call after another and sleeps in between."""

    def __init__(self) -> None:
        self._is_busy = False
        self._calls: SimpleQueue[_Call] = SimpleQueue()
        threading.Thread(target=self._serve, name="tierenv-helper", daemon=True).start()

    def offer(self, call: _Call) -> None:
        """Let the thread make a call if it has none.

        Two callers at the same moment may both find it free. The later call then waits for its turn until it is off.
        """
        if not self._is_busy and self._calls.empty():
            self._calls.put(call)

    def _serve(self) -> None:
        while True:
            call = self._calls.get()
            self._is_busy = True
            call.make()
            self._is_busy = False  # first, or the caller might come back before this thread is free
            call.close()


class _Pool:
    """Threads, made when first needed, that stay until the process ends."""

    def __init__(self) -> None:
        self._helpers: list[_Helper] = []
        self._growth = threading.Lock()

    def helpers(self, number: int) -> list[_Helper]:
        """So many threads, always the same ones in the same order."""
        if len(self._helpers) < number:
            with self._growth:
                while len(self._helpers) < number:
                    self._helpers.append(_Helper())
        return self._helpers[:number]


_pool = _Pool()


def _leave_threads_behind() -> None:
    """Begin with a new pool: a forked process has none of its parent's threads, nor what they hold locked."""
    global _pool
    _pool = _Pool()


os.register_at_fork(after_in_child=_leave_threads_behind)
