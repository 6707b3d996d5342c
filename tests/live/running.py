"""A controller that runs, as two processes, on a tree of a host."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.live.hosts import Host, command, environment
from tierenv.live import kernel

INTERVAL_S = 0.15
PATIENCE_S = 30.0


class Running:
    """A controller that runs on a host whose counters move on."""

    def __init__(self, host: Host, file: Path, *options: str, **more: str) -> None:
        self.host = host
        line = command(file, "run", "--apply", "--window", "2", *options)
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(line, env=environment(host, **more), start_new_session=True, **pipes)

    @property
    def last(self) -> dict[str, Any]:
        """The last decision, empty before the first."""
        status = self.host.root / "run/tierenv/status.json"
        content: dict[str, Any] = json.loads(status.read_text()) if status.exists() else {}
        return content

    def until(self, is_so: Callable[[], bool]) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < end_s and self.process.poll() is None, (self.last, self.process.poll())
            self.host.count()
            time.sleep(INTERVAL_S / 5)

    def until_it_has_written(self) -> None:
        self.until(
            lambda: self.host.knob(kernel.MODE) == kernel.MEMORY_TIERING and self.last.get("state") == "steering"
        )

    @property
    def child(self) -> int:
        """The process that decides."""
        return int(self.last["pid"])

    def kill_both(self) -> None:
        """Both processes, at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> tuple[int, str]:
        """Exit code and stderr."""
        _, errors = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, errors


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}/stat").exists()
