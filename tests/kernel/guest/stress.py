"""Memory that is checked while the daemon moves it, whatever else is done to it; then loads, kills and unloads."""

import itertools
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from steps import DEMOTION, MODE, read, report, run, write
from steps import counters as vmstat
from tierd import FOLDER, counters, growth, load, put, unload

MODULE = "learned"
TRACES = (FOLDER, "/sys/module/tierd", "/sys/kernel/debug/tierd", "/sys/kernel/tracing/events/tierd")
"""What there is of the module while it is loaded."""
HASTE = {"policy": "off", "scan_period_ms": 10, "scan_size_bytes": 16 << 30, "throttle_bytes_per_s": "unlimited"}
"""What is in force: pages are scanned and moved as often as can be."""
PATIENCE_S = 120
"""What has not happened after so much time never will; a debug kernel takes long."""

ROUNDS = {"fork": 4, "map": 4, "discard": 2, "protect": 10, "move": 2, "huge": 2, "swap": 15, "lock": 10}
"""Of each of the checker's disturbances."""
VMSTAT = ("pgdemote_direct", "pswpin", "pswpout", "thp_collapse_alloc", "thp_fault_alloc", "thp_split_page")
CGROUPS = "/sys/fs/cgroup"
GROUP = "churn"
RECLAIM = f"{CGROUPS}/{GROUP}/memory.reclaim"
RECLAIMED_BYTES = 2 << 20
SWAP_BYTES = 64 << 20
DISK = ("memory_backed=1", "gb=1", "irqmode=2", "completion_nsec=200000")
"""Takes its time, as disks do: pages are under writeback for a while, and then in the swap cache."""
KHUGEPAGED = "/sys/kernel/mm/transparent_hugepage/khugepaged"
KMEMLEAK = "/sys/kernel/debug/kmemleak"

LOADS = 20
ORDERS = ("kill, unload", "unload, kill", "kill one, unload, kill", "kill and unload")
REGISTERED_BY = {"processes": "", "command": "churn", "cgroup": f"/{GROUP}"}
POLICIES = ("off", "rule", "learned")
MOVED_PAGES = 30
"""So many were moved before anybody is killed."""
MEDDLER = """\
while read -r line <$1/counters; do
    read -r line <$1/processes
    echo -$2 >$1/processes; echo $2 >$1/processes
    echo 20 >$1/scan_period_ms; echo rule >$1/policy; echo off >$1/policy
    echo done
done 2>/dev/null
"""
"""Reads and writes what it can, and registers a process anew, until there is no module any more."""


