"""Counters, settings and node states as JSON lines, for `tierenv replay`."""

from __future__ import annotations

import json
import os
from typing import Any

from tierenv.live.kernel import MEMORY_TIERING, MODE, PAGE_BYTES, PERIOD_MIN, setting_of
from tierenv.live.machine import Machine, Reading
from tierenv.live.report import as_json

SCHEMA = 1


def header(machine: Machine) -> str:
    """The first line: what does not change."""
    nodes = {
        str(node): {"tier": "fast" if node in machine.fast_nodes else "slow", "total_pages": pages}
        for node, pages in machine.total_pages.items()
    }
    facts = {"tierenv_record": SCHEMA, "kernel": os.uname().release, "page_bytes": PAGE_BYTES, "nodes": nodes}
    return json.dumps(facts, separators=(",", ":"))


def sample_line(reading: Reading) -> str:
    """A line of a reading, of all knobs; its setting is null in another mode than memory tiering."""
    setting = {**as_json(setting_of(reading.knobs)), "scan_period_min_ms": reading.knobs[PERIOD_MIN]}
    row: dict[str, Any] = {
        "monotonic_ns": reading.monotonic_ns,
        "boottime_ns": reading.boottime_ns,
        "counters": reading.counters,
        "setting": setting if reading.knobs[MODE] == MEMORY_TIERING else None,
        "resident_pages": reading.resident_pages,
        "nodes": {str(node): {"free_pages": pages} for node, pages in reading.free_pages.items()},
    }
    return json.dumps(row, separators=(",", ":"))
