"""Runs another script, which the kernel's command line names, then has the kernel tell of what it has left behind."""

import os
import runpy
import time

from steps import read, report

KMEMLEAK = "/sys/kernel/debug/kmemleak"
LEAK_AGE_S = 6
"""What is younger than 5 s is no leak to the kernel."""


def scan_for_leaks():
    with open(KMEMLEAK, "w") as file:
        file.write("scan")


runpy.run_path(f"{os.environ['tierenv_debugged']}.py", run_name="__main__")
report("modules", loaded=[line.split()[0] for line in read("/proc/modules").splitlines()])
scan_for_leaks()  # tells only of what has not changed since another scan
time.sleep(LEAK_AGE_S)
scan_for_leaks()
report("leaks", found=read(KMEMLEAK))
report("locks", stats=read("/proc/lockdep_stats"))
