"""Applications: time of an access, alone and beside others, and how a run's length follows from it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from tests.sim.machines import process_of, start, with_workload
from tests.tiny import tiny
from tierenv.counters import MIGRATED, SCANNER_NS
from tierenv.daemon import load_daemon
from tierenv.platform import MemoryTier, Platform
from tierenv.scenario import Process, Scenario, load_scenario
from tierenv.shrink import (
    shrink,
)
from tierenv.sim.application import access_time, solve_rates
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.pages.system import (
    PagesSystem,
)
from tierenv.sim.parameters import ScenarioArrays, access_time_s, scenario_arrays
from tierenv.units import CACHE_LINE_BYTES

Floats = NDArray[np.float64]

SHARES = st.floats(0, 1)
COPIES = st.floats(0, 20e9)
"""Bytes/s the kernel copies between the tiers."""


FAST, REMOTE, SLOW = np.eye(3)
"""Shares of accesses that land on node 0, node 1 or the slow node alone."""


def access_s(arrays: ScenarioArrays, shares: ArrayLike, copied: float = 0.0) -> float:
    """Time of an access of the first process while others read `copied` bytes/s on every link [s]."""
    links = arrays.links.copy()
    links["busy"] = copied / links["bandwidth"]
    return access_time(arrays.parameters[()], arrays.processes[0], links, np.asarray(shares, dtype=np.float64))


def loaded_latency(tier: MemoryTier, read: float, written: float = 0.0, store_share: float = 0.0) -> float:
    """Latency of an access beside so many bytes/s read and written [s]."""
    use = read / tier.bandwidth + written / (tier.store_bandwidth or tier.bandwidth)
    assert use < 1, "no more than the link carries"
    store_s = tier.store_latency or tier.idle_latency
    unloaded_s = (1 - store_share) * tier.idle_latency + store_share * store_s
    return unloaded_s + tier.queueing_latency * use / (1 - use)


@given(st.sampled_from(["abench-8g", "abench-64g", "skewed"]), st.integers(4, 1024), SHARES, COPIES)
def test_access_time_and_bandwidth_in_use_agree(name: str, threads: int, share: float, copied: float) -> None:
    scenario = load_scenario(name)
    workload = scenario.workload.model_copy(update={"threads": threads})
    scenario = scenario.model_copy(update={"workload": workload})
    seconds = access_s(scenario_arrays(scenario), [share, 1 - share], copied)
    traffic = threads / seconds * CACHE_LINE_BYTES
    platform = scenario.platform
    latency = share * loaded_latency(platform.dram, share * traffic + copied)
    latency += (1 - share) * loaded_latency(platform.cxl, (1 - share) * traffic + copied)
    latency += scenario.page_walk_s(scenario.processes[0])
    assert seconds == pytest.approx(workload.think + latency / workload.memory_parallelism, rel=1e-6)


@given(
    threads=st.integers(1, 512),
    fast=SHARES,
    stores=SHARES,
    hits=st.floats(0, 0.95),
    traffic=st.integers(1, 1024),
    store_bandwidth=st.one_of(st.none(), st.floats(2e9, 100e9)),
    store_latency=st.one_of(st.none(), st.floats(10e-9, 500e-9)),
    copied=COPIES,
)
def test_access_time_agrees_with_what_is_read_and_written(
    threads: int,
    fast: float,
    stores: float,
    hits: float,
    traffic: int,
    store_bandwidth: float | None,
    store_latency: float | None,
    copied: float,
) -> None:
    like = load_scenario("skewed")
    tier = like.platform.cxl.model_copy(update={"store_bandwidth": store_bandwidth, "store_latency": store_latency})
    kind = {"threads": threads, "store_share": stores, "cache_hit_share": hits, "traffic_per_access": traffic}
    scenario = with_workload(like, **kind).model_copy(
        update={"platform": like.platform.model_copy(update={"cxl": tier})}
    )
    seconds = access_s(scenario_arrays(scenario), [fast, 1 - fast], copied)
    misses = threads / seconds * (1 - hits)
    read, written = misses * traffic, misses * stores * CACHE_LINE_BYTES
    dram = loaded_latency(scenario.platform.dram, fast * read + copied, fast * written, stores)
    cxl = loaded_latency(tier, (1 - fast) * read + copied, (1 - fast) * written, stores)
    latency = fast * dram + (1 - fast) * cxl + scenario.page_walk_s(scenario.processes[0])
    workload = scenario.workload
    expected = workload.think + (1 - hits) * latency / workload.memory_parallelism
    assert seconds == pytest.approx(expected, rel=1e-6)


def slow_access_s(tier: dict[str, object] | None = None, **workload: object) -> float:
    """Time of an access of abench-8g to the slow node, when that and the workload differ in this [s]."""
    scenario = with_workload(load_scenario("abench-8g"), **workload)
    cxl = scenario.platform.cxl.model_copy(update={"store_bandwidth": None} | (tier or {}))
    platform = scenario.platform.model_copy(update={"cxl": cxl})
    return float(access_time_s(scenario.model_copy(update={"platform": platform}), 0.0))


def test_a_cache_serves_its_share_of_the_accesses_in_no_time() -> None:
    crowded = {"threads": 1, "think": 10e-9}
    whole_s = slow_access_s({"queueing_latency": 0.0}, **crowded) - 10e-9
    assert slow_access_s({"queueing_latency": 0.0}, **crowded, cache_hit_share=0.75) == pytest.approx(
        10e-9 + 0.25 * whole_s
    )


def test_traffic_beside_the_line_and_lines_written_back_fill_a_link_sooner() -> None:
    full = {"threads": 10**5}
    plain_s = slow_access_s(**full)
    assert slow_access_s(**full, traffic_per_access=4 * CACHE_LINE_BYTES) == pytest.approx(4 * plain_s, rel=0.02)
    assert slow_access_s(**full, store_share=1.0) == pytest.approx(2 * plain_s, rel=0.02)
    bandwidth = load_scenario("abench-8g").platform.cxl.bandwidth
    narrow = {"store_bandwidth": bandwidth / 3}
    assert slow_access_s(narrow, **full, store_share=1.0) == pytest.approx(4 * plain_s, rel=0.02)
    assert slow_access_s(narrow, **full) == pytest.approx(plain_s)


def test_a_store_takes_its_own_latency_and_a_load_its_own() -> None:
    few = {"threads": 1, "memory_parallelism": 2.0}
    quick = {"queueing_latency": 0.0, "store_latency": 1e-9}
    idle_s = load_scenario("abench-8g").platform.cxl.idle_latency
    load_s = slow_access_s(quick, **few)
    assert load_s == pytest.approx(slow_access_s({"queueing_latency": 0.0}, **few))
    for share in (0.25, 1.0):
        assert load_s - slow_access_s(quick, **few, store_share=share) == pytest.approx(share * (idle_s - 1e-9) / 2)


def test_a_process_that_writes_and_prefetches_leaves_its_neighbour_less_of_the_link() -> None:
    def neighbour_s(**changes: object) -> float:
        scenario = twice()
        corunner = scenario.corunners[0]
        busy = corunner.model_copy(update={"workload": corunner.workload.model_copy(update=changes)})
        return 64 / rates(scenario_arrays(scenario.model_copy(update={"corunners": (busy,)})), [SLOW, SLOW])[0]

    plain_s = neighbour_s()
    assert neighbour_s(traffic_per_access=128) > 1.01 * plain_s
    assert neighbour_s(store_share=1.0) > 1.01 * plain_s
    idling_s = neighbour_s(think=50e-9)
    assert neighbour_s(think=50e-9, cache_hit_share=0.9) < idling_s / 1.001


@given(st.sampled_from(["abench-8g", "abench-64g", "skewed"]), SHARES, SHARES)
def test_more_accesses_on_the_fast_tier_never_slow_the_application(name: str, one: float, other: float) -> None:
    slower, faster = access_time_s(load_scenario(name), sorted((one, other)))
    assert faster <= slower * (1 + 1e-9)


@given(SHARES, COPIES, COPIES)
def test_copies_never_speed_the_application_up(share: float, one: float, other: float) -> None:
    arrays = scenario_arrays(load_scenario("abench-16g"))
    few, many = sorted((one, other))
    shares = [share, 1 - share]
    assert access_s(arrays, shares, few) <= access_s(arrays, shares, many) * (1 + 1e-9)


def test_links_bound_the_rate_of_any_number_of_threads() -> None:
    scenario = load_scenario("abench-8g")
    crowd = scenario.model_copy(update={"workload": scenario.workload.model_copy(update={"threads": 10**6})})
    rate = 1e6 / access_time_s(crowd, 0.0)
    assert 0.9 < rate * CACHE_LINE_BYTES / scenario.platform.cxl.bandwidth < 1


def beside(scenario: Scenario, *corunners: Process) -> Scenario:
    """The scenario with corunners, and with node 1 in the fast tier."""
    return scenario.replace(corunners=corunners, remote_fast_capacity=f"{scenario.fast_capacity}B")


def twice(**changes: object) -> Scenario:
    """abench-8g beside another abench of that size, which differs in this."""
    scenario = load_scenario("abench-8g")
    return beside(scenario, process_of(scenario, **changes))


def rates(arrays: ScenarioArrays, shares: ArrayLike, running: ArrayLike = True, copied: float = 0.0) -> Floats:
    """Access rate of each process when these are running and the kernel copies `copied` bytes/s on every link [1/s]."""
    processes, links = arrays.processes.copy(), arrays.links.copy()
    processes["is_running"] = running
    links["copied_per_s"] = copied
    solve_rates(arrays.parameters[()], processes, links, np.asarray(shares, dtype=np.float64))
    return processes["access_rate"]


@st.composite
def node_shares(draw: st.DrawFn) -> list[float]:
    """Shares of a process's accesses on node 0, node 1 and the slow node."""
    low, high = sorted((draw(SHARES), draw(SHARES)))
    return [low, high - low, 1 - high]


