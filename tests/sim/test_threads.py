"""The pool of threads: every machine is advanced once, whoever calls, forks, fails or has no thread to spare."""

import multiprocessing
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

import tierenv
from tests.tiny import tiny
from tierenv.errors import ConfigError
from tierenv.sim import threads
from tierenv.sim.threads import Sharing
from tierenv.vector_env import TieredMemoryVectorEnv

LONG_S = 10.0
"""A test that waits longer for another thread fails."""
STEPS = 30


@pytest.fixture(autouse=True)
def shares_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_pool", threads._Pool())  # none of its threads has anything left to do
    monkeypatch.setattr(threads, "WORTH_SHARING_S", 0.0)
    monkeypatch.setattr(threads, "_num_threads", 3)


class PythonKernel:
    """A function in place of a compiled kernel."""

    nopython_signatures = (None,)

    def __init__(self, function: Any) -> None:
        self.calls: list[tuple[int, int]] = []
        self._function = function

    def __call__(self, machines: Any, duration_s: float, taken: NDArray[np.int64], own_block: int) -> None:
        self.calls.append((threading.get_ident(), own_block))
        self._function()


@numba.njit(nogil=True)
def count_items(counts, duration_s, taken, own_block):
    item = threads.next_item(taken, own_block, len(counts))
    while item >= 0:
        counts[item] += 1
        item = threads.next_item(taken, own_block, len(counts))


@numba.njit
def take_in_order(order, taken, own_block):
    for turn in range(len(order)):
        order[turn] = threads.next_item(taken, own_block, 5)


@pytest.mark.parametrize("num_threads", [1, 2, 3, 8])
@pytest.mark.parametrize("num_machines", [1, 2, 7, 64])
def test_every_machine_is_taken_once(num_threads: int, num_machines: int) -> None:
    threads.set_num_threads(num_threads)
    counts = np.zeros(num_machines, dtype=np.int64)
    sharing = Sharing(num_machines)
    for _ in range(200):
        sharing.call(count_items, counts, 1.0)
    assert counts.tolist() == [200] * num_machines


def test_a_thread_takes_its_own_block_first_and_then_the_rest() -> None:
    order = np.zeros(6, dtype=np.int64)
    take_in_order(order, np.zeros(2 * 8, dtype=np.int64), 1)
    assert order.tolist() == [2, 3, 4, 0, 1, -1]


def test_all_threads_take_part_each_with_a_block_of_its_own() -> None:
    barrier = threading.Barrier(3, timeout=LONG_S)
    kernel = PythonKernel(barrier.wait)
    Sharing(64).call(kernel, None, 1.0)
    callers, blocks = zip(*kernel.calls, strict=True)
    assert len(set(callers)) == 3
    assert sorted(blocks) == [0, 1, 2]


def test_there_are_no_more_threads_than_machines() -> None:
    kernel = PythonKernel(lambda: None)
    for _ in range(50):
        Sharing(1).call(kernel, None, 1.0)
    assert {block for _, block in kernel.calls} == {0}


def test_short_calls_are_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "WORTH_SHARING_S", LONG_S)
    kernel = PythonKernel(lambda: None)
    sharing = Sharing(64)
    for _ in range(2):  # the second one is measured
        sharing.call(kernel, None, 1.0)
    kernel.calls.clear()
    for _ in range(2 * threads.ALONE_EVERY):
        sharing.call(kernel, None, 1.0)
    assert kernel.calls == [(threading.get_ident(), 0)] * 2 * threads.ALONE_EVERY


def test_a_caller_does_not_wait_for_threads_that_serve_another() -> None:
    begun, may_end = threading.Barrier(4, timeout=LONG_S), threading.Event()
    busy = PythonKernel(lambda: (begun.wait(), may_end.wait(LONG_S)))
    with ThreadPoolExecutor(1) as executor:
        other = executor.submit(Sharing(64).call, busy, None, 1.0)
        begun.wait()  # its three threads are in the kernel
        kernel = PythonKernel(lambda: None)
        Sharing(64).call(kernel, None, 1.0)
        assert kernel.calls == [(threading.get_ident(), 0)]
        may_end.set()
        other.result(LONG_S)


