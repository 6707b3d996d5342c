"""What /proc and /sys tell of a machine."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.live.hosts import AS_BOOTED, FAST_PAGES, SLOW_PAGES, Host, tables, tree
from tierenv.counters import COUNTERS
from tierenv.daemon import load_daemon
from tierenv.features import Count, supplied_features
from tierenv.live import kernel
from tierenv.live.controller import fault_between, sample_between
from tierenv.live.files import Refused
from tierenv.live.health import Health, HealthCommand, metrics_for
from tierenv.live.machine import FREE_FAST, OBSERVED, Machine, Reading, nodes_in
from tierenv.live.policy import Policy

TIERS = "/sys/devices/virtual/memory_tiering"


def machine(host: Host, **named: object) -> Machine:
    return Machine(str(host.root), **named)  # type: ignore[arg-type]


def test_tiers_sizes_and_counters_are_found(host: Host) -> None:
    found = machine(host)
    assert (found.fast_nodes, found.slow_nodes, found.fast_pages) == ((0,), (1,), FAST_PAGES)
    reading = found.read()
    assert reading.knobs == AS_BOOTED
    assert reading.counters["pgpromote_success"] == 1000
    assert (reading.free_pages, reading.counters[FREE_FAST]) == (host.free_pages, 20_000)


def test_whatever_a_policy_of_numa_balancing_observes_is_read() -> None:
    features = supplied_features(load_daemon("numa-balancing"))
    counted = {name for feature in features if isinstance(feature.source, Count) for name in feature.source.counters}
    assert counted == {*OBSERVED, FREE_FAST}
    assert counted <= {counter.name for counter in COUNTERS}


def test_fast_is_what_the_kernel_promotes_to_all_tiers_down_to_the_last_with_cpus(host: Host) -> None:
    tiers = {4: "2", 22: "0-1", 100: "3", 200: "4"}  # say high-bandwidth memory, DRAM, two kinds of CXL
    for number, nodes in tiers.items():
        host.put(f"{TIERS}/memory_tier{number}/nodelist", nodes)
    for node in range(5):
        host.put(f"/sys/devices/system/node/node{node}/meminfo", f"Node {node} MemTotal: {4 * SLOW_PAGES} kB")
    host.put("/sys/devices/system/node/has_cpu", "0-1")
    found = machine(host)
    assert (found.fast_nodes, found.slow_nodes) == ((2, 0, 1), (3, 4))


def test_two_tiers_with_cpus_are_refused_for_nothing_is_promoted_between_them(host: Host) -> None:
    host.put("/sys/devices/system/node/has_cpu", "0-1")
    with pytest.raises(Refused, match="nothing would be promoted"):
        machine(host)


def test_one_tier_is_refused_by_its_cause(host: Host) -> None:
    host.put(f"{TIERS}/memory_tier4/nodelist", "0-1")
    host.put(f"{TIERS}/memory_tier22/nodelist", "")
    with pytest.raises(Refused, match=r"all memory is in one tier \(nodes 0, 1\), so nothing would be promoted"):
        machine(host)


@pytest.mark.parametrize("name", OBSERVED)
def test_a_counter_that_the_kernel_lacks_is_named(name: str, host: Host) -> None:
    del host.vmstat[name]
    host.show()
    assert machine(host).missing_counters() == [name]
    with pytest.raises(Refused, match=f"has no {name}"):
        machine(host).read()


@pytest.mark.parametrize(("text", "nodes"), [("0", (0,)), ("0-2,5", (0, 1, 2, 5)), ("", ()), ("x", ()), ("1-", (1,))])
def test_node_lists(text: str, nodes: tuple[int, ...]) -> None:
    assert nodes_in(text) == nodes


def test_resident_is_anonymous_and_file_memory_of_the_tiers_unless_processes_are_named(host: Host) -> None:
    assert machine(host).read().resident_pages == 100_000 + 200_000 + 2 * 1000
    host.start_process(7, pages=500)
    host.put("/sys/fs/cgroup/db.slice/memory.stat", f"anon {4096 * 30}\nfile {4096 * 10}\nslab 4096")
    assert machine(host, pids=[7], cgroups=["db.slice"]).read().resident_pages == 500 + 40


def test_processes_that_are_gone_end_it(host: Host) -> None:
    host.start_process(7, pages=500)
    named = machine(host, pids=[7, 8])
    assert not named.has_ended()
    shutil.rmtree(host.root / "proc/7")
    assert named.has_ended()
    assert named.read().resident_pages == 0
    assert not machine(host).has_ended()


@pytest.mark.parametrize("other", [{"started": 2}, {"state": "Z"}])
def test_another_process_of_the_same_number_and_a_zombie_are_not_the_one_that_was_named(
    other: dict[str, Any], host: Host
) -> None:
    host.start_process(7, pages=500)
    named = machine(host, pids=[7])
    host.start_process(7, pages=900, **other)
    assert named.has_ended()
    assert named.read().resident_pages == 0


def test_a_cgroup_that_is_gone_ends_it(host: Host) -> None:
    host.put("/sys/fs/cgroup/db.slice/memory.stat", "anon 4096")
    named = machine(host, cgroups=["db.slice"])
    assert not named.has_ended()
    shutil.rmtree(host.root / "sys/fs/cgroup/db.slice")
    assert named.has_ended()


def later(reading: Reading, seconds: float = 2.0, asleep_s: float = 0.0, **counters: int) -> Reading:
    return replace(
        reading,
        monotonic_ns=reading.monotonic_ns + round(1e9 * seconds),
        boottime_ns=reading.boottime_ns + round(1e9 * (seconds + asleep_s)),
        counters=reading.counters | {"pgfault": reading.counters["pgfault"] + 1} | counters,
    )


def test_a_reading_an_interval_later_is_a_sample(host: Host) -> None:
    earlier = machine(host).read()
    assert fault_between(earlier, later(earlier), 2.0) is None
    # the free pages are no count: they may fall
    assert fault_between(earlier, later(earlier, **{FREE_FAST: 1}), 2.0) is None


def test_what_is_no_sample_is_said(host: Host) -> None:
    earlier = machine(host).read()
    assert fault_between(earlier, later(earlier, asleep_s=3600), 2.0) == "the machine was suspended for 3600.0 s"
    assert fault_between(earlier, later(earlier, 60.0), 2.0) == "60.0 s since the last reading, an interval is 2 s"
    assert "0.0 s since" in str(fault_between(earlier, later(earlier, 0.0), 2.0))
    assert "-5.0 s since" in str(fault_between(earlier, later(earlier, -5.0), 2.0))
    backwards = later(earlier, pgpromote_success=1)
    assert fault_between(earlier, backwards, 2.0) == "counters went backwards: pgpromote_success"
    still = later(earlier, pgfault=earlier.counters["pgfault"])
    assert fault_between(earlier, still, 2.0) == "counters stand still: not even a page fault"
    gone = replace(later(earlier), resident_pages=0)
    assert fault_between(earlier, gone, 2.0) == "what is steered has no resident memory"
    fewer = later(earlier)
    del fewer.counters["pgfault"]
    assert fault_between(earlier, fewer, 2.0) == "counters vanished: pgfault"


def test_a_sample_holds_growth_levels_and_what_was_read_back(host: Host, tmp_path: Path) -> None:
    earlier = machine(host).read()
    following = later(earlier, numa_hint_faults=1700, **{FREE_FAST: 5})
    following.knobs[kernel.RATE_LIMIT] = 64
    sample = sample_between(earlier, following, Policy(tables(tmp_path / "bundle", tree())), machine(host).sizes)
    assert sample["numa_hint_faults"] == 700
    assert sample["free_fast_pages"] == 5
    assert sample["elapsed_ns"] == 2 * 10**9
    assert sample["throttle_bytes_per_s"] == 64 << 20
    assert sample["fast_node_pages"] == FAST_PAGES


def test_health_is_what_went_up_and_down_again_not_what_a_throttle_held_back(host: Host) -> None:
    earlier = replace(machine(host).read(), pressure_us=0)
    grown = {"pgpromote_success": 1200, "pgdemote_kswapd": 1100, "pgpromote_candidate": 900_000, "pgmigrate_fail": 1010}
    following = later(earlier, **grown)
    assert Health().after(earlier, replace(following, pressure_us=100_000), None) == {
        "churn_pages_per_s": 50.0,
        "failed_migrations_per_s": 5.0,
        "memory_pressure_share": 0.05,
    }
    assert Health().after(earlier, replace(following, pressure_us=None), 7.0)["health_command"] == 7.0
    assert "memory_pressure_share" not in Health().after(earlier, replace(following, pressure_us=None), None)


def test_churn_is_seen_though_pages_come_up_in_one_interval_and_go_down_in_another(host: Host) -> None:
    health, reading, churn = Health(), machine(host).read(), []
    for index in range(9):
        name = "pgdemote_kswapd" if index % 2 else "pgpromote_success"
        following = later(reading, **{name: reading.counters[name] + 1000})
        churn.append(health.after(reading, following, None)["churn_pages_per_s"])
        reading = following
    assert churn[0] == 0.0
    assert churn[4:] == [200.0] * 5  # 2,000 pages each way in 10 s


def test_demotions_count_whoever_makes_them(host: Host) -> None:
    host.vmstat |= {"pgdemote_direct": 0, "pgdemote_proactive": 0}
    host.show()
    earlier = machine(host).read()
    following = later(earlier, pgpromote_success=1400, pgdemote_direct=100, pgdemote_proactive=100)
    assert Health().after(earlier, following, None)["churn_pages_per_s"] == 100.0


def test_no_machine_is_so_large_that_nothing_is_churn() -> None:
    by_size = [metrics_for(pages, has_pressure=True, has_command=True)[0].allowance for pages in (1 << 20, 1 << 28)]
    assert by_size == [(1 << 20) / 120, 1 << 16]


@pytest.mark.parametrize(
    ("program", "number"),
    [
        ('["/bin/echo", "12.5"]', 12.5),
        ('["/bin/echo", "nan"]', None),
        ('["/bin/echo", "a word"]', None),
        ('["/bin/false"]', None),
        ('["/bin/sleep", "20"]', None),
        ('["/no/such/program"]', None),
        ('["/bin/echo", "7; touch /tmp/tierenv-live-was-here"]', None),
    ],
)
def test_a_health_command_gives_a_number_or_none(program: str, number: float | None, tmp_path: Path) -> None:
    file = tmp_path / "health.json"
    file.write_text(program)
    assert HealthCommand(str(file)).number() == number


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_health_command_runs_as_nobody_with_a_clean_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "5")
    file = tmp_path / "health.json"
    for program, number in (("id -u", 65534.0), ("id -G", 65534.0), ("echo ${SECRET:-0}", 0.0)):
        file.write_text(json.dumps(["/bin/sh", "-c", program]))
        assert HealthCommand(str(file)).number() == number


def test_a_health_command_leaves_nothing_behind_and_takes_no_more_than_a_number(tmp_path: Path) -> None:
    file = tmp_path / "health.json"
    file.write_text(json.dumps(["/bin/sh", "-c", "(sleep 1.5; echo 1 > '/dev/shm/tierenv-live-test') & echo 3"]))
    assert HealthCommand(str(file)).number() in (3.0, None)
    file.write_text(json.dumps(["/usr/bin/yes", "1"]))
    assert HealthCommand(str(file)).number() is None
    time.sleep(2)
    assert not Path("/dev/shm/tierenv-live-test").exists()


@pytest.mark.parametrize("content", ["", "{}", "[]", '["echo", "1"]', "[1]", '["/bin/echo\\u0000"]', "not json"])
def test_a_file_that_holds_no_program_is_refused(content: str, tmp_path: Path) -> None:
    file = tmp_path / "health.json"
    file.write_text(content)
    with pytest.raises(Refused, match="must hold a program and its arguments"):
        HealthCommand(str(file))


def test_a_health_command_that_others_can_write_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "health.json"
    file.write_text('["/bin/true"]')
    file.chmod(0o666)
    with pytest.raises(Refused, match="only its owner"):
        HealthCommand(str(file))
    link = tmp_path / "link.json"
    link.symlink_to(file)
    with pytest.raises(Refused):
        HealthCommand(str(link))
