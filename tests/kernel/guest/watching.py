"""Watches what the daemon counts under settings that stand from start to end, for the model to be held against.

Such a guest has one processor (`maxcpus=1`): a page that moves, or a flush, has no other to interrupt, which takes an
emulated one a millisecond. The kernel's threads come first there, as if they had processors of their own.
"""

import os
import re
import time
from pathlib import Path

from steps import counters as vmstat
from steps import read, report, write
from tierd import Watched, counters, load, put, wait_for_chunks

PERIODS_MS = (100, 250, 500, 1000)
PROGRAM = ("-s", "64", "-m", "moving", "-b", "1", "-d", "40", "-t", "1")
"""Some 20,000 accesses a second: of the hot pages most are touched in any window, of the others few in two in a row."""
FIRST_CHUNKS = 2
"""That cannot list anything: one only resets, one sees a window that has nothing before it."""


def kernel_thread(name):
    """Its folder."""
    return next(path.parent for path in Path("/proc").glob("*/comm") if path.read_text() == f"{name}\n")


KSWAPD = kernel_thread("kswapd0")


def begin():
    """Load the module, and let nobody but it promote, whenever its threads want to."""
    write("/proc/sys/kernel/numa_balancing", 0)
    report("load", **load("static"), kernel=os.uname().release)
    for name in ("tierd_scan", "tierd_migrate", "kswapd0"):
        os.sched_setscheduler(int(kernel_thread(name).name), os.SCHED_FIFO, os.sched_param(1))


def zone():
    """Pages of node 0 that the kernel gives to programs: free ones, and how many of these it wants."""
    text = re.search(r"^Node 0, zone +DMA32$.*?(?=^Node)", read("/proc/zoneinfo"), re.M | re.S)[0]
    return {name: int(re.search(rf"{name} +(\d+)", text)[1]) for name in ("free", "low", "high")}


def look(started_s):
    """Counters, and when."""
    others = {"pgdemote_kswapd": vmstat()["pgdemote_kswapd"], "kswapd_ns": int(read(KSWAPD / "schedstat").split()[0])}
    return {"at_s": time.monotonic() - started_s, **counters(), **others}


def watch(step, period_ms, throttle, seconds, *options, before_s=0, **values):
    """Count from the middle of a window to the middle of another one, about so many seconds.

    Args:
        step: that is reported.
        period_ms: the scan period.
        throttle: as the module reads it.
        seconds: that are counted.
        options: of the program beside `PROGRAM`.
        before_s: that pass after the first chunks until then.
        values: that are reported, too.
    """
    put("scan_period_ms", period_ms)
    put("throttle_bytes_per_s", throttle)
    benchmark, started_s = Watched(*PROGRAM, *options), time.monotonic()
    first_chunk = FIRST_CHUNKS + before_s * 1000 // period_ms
    wait_for_chunks(first_chunk, benchmark.pid)
    time.sleep(period_ms / 2000)
    first = look(started_s)
    chunks = seconds * 1000 // period_ms
    time.sleep((chunks - 0.5) * period_ms / 1000)
    wait_for_chunks(first_chunk + chunks, benchmark.pid)
    time.sleep(period_ms / 2000)
    last = look(started_s)
    values |= {"period_ms": period_ms, "throttle": throttle, "zone": zone()}
    report(step, first=first, last=last, end=benchmark.stop(), **values)
