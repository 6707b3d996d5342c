"""What the daemon does in this kernel: finds, moves, keeps its limits, takes what is written at once, and decides."""

import os
import re
import time

from steps import DEMOTION, Benchmark, read, report, run, write
from steps import counters as vmstat
from tierd import (
    DECISIONS,
    FOLDER,
    Watched,
    counters,
    get,
    growth,
    load,
    processes,
    put,
    start_trace,
    stop_trace,
    unload,
    wait_for_chunks,
)

SMALL = ("-s", "64", "-m", "moving", "-b", "1", "-d", "38")
"""So slow that few pages that are not hot are touched in two windows of a quarter of a second: emulated, the move of a
lone page takes a millisecond."""
BUSY = ("-s", "64", "-m", "moving", "-b", "1", "-d", "2")
LARGE = ("-s", "160", "-m", "moving", "-t", "1", "-b", "1", "-d", "5")
MOVES_S = 3
LOCKDOWN = "/sys/kernel/security/lockdown"
REFUSED = {
    "scan_period_ms": ("9", "20001", "-1", "x", "unlimited", "18446744073709551617"),
    "scan_size_bytes": ("4095", "17179869185", "18446744073709551615"),
    "throttle_bytes_per_s": ("1", "4294967297", "18446744073709551615", "1.5"),
    "policy": ("learned", "", "of", "offf"),
    "control_interval_ms": ("0", "3600001"),
    "processes": ("0", "x", "999999", "1 11", "1 x", "1 1 1", "-999999", "-1 1", "2", "4294967297", "1 4294967296"),
    "command": ("a-name-too-long-for-a-command",),
    "cgroup": ("/nowhere",),
    "state_bytes_max": ("1",),
    "cpu_percent": ("0", "101"),
    "flush_tlb": ("2",),
}


def attributes():
    """Modes and contents."""
    return {path.name: [oct(path.stat().st_mode & 0o777), path.read_text()] for path in sorted(FOLDER.iterdir())}


def check_attributes():
    before = attributes()
    errors = {name: {value: put(name, value) for value in values} for name, values in REFUSED.items()}
    report("attributes", before=before, errors=errors, after=attributes())


def find_hot_pages():
    """Five chunks end four periods after the first."""
    put("scan_period_ms", 250)
    benchmark = Watched(*SMALL)
    before = counters()
    wait_for_chunks(5, benchmark.pid)
    time.sleep(0.1)
    report("recall", **growth(before), end=benchmark.stop())


def keep_the_throttle():
    """Pages promoted, by when, at one limit and then another; then none at all."""
    put("scan_period_ms", 100)
    put("throttle_bytes_per_s", 1 << 20)
    benchmark = Watched(*BUSY)
    wait_for_chunks(3, benchmark.pid)
    for mib, seconds in ((1, 3.2), (4, 1.3)):
        put("throttle_bytes_per_s", mib << 20)
        samples, until_s = [], time.monotonic() + seconds
        while time.monotonic() < until_s:
            samples.append([time.monotonic(), counters()["nr_kmmscand_migrated"]])
            time.sleep(0.02)
        report("throttle", bytes_per_s=mib << 20, samples=samples)
    put("throttle_bytes_per_s", 0)
    before = counters()
    time.sleep(0.5)
    report("throttle 0", **growth(before))
    benchmark.stop()
    put("throttle_bytes_per_s", "unlimited")


def change_the_period():
    """Chunks in the second after a write."""
    put("scan_period_ms", 20000)
    benchmark = Watched(*SMALL)
    wait_for_chunks(1, benchmark.pid)
    for period_ms in (100, 500):
        put("scan_period_ms", period_ms)
        before = counters()
        time.sleep(1)
        report("period", period_ms=period_ms, **growth(before))
    benchmark.stop()


def bound_the_chunks():
    put("scan_period_ms", 10)
    put("scan_size_bytes", 16 << 20)
    start_trace()
    benchmark = Watched(*SMALL)
    wait_for_chunks(12, benchmark.pid)
    report("size", size_bytes=16 << 20, events=stop_trace(), end=benchmark.stop())
    put("scan_size_bytes", 1 << 30)


def follow_the_rule():
    """What the kernel's rule makes of a process, and a scale of 0."""
    put("scan_period_ms", 100)
    put("policy", "rule")
    start_trace()
    benchmark = Watched(*SMALL)
    wait_for_chunks(8, benchmark.pid)
    report("ruled", row=processes()[benchmark.pid])
    put("processes", f"{benchmark.pid} 0")
    time.sleep(0.1)  # a chunk that is under way goes on to its end
    row, before = processes()[benchmark.pid], counters()
    time.sleep(0.5)
    report("rule", events=stop_trace(), row=row, skipped=growth(before), tunables=attributes())
    put("policy", "off")
    report("held", row=processes()[benchmark.pid])
    benchmark.stop()


