"""What the guard watches: numbers of which more is worse."""

from __future__ import annotations

import json
import math
import os
import pwd
import select
import signal
import stat
import subprocess
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from tierenv.live.files import Refused
from tierenv.live.machine import DEMOTIONS, Reading

COMMAND_TIMEOUT_S = 1.0
"""An interval of a health command that takes longer has no number."""
_ENDING_S = 0.5
"""Time the kernel has to end one that was killed."""
SMOOTHED = 5
"""Intervals over which what is counted is taken together: promotion and demotion come in bursts."""
_MOST_ARGUMENTS_BYTES = 4096
_MOST_NUMBER_BYTES = 64
_MOST_CHURN_PAGES_PER_S = 1 << 16
"""256 MiB/s each way."""

CHURN, FAILURES = "churn_pages_per_s", "failed_migrations_per_s"
PRESSURE, COMMAND = "memory_pressure_share", "health_command"


@dataclass(frozen=True)
class Metric:
    """One of them."""

    name: str
    allowance: float
    """A change that is never taken for a worsening, in its unit."""
    relative_allowance: float = 0.0
    """Likewise, as a share of what was usual."""


def metrics_for(fast_pages: int, *, has_pressure: bool, has_command: bool) -> tuple[Metric, ...]:
    """Those of a machine. Their allowances are a judgement, not measured: what a promoter in good order may do.

    Churn is what came up and what went down, whichever is less: the whole fast tier in two minutes is allowed, for
    promotion into a full tier makes some, but no more than 256 MiB/s. Candidates that are not promoted do not count: a
    throttle makes them.

    Args:
        fast_pages: of the fast tier.
        has_pressure: whether the kernel tells the time that tasks waited for memory.
        has_command: whether a program of the operator's gives a number.
    """
    churn = min(fast_pages / 120, _MOST_CHURN_PAGES_PER_S)
    rows = [Metric(CHURN, allowance=churn), Metric(FAILURES, allowance=max(1.0, churn / 100))]
    rows += [Metric(PRESSURE, allowance=0.05)] * has_pressure
    rows += [Metric(COMMAND, allowance=0.0, relative_allowance=0.05)] * has_command
    return tuple(rows)


class Health:
    """Numbers of the last `SMOOTHED` intervals together; what the command says is of now."""

    def __init__(self) -> None:
        self._past: deque[dict[str, float]] = deque(maxlen=SMOOTHED)

    def forget(self) -> None:
        """Begin anew, with other settings."""
        self._past.clear()

    def after(self, earlier: Reading, later: Reading, number: float | None) -> dict[str, float]:
        """Numbers by metric, without those that there are none of.

        Args:
            earlier: reading at the interval's start.
            later: at its end.
            number: of the health command.
        """
        grown = {name: later.counters[name] - earlier.counters.get(name, 0) for name in later.counters}
        interval = {
            "seconds": (later.monotonic_ns - earlier.monotonic_ns) / 1e9,
            "promoted": grown["pgpromote_success"],
            "demoted": sum(grown.get(name, 0) for name in DEMOTIONS),
            "failed": grown["pgmigrate_fail"],
        }
        if earlier.pressure_us is not None and later.pressure_us is not None:
            interval["pressed_s"] = (later.pressure_us - earlier.pressure_us) / 1e6
        self._past.append(interval)
        total = {name: sum(one.get(name, 0.0) for one in self._past) for name in interval}
        health = {
            CHURN: min(total["promoted"], total["demoted"]) / total["seconds"],
            FAILURES: total["failed"] / total["seconds"],
        }
        if "pressed_s" in total:
            health[PRESSURE] = total["pressed_s"] / total["seconds"]
        if number is not None:
            health[COMMAND] = number
        return health


class HealthCommand:
    """A program of the operator's that prints a number of which more is worse, say a latency.

    It is run without a shell, as an account that owns nothing, with a time limit.

    Args:
        path: a file that holds its arguments as a JSON list, which nobody but root may write.

    Raises:
        Refused: for another file.
    """

    def __init__(self, path: str) -> None:
        self._arguments = _read_arguments(path)
        self._account: dict[str, Any] = {}
        if os.geteuid() == 0:
            try:
                nobody = pwd.getpwnam("nobody")
            except KeyError:
                raise Refused(f"{path}: there is no account nobody to run it as") from None
            self._account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    def number(self) -> float | None:
        """What it printed; None where it failed, took too long or printed something else."""
        until_s = time.monotonic() + COMMAND_TIMEOUT_S
        try:
            process = subprocess.Popen(
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                start_new_session=True,
                **self._account,
            )
        except OSError:
            return None
        assert process.stdout is not None
        with process.stdout:
            output = _read_within(process.stdout.fileno(), until_s)
        code = _wait(process, until_s - time.monotonic())
        try:
            os.killpg(process.pid, signal.SIGKILL)  # it, and whatever of its session it has started
        except ProcessLookupError:
            pass
        if code is None:
            _wait(process, _ENDING_S)
        try:
            number = float(output)
        except ValueError:
            return None
        return number if code == 0 and math.isfinite(number) else None


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return None


def _read_within(descriptor: int, until_s: float) -> bytes:
    """What a program writes until it has ended, up to what a number takes."""
    output = b""
    while len(output) < _MOST_NUMBER_BYTES:
        if not select.select([descriptor], [], [], max(0.0, until_s - time.monotonic()))[0]:
            break
        part = os.read(descriptor, _MOST_NUMBER_BYTES - len(output))
        if not part:
            break
        output += part
    return output


def _read_arguments(path: str) -> list[str]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise Refused(f"{path}: must be a file that only its owner, who runs this, can write")
        content = file.read(_MOST_ARGUMENTS_BYTES)
    try:
        arguments = json.loads(content)
    except ValueError:
        arguments = None
    is_list = isinstance(arguments, list) and all(isinstance(word, str) and "\0" not in word for word in arguments)
    if not is_list or not arguments or not arguments[0].startswith("/"):
        raise Refused(f'{path}: must hold a program and its arguments, such as ["/usr/local/bin/latency", "--p99"]')
    return [str(word) for word in arguments]