def latency_from(platform: Platform, cpu_node: int, traffic: Floats) -> Floats:
    """Latency of the three nodes as seen from a socket, at this traffic on their links [s]."""
    tiers = (platform.dram, platform.dram, platform.cxl)
    latency = np.array([loaded_latency(tier, use) for tier, use in zip(tiers, traffic, strict=True)])
    latency[1 - cpu_node] += platform.remote_latency
    return latency


@given(
    st.sampled_from(["abench-8g", "abench-64g", "skewed"]),
    st.tuples(st.integers(4, 1024), st.integers(4, 1024)),
    st.tuples(node_shares(), node_shares()),
    st.sampled_from([0, 1]),
    COPIES,
)
def test_rates_of_two_processes_and_the_traffic_of_both_agree(
    name: str, threads: tuple[int, int], shares: tuple[list[float], list[float]], cpu_node: int, copied: float
) -> None:
    scenario, other = (
        with_workload(load_scenario(each), threads=count)
        for each, count in zip((name, "moving-hot-set"), threads, strict=True)
    )
    scenario = beside(scenario, process_of(other, cpu_node=cpu_node))
    found = rates(scenario_arrays(scenario), shares, copied=copied)
    traffic = copied + found @ np.array(shares) * CACHE_LINE_BYTES
    for rate, process, share in zip(found, scenario.processes, shares, strict=True):
        latency = np.array(share) @ latency_from(scenario.platform, process.cpu_node, traffic)
        walk = scenario.page_walk_s(process)
        expected_s = process.workload.think + (latency + walk) / process.workload.memory_parallelism
        assert process.workload.threads / rate == pytest.approx(expected_s, rel=1e-5)


