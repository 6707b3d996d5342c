"""Takes a daemon past every fault that a test may have planted in it: it promotes, refuses a name, and is unloaded."""

import os
import re
import time

from steps import Benchmark, read, report
from tierd import FOLDER, counters, load, put, unload

PROMOTED = 1000
PATIENCE_S = 60


def is_lockdep_on():
    """It ends with the first fault that it finds."""
    return re.search(r"debug_locks: +1$", read("/proc/lockdep_stats"), re.M) is not None


def refuse(command):
    """Write a name that is refused, once: a file of Python's would try again when it is closed."""
    attribute = os.open(FOLDER / "command", os.O_WRONLY)
    try:
        os.write(attribute, command.encode())
    except OSError:
        os.close(attribute)


loaded = load("planted")
put("scan_period_ms", 100)
put("command", "abench")
benchmark = Benchmark("-s", "32", "-b", "1", "-d", "1")
end_s = time.monotonic() + PATIENCE_S
while counters()["nr_kmmscand_migrated"] < PROMOTED and time.monotonic() < end_s:
    time.sleep(0.1)
report("planted", **loaded, **counters())
benchmark.stop()
refuse("longer than the name of any command")
if is_lockdep_on():  # or it might wait for a lock that nobody gives back
    report("unloaded", **unload())
