"""What the kernel promotes under settings that stand from start to end, as far as the model has them too."""

import time

from steps import (
    DELAY,
    MODE,
    PERIOD_MAX,
    PERIOD_MIN,
    RATE,
    SIZE,
    THRESHOLD,
    Benchmark,
    counters,
    growth,
    knobs,
    report,
    write,
)

START = {RATE: 65536, DELAY: 100, PERIOD_MIN: 1000, PERIOD_MAX: 1000, SIZE: 16, THRESHOLD: 1000}
RUNS = {
    "base": {},
    "rate 1": {RATE: 1},
    "rate 4": {RATE: 4},
    "rate 16": {RATE: 16},
    "threshold 100": {THRESHOLD: 100},
    "threshold 1": {THRESHOLD: 1},
}
SECONDS = 5.5
"""Ends in the middle of one of the kernel's seconds, of which each has its budget: at an edge a page more or less of
time would decide on a whole one."""

for name, changes in RUNS.items():
    write(MODE, 0)  # also forgets where the kernel has moved the threshold to
    for path, value in (START | changes).items():
        write(path, value)
    benchmark = Benchmark("-s", "96", "-m", "moving", "-b", "1", "-d", "1")
    before, started = counters(), time.monotonic()
    write(MODE, 2)
    time.sleep(SECONDS)
    grown, seconds = growth(before), time.monotonic() - started
    report("run", name=name, seconds=seconds, **grown, end=benchmark.stop(), knobs=knobs())