def test_a_process_that_is_not_running_has_no_rate_and_slows_nobody() -> None:
    scenario = twice()
    alone = 1 / access_s(scenario_arrays(scenario), SLOW) * scenario.workload.threads
    assert rates(scenario_arrays(scenario), [SLOW, SLOW], [True, False]).tolist() == pytest.approx([alone, 0])


@pytest.mark.parametrize("cpu_node", [0, 1])
def test_the_other_socket_s_dram_costs_the_remote_latency_more_and_the_slow_node_the_same(cpu_node: int) -> None:
    scenario = without_queueing(twice(cpu_node=cpu_node))
    arrays = scenario_arrays(scenario)
    near, far = (FAST, REMOTE) if cpu_node == 0 else (REMOTE, FAST)
    near_s, far_s, slow_s = (64 / rates(arrays, [FAST, shares])[1] for shares in (near, far, SLOW))
    assert far_s - near_s == pytest.approx(scenario.platform.remote_latency / scenario.workload.memory_parallelism)
    assert slow_s == pytest.approx(access_s(arrays, SLOW))


def test_a_socket_without_a_node_in_the_fast_tier_is_remote_to_the_one_there_is() -> None:
    scenario = without_queueing(twice(cpu_node=1)).replace(remote_fast_capacity="0B")
    near_s, far_s = (float(access_time_s(scenario, 1.0, process)) for process in (0, 1))
    assert far_s - near_s == pytest.approx(scenario.platform.remote_latency / scenario.workload.memory_parallelism)


@pytest.mark.parametrize("shares", [FAST, REMOTE, SLOW, (0.5, 0.2, 0.3)])
def test_two_equal_processes_are_equally_fast_and_slower_than_one_alone(shares: ArrayLike) -> None:
    arrays = scenario_arrays(twice())
    one, other = rates(arrays, [shares, shares])
    alone, nobody = rates(arrays, [shares, shares], [True, False])
    assert one == pytest.approx(other, rel=1e-6) and one < alone * (1 - 1e-3) and nobody == 0