def bound_the_state():
    """With room for a few page tables and no list."""
    put("scan_period_ms", 100)
    put("state_bytes_max", 65536)
    benchmark, before = Watched("-s", "64", "-m", "moving", "-d", "0"), counters()
    wait_for_chunks(4, benchmark.pid)
    report("state", most=65536, **growth(before), now=counters()["state_bytes"])
    benchmark.stop()
    put("state_bytes_max", 1 << 28)


def bound_the_processor():
    put("scan_period_ms", 10)
    benchmark = Watched(*SMALL)
    wait_for_chunks(1, benchmark.pid)
    for percent in (100, 5):
        put("cpu_percent", percent)
        before, start_s = counters(), time.monotonic()
        time.sleep(0.5)
        report("processor", percent=percent, seconds=time.monotonic() - start_s, **growth(before))
    put("cpu_percent", 100)
    benchmark.stop()


def adopt():
    """By name and by control group, as long as there is something to adopt."""
    benchmark = Benchmark(*SMALL)
    put("command", "abench")
    time.sleep(0.1)
    by_name = list(processes())
    put("command", "")
    put("processes", "-0")
    os.makedirs("/sys/fs/cgroup/some/group", exist_ok=True)
    write("/sys/fs/cgroup/some/group/cgroup.procs", benchmark.pid)
    put("cgroup", "/some")
    time.sleep(0.1)
    report("adopted", pid=benchmark.pid, by_name=by_name, by_group=list(processes()), group=get("cgroup"))
    benchmark.stop()
    time.sleep(0.1)
    report("exited", processes=list(processes()))
    put("cgroup", "")


def cooperate_with_demotion():
    """A fast node that is nearly full, and a hot set that moves."""
    write(DEMOTION, 1)
    put("scan_period_ms", 250)
    free_mib = int(re.search(r"MemFree: +(\d+)", read("/sys/devices/system/node/node0/meminfo"))[1]) >> 10
    filler = Benchmark("-n", "0", "-s", str(free_mib - 40), "-d", "1000000", "-b", "1", "-t", "1")
    demoted = vmstat()["pgdemote_kswapd"]
    benchmark = Watched(*LARGE, "-p", str(MOVES_S))
    before = counters()
    seconds = [benchmark.look() for _ in range(8)]
    demoted = vmstat()["pgdemote_kswapd"] - demoted
    report("demotion", free_mib=free_mib, moves_s=MOVES_S, seconds=seconds, demoted=demoted, **growth(before))
    benchmark.stop()
    filler.stop()
    write(DEMOTION, 0)


def decide():
    """By a learned policy, from the first decision on; before that, where nobody tells it of the machine."""
    report("load untold", **run("insmod", "/modules/learned/tierd.ko"), message=run("dmesg")["output"].splitlines()[-1])
    report("load learned", **load("learned"))
    benchmark = Watched(*SMALL, "-p", "1")
    put("policy", "learned")  # begins anew
    time.sleep(2.6)
    put("policy", "off")
    report("decisions", log=DECISIONS.read_bytes().hex(), in_force=attributes(), **counters())
    benchmark.stop()
    report("unload", **unload())


def fail():
    """A policy that decides on what is out of range."""
    load("broken")
    time.sleep(0.6)
    report("broken", attributes=attributes(), message=run("dmesg")["output"].splitlines()[-1])
    unload()


def follow_the_document():
    """The commands of docs/daemon.md, beside the program that they are about."""
    benchmark = Benchmark(*SMALL)
    os.chdir("/modules")
    for command in read("/exports/daemon-commands").splitlines():
        report("document", command=command, **run("sh", "-c", command))
        time.sleep(0.1)
    benchmark.stop()


def refuse():
    """Where the kernel is locked down."""
    write(LOCKDOWN, "integrity")
    report("refused", **load("static"), message=run("dmesg")["output"].splitlines()[-1])


def leave():
    names = run("ps", "-e", "-o", "comm")["output"].split()
    report(
        "gone", folder=FOLDER.exists(), debugfs=DECISIONS.parent.exists(), threads=[n for n in names if "tierd" in n]
    )


write("/proc/sys/kernel/numa_balancing", 0)
run("mount", "-t", "cgroup2", "none", "/sys/fs/cgroup")
report("load", **load("static"), message=run("dmesg")["output"].splitlines()[-1])
for step in (
    check_attributes,
    find_hot_pages,
    keep_the_throttle,
    change_the_period,
    bound_the_chunks,
    follow_the_rule,
    bound_the_state,
    bound_the_processor,
    adopt,
    cooperate_with_demotion,
):
    start_s = time.monotonic()
    step()
    report("took", name=step.__name__, seconds=time.monotonic() - start_s)
report("unload", **unload())
decide()
fail()
follow_the_document()
leave()
if os.path.exists(LOCKDOWN):
    refuse()
report(
    "complaints",
    lines=[line for line in run("dmesg")["output"].splitlines() if re.search("WARNING|BUG|Oops|RIP", line)],
)
