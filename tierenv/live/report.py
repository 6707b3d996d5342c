"""What a controller tells: a JSON line a decision, a status file, Prometheus' text format, systemd's notifications."""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any

from tierenv.live.arithmetic import UNLIMITED
from tierenv.live.controller import Decision
from tierenv.live.files import NOTES, Refused, is_written_by_others, read_text, replace_whole, say
from tierenv.live.guard import FIRST_WAIT_S, STATES, Guard
from tierenv.live.kernel import setting_of
from tierenv.live.policy import Policy, Setting

STATUS = f"{NOTES}/status.json"
"""What the last interval came to."""


class Report:
    """Where decisions are told.

    Args:
        policy: whose they are.
        guard: None where it advises alone.
        root: put before the path of the status.
        metrics: file for Prometheus' textfile collector.

    Raises:
        Refused: for a file in a folder that others can write.
    """

    def __init__(self, policy: Policy, guard: Guard | None, root: str, metrics: str | None) -> None:
        self._policy = policy
        self._guard = guard
        self._status = root + STATUS
        self._metrics = metrics
        self._outcomes: dict[str, int] = {}
        if metrics is not None:
            folder = os.path.dirname(os.path.abspath(metrics))
            others = is_written_by_others(folder) if os.path.isdir(folder) else folder
            if others is not None and not root:
                raise Refused(f"--metrics {metrics}: {others} is no folder that root alone can write")

    def tell(self, decision: Decision) -> None:
        """All of it. A reader that is gone, or a full disk, stops nothing."""
        self._outcomes[decision.outcome] = self._outcomes.get(decision.outcome, 0) + 1
        row = self._row(decision)
        try:
            if sys.stdout is not None and select.select([], [sys.stdout], [], 0)[1]:  # who reads slowly misses lines
                print(json.dumps(row, separators=(",", ":")), flush=True)
        except OSError:
            pass  # the next line is tried again
        if self._guard is not None:
            _try_to_replace(self._status, json.dumps({**row, "waits": self._guard.waits()}) + "\n", 0o600)
        if self._metrics is not None:
            _try_to_replace(self._metrics, self._exposition(decision), 0o644)

    def end(self) -> None:
        """Take the metrics away: nobody is to read them as of now."""
        if self._metrics is not None:
            try:
                os.unlink(self._metrics)
            except OSError:
                pass

    def _row(self, decision: Decision) -> dict[str, Any]:
        row: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "pid": os.getpid(),
            "policy": self._policy.name,
            "outcome": decision.outcome,
            "reason": decision.reason,
        }
        if self._guard is not None:
            row.update(self._guard.to_json())
            row["reason"] = decision.reason
        if decision.reading is not None:
            row["in_force"] = as_json(setting_of(decision.reading.knobs))
            row["resident_pages"] = decision.reading.resident_pages
        if decision.wanted is not None:
            row["decision"] = as_json(decision.wanted)
        if decision.written is not None:
            row["written" if self._guard is not None else "would_write"] = decision.written
        if decision.remarks:
            row["remarks"] = decision.remarks
        if decision.health is not None:
            row["health"] = {name: round(number, 6) for name, number in decision.health.items()}
        return row

    def _exposition(self, decision: Decision) -> str:
        outcomes = {f'{{outcome="{name}"}}': count for name, count in self._outcomes.items()}
        lines = _family("intervals_total", "counter", "Intervals by what came of them.", outcomes)
        if self._guard is not None:
            states = {f'{{state="{name}"}}': int(name == self._guard.state) for name in STATES}
            lines += _family("state", "gauge", "1 for the guard's state.", states)
            returns, yields = {"": self._guard.returns}, {"": self._guard.yields}
            lines += _family("returns_total", "counter", "Times that all was put back.", returns)
            lines += _family("yields_total", "counter", "Times that somebody else wrote a knob.", yields)
        meaning = "End of the last interval; an old one is of a killed controller."
        lines += _family("interval_time_seconds", "gauge", meaning, {"": round(time.time())})
        if decision.reading is not None:
            knobs = {f'{{name="{os.path.basename(path)}"}}': value for path, value in decision.reading.knobs.items()}
            lines += _family("knob", "gauge", "Knobs as they were read.", knobs)
        if decision.health is not None:
            health = {f'{{metric="{name}"}}': f"{number:.9g}" for name, number in decision.health.items()}
            lines += _family("health", "gauge", "What the guard watches.", health)
        return "\n".join(lines) + "\n"


def _family(name: str, kind: str, meaning: str, samples: Mapping[str, object]) -> list[str]:
    """Lines of a metric, its samples by their labels."""
    full = f"tierenv_live_{name}"
    return [
        f"# HELP {full} {meaning}",
        f"# TYPE {full} {kind}",
        *(f"{full}{labels} {value}" for labels, value in samples.items()),
    ]


def _try_to_replace(path: str, text: str, mode: int) -> None:
    try:
        replace_whole(path, text, mode, f"{path}.new")
    except OSError as error:
        say(f"{path}: {error.strerror}")


def as_json(setting: Setting) -> dict[str, int | None]:
    """A setting with null for unlimited, as everywhere in tierenv."""
    return {symbol: None if value == UNLIMITED else value for symbol, value in setting.items()}


def remember_yield(root: str, reason: str) -> None:
    """Let the next controller leave the machine to somebody else who wrote a knob, for a time."""
    try:
        last = json.loads(read_text(root + STATUS))
    except (OSError, ValueError):
        last = {}
    waits = {"until_s": time.monotonic() + FIRST_WAIT_S, "reason": reason, "next_s": {"yield": 2 * FIRST_WAIT_S}}
    _try_to_replace(root + STATUS, json.dumps({**last, "waits": waits}) + "\n", 0o600)


def notify(text: str) -> None:
    """Tell systemd, where it asked for it (sd_notify(3)); nothing otherwise."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as target:
            target.connect("\0" + address[1:] if address[0] == "@" else address)
            target.sendall(text.encode())
    except OSError:
        pass  # it has gone, and nobody waits
