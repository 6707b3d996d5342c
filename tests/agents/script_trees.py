"""Copies of the file trees that the scripts of format sysfs read and write, and the scripts run on them.

A tree is that of a machine where nothing stands in the way of the target: node 0 has CPUs, node 1 memory alone, in a
tier of its own. `settings` are what a script is to put back, `notes` what it may keep while its setting is in force.
"""

import os
import subprocess
from pathlib import Path

from tierenv.agents.export import export_policy
from tierenv.agents.export.targets import TARGETS
from tierenv.daemon import load_daemon
from tierenv.scenario import Scenario, load_scenario

SCENARIO = load_scenario("skewed")
NUMA_SCENARIO = SCENARIO.under(load_daemon("numa-balancing"))
POLICY = "static:1000,1024,256"
OTHER_POLICY = "static:2000,512,16"
AS_NUMA = {POLICY: "static:16000,1024,256,100", OTHER_POLICY: "static:48000,512,16,300"}
"""Settings of NUMA balancing in their place."""
NOBODY = 65534

KMMSCAND = "sys/kernel/mm/kmmscand/mm_scan_period_ms"
NUMA = "sys/kernel/debug/sched/numa_balancing"
KNOBS = {
    "kmmscand": {KMMSCAND: "2500"},
    "numa-balancing": {
        "proc/sys/kernel/numa_balancing": "1",
        "proc/sys/kernel/numa_balancing_promote_rate_limit_MBps": "65536",
        f"{NUMA}/scan_size_mb": "256",
        f"{NUMA}/scan_period_min_ms": "1001",
        f"{NUMA}/scan_period_max_ms": "60000",
        f"{NUMA}/scan_delay_ms": "999",
        f"{NUMA}/hot_threshold_ms": "1002",
    },
}
"""Files that hold numbers, by target, with what the kernel starts with."""

APPLIED = {
    "kmmscand": {KMMSCAND: "1000"},
    "numa-balancing": {
        "proc/sys/kernel/numa_balancing": "2",
        "proc/sys/kernel/numa_balancing_promote_rate_limit_MBps": "256",
        f"{NUMA}/scan_size_mb": "1024",
        f"{NUMA}/scan_period_min_ms": "16000",
        f"{NUMA}/scan_period_max_ms": "16000",
        f"{NUMA}/scan_delay_ms": "1000",
        f"{NUMA}/hot_threshold_ms": "100",
    },
}
"""The same after `POLICY`."""

DEMOTION = "sys/kernel/mm/numa/demotion_enabled"
TIERS = "sys/devices/virtual/memory_tiering"
NODES = "sys/devices/system/node"
DAMON = "sys/kernel/mm/damon/admin/kdamonds"
SCHEME = "0/contexts/0/schemes/0"
DAMON_FILES = f"""
nr_kdamonds 0/state 0/contexts/nr_contexts 0/contexts/0/operations
0/contexts/0/monitoring_attrs/intervals/sample_us 0/contexts/0/monitoring_attrs/intervals/aggr_us
0/contexts/0/monitoring_attrs/intervals/update_us
0/contexts/0/monitoring_attrs/nr_regions/min 0/contexts/0/monitoring_attrs/nr_regions/max
0/contexts/0/targets/nr_targets 0/contexts/0/targets/0/regions/nr_regions
0/contexts/0/targets/0/regions/0/start 0/contexts/0/targets/0/regions/0/end
0/contexts/0/targets/0/regions/1/start 0/contexts/0/targets/0/regions/1/end
0/contexts/0/schemes/nr_schemes {SCHEME}/action {SCHEME}/target_nid {SCHEME}/apply_interval_us
{SCHEME}/access_pattern/sz/min {SCHEME}/access_pattern/sz/max {SCHEME}/access_pattern/nr_accesses/min
{SCHEME}/access_pattern/nr_accesses/max {SCHEME}/access_pattern/age/min {SCHEME}/access_pattern/age/max
{SCHEME}/quotas/ms {SCHEME}/quotas/bytes {SCHEME}/quotas/reset_interval_ms {SCHEME}/quotas/weights/sz_permil
{SCHEME}/quotas/weights/nr_accesses_permil {SCHEME}/quotas/weights/age_permil
{SCHEME}/filters/nr_filters {SCHEME}/filters/0/type {SCHEME}/filters/0/matching
""".split()


