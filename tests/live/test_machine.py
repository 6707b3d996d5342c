"""What /proc and /sys tell of a machine."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.live.hosts import AS_BOOTED, FAST_PAGES, SLOW_PAGES, Host, tables, tree
from tierenv.counters import COUNTERS
from tierenv.daemon import load_daemon
from tierenv.features import Count, supplied_features
from tierenv.live import kernel
from tierenv.live.controller import fault_between, sample_between
from tierenv.live.files import Refused
from tierenv.live.health import HealthCommand, health_between
from tierenv.live.machine import FREE_FAST, OBSERVED, Machine, Reading, nodes_in
from tierenv.live.policy import Policy

TIERS = "/sys/devices/virtual/memory_tiering"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


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


def test_a_lower_tier_number_is_faster_and_all_others_are_slow(host: Host) -> None:
    host.put(f"{TIERS}/memory_tier4/nodelist", "0-1")
    host.put(f"{TIERS}/memory_tier22/nodelist", "3")
    host.put(f"{TIERS}/memory_tier100/nodelist", "2")
    for node in (2, 3):
        host.put(f"/sys/devices/system/node/node{node}/meminfo", f"Node {node} MemTotal: {4 * SLOW_PAGES} kB")
    found = machine(host)
    assert (found.fast_nodes, found.slow_nodes) == ((0, 1), (3, 2))


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
    host.put("/proc/7/statm", "900 500 100 1 0 90 0")
    host.put("/sys/fs/cgroup/db.slice/memory.stat", f"anon {4096 * 30}\nfile {4096 * 10}\nslab 4096")
    assert machine(host, pids=[7], cgroups=["db.slice"]).read().resident_pages == 500 + 40


def test_processes_that_are_gone_end_it(host: Host) -> None:
    host.put("/proc/7/statm", "900 500 100 1 0 90 0")
    named = machine(host, pids=[7, 8])
    assert not named.has_ended()
    (host.root / "proc/7/statm").unlink()
    assert named.has_ended()
    assert named.read().resident_pages == 0
    assert not machine(host).has_ended()


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
    fewer = later(earlier)
    del fewer.counters["pgfault"]
    assert fault_between(earlier, fewer, 2.0) == "counters vanished: pgfault"


def test_a_sample_holds_growth_levels_and_what_was_read_back(host: Host, tmp_path: Path) -> None:
    earlier = machine(host).read()
    following = later(earlier, numa_hint_faults=1700, **{FREE_FAST: 5})
    following.knobs[kernel.RATE_LIMIT] = 64
    sample = sample_between(earlier, following, Policy(tables(tmp_path / "bundle", tree())), FAST_PAGES)
    assert sample["numa_hint_faults"] == 700
    assert sample["free_fast_pages"] == 5
    assert sample["elapsed_ns"] == 2 * 10**9
    assert sample["throttle_bytes_per_s"] == 64 << 20
    assert sample["fast_node_pages"] == FAST_PAGES


def test_health_is_what_went_up_and_down_again_not_what_a_throttle_held_back(host: Host) -> None:
    earlier = replace(machine(host).read(), pressure_us=0)
    following = later(
        earlier, pgpromote_success=1200, pgdemote_kswapd=1100, pgpromote_candidate=900_000, pgmigrate_fail=1010
    )
    assert health_between(earlier, replace(following, pressure_us=100_000)) == {
        "churn_pages_per_s": 50.0,
        "failed_migrations_per_s": 5.0,
        "memory_pressure_share": 0.05,
    }
    assert "memory_pressure_share" not in health_between(earlier, replace(following, pressure_us=None))


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
