"""The daemon as a module of this kernel: loaded, written to, read, traced."""

import re
import time
from pathlib import Path

from steps import Benchmark, read, run, write

FOLDER = Path("/sys/kernel/mm/tierd")
DECISIONS = Path("/sys/kernel/debug/tierd/decisions")
TRACING = Path("/sys/kernel/tracing")


FACTS = ("latency_gap_ns=140", "fast_bandwidth_mb_per_s=230000", "slow_bandwidth_mb_per_s=25000")
"""Of the machine, for the policy of `tests.kernel.daemons`; this one is emulated."""
LEARNED = ("learned", "broken")
"""Modules that it steers."""


def load(name):
    """Load one of the modules, under an emulator that keeps translations as long as nobody flushes them."""
    result = run("insmod", f"/modules/{name}/tierd.ko", *(FACTS if name in LEARNED else ()))
    if not result["code"]:
        put("flush_tlb", 1)
    return result


def unload():
    return run("rmmod", "tierd")


def put(name, value):
    """Write an attribute. Returns the error's number, 0 for none."""
    try:
        write(FOLDER / name, value)
    except OSError as error:
        return error.errno
    return 0


def get(name):
    return read(FOLDER / name).strip()


def counters():
    return {name: int(value) for name, value in (line.split() for line in get("counters").splitlines())}


def growth(before):
    return {name: value - before[name] for name, value in counters().items()}


def processes():
    """Scale, period, size, node and chunks of each registered process, by its pid."""
    rows = (line.rsplit(maxsplit=5) for line in get("processes").splitlines())
    return {int(row[0].split()[0]): [int(number) for number in row[1:]] for row in rows}


def wait_for_chunks(number, pid):
    """Until a process has had so many chunks."""
    while processes()[pid][4] < number:
        time.sleep(0.01)


class Watched(Benchmark):
    """A registered benchmark."""

    def __init__(self, *options):
        super().__init__(*options)
        put("processes", self.pid)


def start_trace():
    write(TRACING / "trace", "")
    write(TRACING / "events/tierd/enable", 1)


def stop_trace():
    """Events of the daemon since the start: time, name and fields."""
    write(TRACING / "events/tierd/enable", 0)
    events = []
    for line in read(TRACING / "trace").splitlines():
        if found := re.search(r" (\d+\.\d+): (\w+): (.*)", line):
            fields = dict(word.split("=") for word in found[3].split())
            events.append([float(found[1]), found[2], {name: int(value, 0) for name, value in fields.items()}])
    return events