def write_file(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{content}\n")


def make_node(root: Path, number: int, cpus: str, blocks: tuple[int, ...]) -> None:
    """Add a node whose memory is in these blocks of 128 MiB."""
    write_file(root / NODES / f"node{number}/cpulist", cpus)
    for block in blocks:
        (root / NODES / f"node{number}/memory{block}").mkdir()


def make_tree(root: Path, target: str) -> None:
    """Make the tree of a machine under a folder; node 1 has a hole of memory in it."""
    (root / "run").mkdir(parents=True, exist_ok=True)
    make_node(root, 0, "0-63", (0, 1, 2, 3))
    make_node(root, 1, "", (9, 10, 11, 64, 65))
    write_file(root / "sys/devices/system/memory/block_size_bytes", 8000000)
    write_file(root / TIERS / "memory_tier4/nodelist", 0)
    write_file(root / TIERS / "memory_tier22/nodelist", 1)
    write_file(root / DEMOTION, "true")
    if target == "damon":
        for name in DAMON_FILES:
            write_file(root / DAMON / name, 0)
        write_file(root / DAMON / "0/state", "off")
    else:
        for name, value in KNOBS[target].items():
            write_file(root / name, value)


def make_script(
    root: Path, target: str, policy: str = POLICY, name: str = "setting.sh", *, with_demotion: bool = False
) -> Path:
    """Export a script; on which tree it runs is where it stands."""
    scenario, setting = asked_of(target, policy)
    export_policy(setting, "sysfs", root / name, scenario, target=target, with_demotion=with_demotion)
    return root / name


def asked_of(target: str, policy: str = POLICY) -> tuple[Scenario, str]:
    """Scenario and policy whose setting a target takes."""
    is_numa = TARGETS[target].mechanism == "hint-faults"
    return (NUMA_SCENARIO, AS_NUMA.get(policy, policy)) if is_numa else (SCENARIO, policy)


def run(script: Path, *arguments: str, user: int | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script on its tree to the end."""
    return subprocess.run(
        ["sh", script, *arguments],
        env=_environment(script) | environment,
        capture_output=True,
        text=True,
        timeout=60,
        user=user,
        check=False,
    )


def start(script: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a script on its tree."""
    return subprocess.Popen(
        ["sh", script, *arguments],
        env=_environment(script),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _environment(script: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "TIERENV_ROOT": str(script.parent)}


_KILLER = """\
# These programs change files: the script is killed after one of the changes, counted from 1.
step() {
    read -r count <"$TIERENV_ROOT/count"
    count=$((count + 1))
    echo $count >"$TIERENV_ROOT/count"
    if [ $count -eq @KILL_AT@ ]; then kill -9 $$; exit; fi
}
mv() { step && command mv "$@" && step; } # what it moves is written by the shell itself
rm() { command rm "$@" && step; }
tee() { command tee "$@" && step; }
"""


def with_writes_by_tee(script: Path) -> str:
    """The text of a script with `tee FILE` for every write to the kernel, where a function may stand in for it."""
    text, write = script.read_text(), 'cat >"$1"'
    assert text.count(write) == 1
    return text.replace(write, 'tee "$1" >/dev/null')


def killed_text(script: Path, number: int) -> str:
    """The text of a copy of a script that is killed (SIGKILL) at one of its changes; it counts them in a file."""
    return _KILLER.replace("@KILL_AT@", str(number)) + with_writes_by_tee(script)


def run_killed(script: Path, number: int, *arguments: str) -> bool:
    """Run a copy of a script that is killed (SIGKILL) at one of its changes; false if it ended before that one."""
    copy = script.with_name("killed.sh")
    copy.write_text(killed_text(script, number))
    write_file(script.parent / "count", 0)
    return run(copy, *arguments).returncode == -9


def contents(root: Path) -> dict[str, str]:
    """Every file of a tree."""
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def settings(root: Path, target: str) -> dict[str, str]:
    """What a script changes and is to put back: of DAMON, whether it is in use and runs."""
    names = [f"{DAMON}/nr_kdamonds", f"{DAMON}/0/state"] if target == "damon" else list(KNOBS[target])
    return {name: (root / name).read_text().strip() for name in (*names, DEMOTION)}


def notes(root: Path) -> list[str]:
    """Files that scripts keep, temporary ones included."""
    return sorted(str(path.relative_to(root)) for path in (root / "run").rglob("*") if path.is_file())