def test_what_a_thread_raises_reaches_the_caller_and_the_pool_goes_on() -> None:
    barrier = threading.Barrier(3, timeout=LONG_S)

    def fail_beside_the_caller() -> None:
        barrier.wait()
        if threading.current_thread() is not threading.main_thread():
            raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            Sharing(64).call(PythonKernel(fail_beside_the_caller), None, 1.0)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """An interrupt raises `KeyboardInterrupt`, whatever the process that runs the tests has made of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


AT_WORK_S = 0.1
"""A thread works on for so long after the interrupt."""


@pytest.mark.usefixtures("interruptible")
def test_no_thread_works_on_after_interrupts_of_a_caller_that_waits() -> None:
    begun = threading.Barrier(3, timeout=LONG_S)
    ended = []

    def interrupt_the_caller() -> None:
        turn = begun.wait()
        if threading.current_thread() is not threading.main_thread():
            time.sleep((1 + turn) * AT_WORK_S)  # the caller has returned from the kernel
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            time.sleep(AT_WORK_S)
            ended.append(threading.get_ident())

    for number in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            Sharing(64).call(PythonKernel(interrupt_the_caller), None, 1.0)
        assert len(ended) == 2 * number  # the pool goes on, too


@pytest.mark.usefixtures("interruptible")
def test_no_thread_works_on_after_an_interrupt_while_calls_are_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()
    ended = []
    offer = threads._Helper.offer

    def offer_and_be_interrupted(helper: Any, call: Any) -> None:
        offer(helper, call)
        assert begun.wait(LONG_S)
        signal.raise_signal(signal.SIGINT)

    def work() -> None:
        begun.set()
        time.sleep(AT_WORK_S)
        ended.append(threading.get_ident())

    monkeypatch.setattr(threads._Helper, "offer", offer_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt):
        Sharing(64).call(PythonKernel(work), None, 1.0)
    assert len(ended) == 1


def test_the_number_of_threads_is_one_at_least() -> None:
    threads.set_num_threads(5)
    assert threads.get_num_threads() == 5
    with pytest.raises(ConfigError, match="num_threads=0: must be at least 1"):
        threads.set_num_threads(0)


def observations(seed: int) -> NDArray[np.float32]:
    """What eight environments show under random actions: float32[STEPS, 8, features]."""
    env = TieredMemoryVectorEnv(num_envs=8, scenario=tiny())
    env.reset(seed=seed)
    env.action_space.seed(seed)
    return np.stack([env.step(env.action_space.sample())[0] for _ in range(STEPS)])


def test_two_python_threads_step_their_environments_at_once() -> None:
    with ThreadPoolExecutor(2) as executor:
        together = list(executor.map(observations, [1, 2]))
    threads.set_num_threads(1)
    for seed, found in zip([1, 2], together, strict=True):
        np.testing.assert_array_equal(found, observations(seed))


def test_parent_and_child_go_on_after_a_fork() -> None:
    before = observations(1)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        in_children = pool.map_async(observations, [1, 1])
        np.testing.assert_array_equal(observations(1), before)
        for found in in_children.get(timeout=60):
            np.testing.assert_array_equal(found, before)
    np.testing.assert_array_equal(observations(1), before)


def test_a_process_ends_while_the_pool_sleeps() -> None:
    observations(1)  # the compiled model is in the cache, or the process would say that it compiles
    code = (
        "from tierenv.sim import threads; from tierenv.vector_env import TieredMemoryVectorEnv as Env;"
        "threads.set_num_threads(2); threads.WORTH_SHARING_S = 0; env = Env(8); env.reset(seed=0);"
        "[env.step(env.action_space.sample()) for _ in range(9)]; assert threads._pool._helpers"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stderr) == (0, "")


def sources() -> Iterator[Path]:
    return Path(tierenv.__file__).parent.rglob("*.py")


def test_nothing_uses_numba_s_own_threads() -> None:
    own_threads = re.compile(r"parallel=True|prange|numba\.[sg]et_num_threads")
    assert [path for path in sources() if own_threads.search(path.read_text())] == []