def wait_until(condition):
    """Returns whether it has come true."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def start():
    """Load the module, in haste. Returns what went wrong."""
    errors = [load(MODULE)["errors"]]
    errors += [f"{name}: error {error}" for name, value in HASTE.items() if (error := put(name, value))]
    return "".join(errors)


class Checker:
    """The memory checker: its memory is in place, and it waits until it is told to begin."""

    def __init__(self, *options, has_group):
        join = f"echo $$ >{CGROUPS}/{GROUP}/cgroup.procs; " if has_group else ""
        self._process = subprocess.Popen(
            ["sh", "-c", f'{join}exec churn -w "$@"', "sh", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._process.stdout.readline()
        self.pid = self._process.pid

    def begin(self):
        self._process.stdin.close()
        self._process.stdin = None

    @property
    def is_running(self):
        return self._process.poll() is None

    def kill(self):
        self._process.send_signal(signal.SIGKILL)

    def wait(self):
        """Its code, its last line, its complaints."""
        output, errors = self._process.communicate()
        return {"code": self._process.returncode, "end": json.loads(output or "null"), "errors": errors}


def wait_for_chunks(number):
    """Wait for some more chunks: the first of a process only resets."""
    before = counters()["nr_kmmscand_mm_scans"]
    return wait_until(lambda: counters()["nr_kmmscand_mm_scans"] >= before + number)


def check(name, disturbances, rounds, meanwhile=lambda: None):
    """Run the checker, registered by its pid. Report what it has found, and what the kernel and the module counted."""
    before, before_vmstat = counters(), vmstat()
    checker = Checker("-s", "8", "-r", str(rounds), *disturbances, has_group=HAS_GROUPS)
    error = put("processes", checker.pid)
    is_scanned = wait_for_chunks(2)
    checker.begin()
    started = time.monotonic()
    while checker.is_running:
        meanwhile()
        time.sleep(0.02)
    seconds, after = time.monotonic() - started, vmstat()
    counted = {key: after[key] - before_vmstat[key] for key in VMSTAT if key in after}
    report("checked", name=name, error=error, is_scanned=is_scanned, seconds=seconds, **checker.wait())
    report("counted", name=name, **growth(before), **counted)


def start_swap():
    """Returns the disk that this kernel swaps to, or None."""
    modules = sorted(Path("/modules/swap").glob("*.ko"))
    for module in modules:
        run("insmod", str(module), *(DISK if module is modules[-1] else ()))
    for name in ("nullb0", "zram0"):
        if os.path.exists(f"/sys/block/{name}"):
            if name == "zram0":
                write("/sys/block/zram0/disksize", SWAP_BYTES)
            run("mkswap", f"/dev/{name}")
            return name if run("swapon", f"/dev/{name}")["code"] == 0 else None
    return None


def start_groups():
    """Returns whether this kernel has control groups."""
    if run("mount", "-t", "cgroup2", "none", CGROUPS)["code"]:
        return False
    if "memory" in read(f"{CGROUPS}/cgroup.controllers").split():
        write(f"{CGROUPS}/cgroup.subtree_control", "+memory")
    os.mkdir(f"{CGROUPS}/{GROUP}")
    return True


def reclaim():
    """Have the kernel demote pages of the fast node and swap out pages of the slow one."""
    try:
        write(RECLAIM, RECLAIMED_BYTES)
    except OSError:  # less than that was cold
        pass


def hurry_khugepaged():
    for name, value in (("scan_sleep_millisecs", 10), ("alloc_sleep_millisecs", 10), ("pages_to_scan", 4096)):
        if os.path.exists(f"{KHUGEPAGED}/{name}"):
            write(f"{KHUGEPAGED}/{name}", value)


def comms():
    """Names of all that runs, threads of the kernel too."""
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            yield read(path).strip()
        except OSError:  # has ended
            pass


def left():
    """What is left of the module."""
    return [str(path) for path in TRACES if os.path.exists(path)] + [n for n in comms() if n.startswith("tierd")]


def objects(cache):
    """Objects in use of a slab cache, or nothing where the kernel does not tell."""
    folder = f"/sys/kernel/slab/{cache}"
    if not os.path.exists(folder):
        return {}
    write(f"{folder}/shrink", 1)
    return {cache: int(read(f"{folder}/objects").split()[0])}


def memory():
    """What memory is used for [KiB], and objects that a module may hold for ever."""
    write("/proc/sys/vm/drop_caches", 3)
    write("/proc/sys/vm/compact_memory", 1)
    info = {name: int(value) for name, value in re.findall(r"^(\S+): +(\d+)", read("/proc/meminfo"), re.M)}
    at_hand = 4 * sum(int(pages) for pages in re.findall(r"^ +count: +(\d+)", read("/proc/zoneinfo"), re.M))
    return {
        "free": info["MemFree"] + at_hand,
        "at_hand": at_hand,
        **info,
        **objects("mm_struct"),
        **objects("task_struct"),
    }


def load_and_kill(number, order, registered_by, policy):
    """Load, register, kill in the middle of scans and moves, unload. Report what is left, and how everybody ended."""
    errors = start()
    refused = {name: put(name, value) for name, value in (("control_interval_ms", 100), ("policy", policy))}
    checkers = [
        Checker("-s", "4", "-t", "1", "-r", "0", "map", name, has_group=HAS_GROUPS) for name in ("fork", "move")
    ]
    for checker in checkers:
        refused[registered_by] = put(registered_by, REGISTERED_BY[registered_by] or checker.pid)
    is_scanned = wait_for_chunks(2 * len(checkers))
    for checker in checkers:
        checker.begin()
    is_moving = wait_until(lambda: counters()["nr_kmmscand_migrated"] >= MOVED_PAGES)
    counted = counters()
    first, second = checkers
    meddlers = []
    if number % 2:
        command = ["sh", "-c", MEDDLER, "sh", str(FOLDER), str(first.pid)]
        meddlers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        meddlers[0].stdout.readline()
    if order != "unload, kill":
        first.kill()
    if order in ("kill, unload", "kill and unload"):
        second.kill()
    ends = [first.wait(), second.wait()] if order == "kill, unload" else []
    errors += unload()["errors"]
    remains = left()
    meddled = [meddler.communicate()[0].count("done") for meddler in meddlers]
    for checker in checkers:
        checker.kill()
    ends = ends or [first.wait(), second.wait()]
    are_gone = wait_until(lambda: "churn" not in comms())
    how = {"number": number, "order": order, "registered_by": registered_by, "policy": policy, "meddled": meddled}
    was = {"is_scanned": is_scanned, "is_moving": is_moving, "are_gone": are_gone, "refused": refused}
    codes = [end["code"] for end in ends]
    report("load", **how, **was, errors=errors, codes=codes, left=remains, counted=counted)


write("/proc/sys/kernel/panic_on_oops", 1)  # who held a lock then holds it for ever
write(MODE, 0)
if os.path.exists(DEMOTION):
    write(DEMOTION, 1)
DISK_NAME, HAS_GROUPS = start_swap(), start_groups()
HAS_RECLAIM = os.path.exists(RECLAIM)
report("start", swaps_to=DISK_NAME, has_groups=HAS_GROUPS, has_reclaim=HAS_RECLAIM, errors=start())

check("nothing", [], 15)
for disturbance, rounds in ROUNDS.items():
    if disturbance == "huge":
        hurry_khugepaged()
    check(disturbance, [disturbance], rounds, reclaim if disturbance == "swap" and HAS_RECLAIM else lambda: None)
if HAS_RECLAIM:
    check("demotion", [], 15, reclaim)
check("all", ROUNDS, 1)
report("unloaded", errors=unload()["errors"], left=left())

methods = [name for name in REGISTERED_BY if HAS_GROUPS or name != "cgroup"]
rows = list(itertools.islice(itertools.cycle(itertools.product(methods, POLICIES)), LOADS))
load_and_kill(0, ORDERS[0], *rows[-1])  # what is made at the first time and kept by the kernel
before = memory()
for number, row in enumerate(rows, 1):
    load_and_kill(number, ORDERS[number % len(ORDERS)], *row)
wait_until(lambda: objects("mm_struct").get("mm_struct", 0) <= before.get("mm_struct", 0))  # workers take them apart
report("memory", before=before, after=memory())

if os.path.exists(KMEMLEAK):
    for _ in range(2):
        write(KMEMLEAK, "scan")
        time.sleep(6)  # what is younger than 5 s is not a leak yet
    report("kmemleak", found=read(KMEMLEAK))
if os.path.exists("/proc/lockdep_stats"):
    report("lockdep", stats=read("/proc/lockdep_stats"))
complaints = re.compile("WARNING|BUG|Oops|RIP:|Call Trace")
report("complaints", lines=[line for line in run("dmesg")["output"].splitlines() if complaints.search(line)])
