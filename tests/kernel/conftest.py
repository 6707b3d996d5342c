"""What the guests have reported, for tests. All that are needed boot side by side, each once."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.kernel.boots import BOOTS, WORK, prepare
from tests.kernel.packages import UnavailableError
from tests.kernel.qemu import Boot, BootError
from tests.tools import ARE_REQUIRED

IS_LEFT_OUT = os.environ.get("TIERENV_KERNEL") == "skip" and not ARE_REQUIRED


@pytest.fixture(scope="session")
def guests(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Boot]]]:
    """Guests of the tests that have been collected, by name."""
    if IS_LEFT_OUT:
        pytest.skip("TIERENV_KERNEL=skip")
    wanted = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    try:
        run = prepare()
    except UnavailableError as error:
        pytest.fail(f"{error}; TIERENV_KERNEL=skip leaves these tests out, but not in CI", pytrace=False)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        yield {name: pool.submit(run, name, WORK / name) for name in BOOTS if name in wanted}


def reports_of(name: str) -> Callable[..., Any]:
    """The fixture of a guest."""

    @pytest.fixture(scope="session", name=name)
    def reports(guests: dict[str, Future[Boot]]) -> Boot:
        try:
            return guests[name].result()
        except (BootError, UnavailableError) as error:
            pytest.fail(str(error), pytrace=False)

    return reports


globals().update({name: reports_of(name) for name in BOOTS})
