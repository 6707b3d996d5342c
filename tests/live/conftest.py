"""What tests of the controller as a program share."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.hosts import Host, tree, write_archive
from tests.live.running import INTERVAL_S, Running


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("archive"), tree(), INTERVAL_S)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


@pytest.fixture
def start(host: Host, file: Path) -> Iterator[Callable[..., Running]]:
    started = []

    def begin(*options: str, **more: str) -> Running:
        started.append(Running(host, file, *options, **more))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            os.killpg(one.process.pid, signal.SIGKILL)
        if one.process.stdout is not None and not one.process.stdout.closed:
            one.process.communicate()
