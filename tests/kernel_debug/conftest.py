"""Guests of the debug kernel, for tests. All that are needed boot side by side, each once."""

import functools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.kernel.packages import UnavailableError
from tests.kernel.qemu import Boot
from tests.kernel_debug.boots import Guest, prepare
from tests.kernel_debug.kernel import DebugKernel, debug_kernel


@pytest.fixture(scope="session")
def kernel() -> DebugKernel:
    """Built now, if it was not before."""
    try:
        return debug_kernel()
    except UnavailableError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def guest_of(request: pytest.FixtureRequest, kernel: DebugKernel) -> Iterator[Callable[[str], Guest]]:
    """A guest by its name: of a script, or of what is planted."""
    try:
        run = prepare(kernel)
    except UnavailableError as error:
        pytest.fail(str(error), pytrace=False)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:

        @functools.cache
        def booted(name: str) -> Future[Guest]:
            return pool.submit(run, name)

        for item in request.session.items:
            if callspec := getattr(item, "callspec", None):
                if name := callspec.params.get("guest"):
                    booted(name)
        yield lambda name: booted(name).result()


@pytest.fixture
def guest(request: pytest.FixtureRequest, guest_of: Callable[[str], Guest]) -> Guest:
    """The guest that a test's parameter names."""
    return guest_of(request.param)


@pytest.fixture(scope="session")
def stress(guest_of: Callable[[str], Guest]) -> Boot:
    """What tests of tests/kernel read."""
    return guest_of("stress").boot
