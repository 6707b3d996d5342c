"""How soon knobs act that are written while the benchmark runs."""

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

START = {MODE: 0, RATE: 0, DELAY: 250, PERIOD_MIN: 1000, PERIOD_MAX: 1000, SIZE: 4, THRESHOLD: 1000}
SECONDS = 2


def watch(step, seconds=SECONDS):
    """Counters' growth in the next seconds."""
    before, started = counters(), time.monotonic()
    time.sleep(seconds)
    grown = growth(before)
    report(step, seconds=time.monotonic() - started, **grown)


report("start", knobs=knobs())
for path, value in START.items():
    write(path, value)
benchmark = Benchmark("-s", "96", "-m", "moving", "-b", "1", "-d", "1")
watch("mode 0")
write(MODE, 2)
time.sleep(1)
watch("size 4")
write(SIZE, 16)
time.sleep(2)
watch("size 16")
write(RATE, 4)
watch("rate 4")
write(RATE, 0)
time.sleep(2)
watch("rate 0")
report("benchmark", end=benchmark.stop())
