"""What the scripts of a guest share: reports to the host, knobs and counters of NUMA balancing, the benchmark."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

MODE = "/proc/sys/kernel/numa_balancing"
RATE = "/proc/sys/kernel/numa_balancing_promote_rate_limit_MBps"
DEBUGFS = "/sys/kernel/debug/sched/numa_balancing"
DELAY, PERIOD_MIN, PERIOD_MAX = (f"{DEBUGFS}/scan_{name}_ms" for name in ("delay", "period_min", "period_max"))
SIZE = f"{DEBUGFS}/scan_size_mb"
THRESHOLD = f"{DEBUGFS}/hot_threshold_ms"
DEMOTION = "/sys/kernel/mm/numa/demotion_enabled"
KNOBS = (MODE, RATE, DELAY, PERIOD_MIN, PERIOD_MAX, SIZE, THRESHOLD, DEMOTION)
"""All that an export or the controller may set."""


def report(step, **values):
    """Tell the host what a step has come to."""
    with open("/dev/ttyS1", "a") as port:
        print(json.dumps({"step": step, **values}), file=port)


def run(*command, **environment):
    """Run a program to its end and return what it left: code, output, errors."""
    result = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    return {"code": result.returncode, "output": result.stdout, "errors": result.stderr}


def read(path):
    return Path(path).read_text()


def write(path, value):
    """Write a knob, in one system call."""
    Path(path).write_text(f"{value}\n")


def knobs():
    """What each knob of this kernel holds, byte by byte."""
    return {path: read(path) for path in KNOBS if os.path.exists(path)}


def tiers():
    """Nodes of each memory tier, the fastest first."""
    lists = Path("/sys/devices/virtual/memory_tiering").glob("memory_tier*/nodelist")
    return [read(path).strip() for path in sorted(lists, key=lambda path: int(path.parent.name[11:]))]


def counters():
    """Counters of /proc/vmstat, those that the kernel keeps for each processor brought up to date."""
    read("/proc/sys/vm/stat_refresh")
    return {name: int(value) for name, value in (line.split() for line in read("/proc/vmstat").splitlines())}


def growth(before):
    """How much the counters of promotion have grown."""
    after = counters()
    names = ("numa_pte_updates", "numa_hint_faults", "pgpromote_candidate", "pgpromote_success")
    return {name: after[name] - before[name] for name in names}


class Benchmark:
    """abench, from its first access on and until it is told to stop."""

    def __init__(self, *options):
        self._process = subprocess.Popen(["/bin/abench", "-i", "0", *options], stdout=subprocess.PIPE, text=True)
        self._process.stdout.readline()

    @property
    def pid(self):
        return self._process.pid

    def look(self):
        """Its next line, of which there is one a second."""
        return json.loads(self._process.stdout.readline())

    def stop(self):
        """Its last line."""
        self._process.send_signal(signal.SIGTERM)
        return json.loads(self._process.communicate()[0].splitlines()[-1])


def sleep_until(time_s):
    """Until then on the clock that `time.monotonic` reads."""
    time.sleep(max(0.0, time_s - time.monotonic()))
