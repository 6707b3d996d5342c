"""What the guard watches: numbers of which more is worse, each per second or as it comes."""

from __future__ import annotations

import json
import math
import os
import pwd
import signal
import stat
import subprocess
from dataclasses import dataclass
from typing import Any

from tierenv.live.files import Refused
from tierenv.live.machine import Reading

COMMAND_TIMEOUT_S = 1.0
"""An interval of a health command that takes longer has no number."""
_MOST_ARGUMENTS_BYTES = 4096


@dataclass(frozen=True)
class Metric:
    """One of them."""

    name: str
    allowance: float
    """A change that is never taken for a worsening, in its unit."""
    relative_allowance: float = 0.0
    """Likewise, as a share of what was usual."""


def metrics_for(fast_pages: int) -> tuple[Metric, ...]:
    """Those of a machine. Their allowances are a judgement, not measured: what a promoter in good order may do.

    churn: pages a second that came up and went down again, the smaller of both; the whole fast tier in two minutes is
    allowed, for promotion into a full tier makes some. Candidates that stay below count not: a throttle keeps them.
    """
    return (
        Metric("churn_pages_per_s", allowance=fast_pages / 120),
        Metric("failed_migrations_per_s", allowance=max(1.0, fast_pages / 12_000)),
        Metric("memory_pressure_share", allowance=0.05),
        Metric("health_command", allowance=0.0, relative_allowance=0.05),
    )


def health_between(earlier: Reading, later: Reading) -> dict[str, float]:
    """Numbers of an interval, by metric, without those that this kernel does not tell."""
    seconds = (later.monotonic_ns - earlier.monotonic_ns) / 1e9
    grown = {name: later.counters[name] - earlier.counters[name] for name in later.counters if name in earlier.counters}
    health = {
        "churn_pages_per_s": min(grown["pgpromote_success"], grown["pgdemote_kswapd"]) / seconds,
        "failed_migrations_per_s": grown["pgmigrate_fail"] / seconds,
    }
    if earlier.pressure_us is not None and later.pressure_us is not None:
        health["memory_pressure_share"] = (later.pressure_us - earlier.pressure_us) / 1e6 / seconds
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
        self._account: pwd.struct_passwd | None = None
        if os.geteuid() == 0:
            try:
                self._account = pwd.getpwnam("nobody")
            except KeyError:
                raise Refused(f"{path}: there is no account nobody to run it as") from None

    def number(self) -> float | None:
        """What it printed; None where it failed, took too long or printed something else."""
        account: dict[str, Any] = {}
        if self._account is not None:
            account = {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}
        try:
            process = subprocess.Popen(
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                start_new_session=True,
                **account,
            )
        except OSError:
            return None
        with process:
            try:
                output, _ = process.communicate(timeout=COMMAND_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # with whatever it has started
                return None
        try:
            number = float(output)
        except ValueError:
            return None
        return number if process.returncode == 0 and math.isfinite(number) else None


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