def test_processes_on_links_of_their_own_do_not_slow_each_other() -> None:
    arrays = scenario_arrays(twice(cpu_node=1))
    assert rates(arrays, [FAST, REMOTE]) == pytest.approx(64 / access_s(arrays, FAST))


def test_two_equal_runs_end_together_and_later_than_one_alone() -> None:
    scenario = twice().replace(control="off")
    together, alone = start(scenario), start(scenario.replace(corunners=()))
    for system in (together, alone):
        system.run_to_end()
    expected_s = scenario.processes[0].total_accesses / rates(scenario_arrays(scenario), [SLOW, SLOW])
    assert together.finished_s[0] == pytest.approx(expected_s)
    assert together.elapsed_s[0] == together.finished_s.max() > 1.001 * alone.elapsed_s[0]


def without_queueing(scenario: Scenario) -> Scenario:
    """The scenario with links whose load does not matter."""
    platform = scenario.platform
    tiers = {name: getattr(platform, name).model_copy(update={"queueing_latency": 0.0}) for name in ("dram", "cxl")}
    return scenario.model_copy(update={"platform": platform.model_copy(update=tiers)})


def steady_migrator() -> Scenario:
    """abench-8g under kmmscand-v1: every page is listed at the first visit and promoted one by one.

    Nothing queues or stalls, so the time of an access falls linearly while the migrator is at work.
    """
    scenario = without_queueing(load_scenario("abench-8g"))
    platform = scenario.platform.model_copy(update={"shootdown_receiver": 0.0, "accessed_bit": 0.0})
    daemon = load_daemon("kmmscand-v1")
    return scenario.replace(daemon=daemon, control="kernel-rule", platform=platform)


@pytest.mark.parametrize("system_type", [LumpedSystem, PagesSystem])
def test_linear_ramp_of_promotions_matches_the_closed_form(system_type: type) -> None:
    scenario = shrink(steady_migrator(), 8192)
    system = system_type([scenario]) if system_type is LumpedSystem else system_type(scenario)
    system.reset(np.array([1], np.uint64), ["training"])
    slow_s, fast_s = (float(seconds) * scenario.total_accesses / 64 for seconds in access_time_s(scenario, [0, 1]))
    ramp_s = scenario.pages * scenario.migration_s

    while system.counters[0, MIGRATED] == 0:
        system.advance(0.01)
    started_s = system.elapsed_s[0]
    assert 1 < started_s < 1 + system.counters[0, SCANNER_NS] * 1e-9 + scenario.daemon.migrate_sleep + 0.03
    system.run_to_end()
    done_before_end = started_s / slow_s + ramp_s * math.log(slow_s / fast_s) / (slow_s - fast_s)
    expected_s = started_s + ramp_s + fast_s * (1 - done_before_end)
    assert system.elapsed_s[0] == pytest.approx(expected_s, rel=3e-4)


@pytest.mark.parametrize(("placement", "share"), [("slow", 0.0), ("random", 1.0)])
def test_without_migration_the_run_takes_its_accesses_times_their_time(placement: str, share: float) -> None:
    scenario = load_scenario("abench-8g").replace(control="off")
    workload = scenario.workload.model_copy(update={"initial_placement": placement})
    scenario = scenario.model_copy(update={"workload": workload})
    system = LumpedSystem([scenario])
    system.reset(np.array([1], np.uint64), ["training"])
    predicted_s = system.remaining_s()[0, 0]
    system.run_to_end()
    expected_s = scenario.total_accesses * float(access_time_s(scenario, share)) / workload.threads
    assert system.elapsed_s[0] == pytest.approx(expected_s, rel=1e-9)
    assert predicted_s == pytest.approx(expected_s, rel=1e-9)


@pytest.mark.parametrize("queueing", [("0ns", "0ns"), ("0ns", "74ns"), ("47ns", "0ns")])
def test_without_queueing_latency_a_full_link_sets_the_pace(queueing: tuple[str, str]) -> None:
    dram, cxl = ({"idle_latency": "1ns", "queueing_latency": latency} for latency in queueing)
    platform = {"like": "amd-epyc-cxl", "dram": dram, "cxl": cxl, "page_walk_per_doubling": "0ns"}
    scenario = tiny("skewed", platform=platform, workload={"like": "skewed", "think": "0s", "threads": 512})
    times_s = access_time_s(scenario, [0.0, 0.5, 1.0])
    assert np.isfinite(times_s).all()
    if queueing[1] == "0ns":
        assert times_s[0] == pytest.approx(512 * CACHE_LINE_BYTES / scenario.platform.cxl.bandwidth, rel=1e-6)
    assert LumpedSystem([scenario]).reference_s > 0
