"""The application: time of an access, and how a run's length follows from it (design: a closed loop of threads)."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierenv.counters import MIGRATED, SCANNER_NS
from tierenv.daemon import DaemonVariant
from tierenv.records import load_record
from tierenv.scenario import MemoryTier, Scenario, load_scenario
from tierenv.sim.application import CACHE_LINE_BYTES, access_time
from tierenv.sim.reference import ReferenceSystem, shrink
from tierenv.sim.system import SimulatedSystem, access_time_s, scenario_parameters

SHARES = st.floats(0, 1)
COPIES = st.floats(0, 20e9)
"""Bytes/s the kernel copies between the tiers."""


def loaded_latency(tier: MemoryTier, bytes_per_s: float) -> float:
    use = bytes_per_s / tier.bandwidth
    assert use < 1, "no more than the link carries"
    return tier.idle_latency + tier.queueing_latency * use / (1 - use)


@given(st.sampled_from(["abench-8g", "abench-64g", "skewed"]), st.integers(1, 1024), SHARES, COPIES)
def test_access_time_and_bandwidth_in_use_agree(name: str, threads: int, share: float, copied: float) -> None:
    scenario = load_scenario(name)
    workload = scenario.workload.model_copy(update={"threads": threads})
    scenario = scenario.model_copy(update={"workload": workload})
    seconds = access_time(scenario_parameters(scenario)[()], share, copied)
    traffic = threads / seconds * CACHE_LINE_BYTES
    platform = scenario.platform
    latency = share * loaded_latency(platform.dram, share * traffic + copied)
    latency += (1 - share) * loaded_latency(platform.cxl, (1 - share) * traffic + copied)
    expected = workload.think + (latency + scenario.page_walk_s) / platform.overlap
    assert seconds == pytest.approx(expected, rel=1e-6)


@given(st.sampled_from(["abench-8g", "abench-64g", "skewed"]), SHARES, SHARES)
def test_more_accesses_on_the_fast_tier_never_slow_the_application(name: str, one: float, other: float) -> None:
    slower, faster = access_time_s(load_scenario(name), sorted((one, other)))
    assert faster <= slower * (1 + 1e-9)


@given(SHARES, COPIES, COPIES)
def test_copies_never_speed_the_application_up(share: float, one: float, other: float) -> None:
    parameters = scenario_parameters(load_scenario("abench-16g"))[()]
    few, many = sorted((one, other))
    assert access_time(parameters, share, few) <= access_time(parameters, share, many) * (1 + 1e-9)


def test_links_bound_the_rate_of_any_number_of_threads() -> None:
    scenario = load_scenario("abench-8g")
    crowd = scenario.model_copy(update={"workload": scenario.workload.model_copy(update={"threads": 10**6})})
    rate = 1e6 / access_time_s(crowd, 0.0)
    assert 0.9 < rate * CACHE_LINE_BYTES / scenario.platform.cxl.bandwidth < 1


def steady_migrator() -> Scenario:
    """abench-8g under kmmscand-v1: every page is listed at the first visit and promoted one by one.

    Nothing queues or stalls, so the time of an access falls linearly while the migrator is at work.
    """
    scenario = load_scenario("abench-8g")
    platform = scenario.platform
    tiers = {name: getattr(platform, name).model_copy(update={"queueing_latency": 0.0}) for name in ("dram", "cxl")}
    platform = platform.model_copy(update=tiers | {"shootdown_receiver": 0.0, "accessed_bit": 0.0})
    daemon = load_record("daemons", DaemonVariant, "kmmscand-v1")
    return scenario.replace(daemon=daemon, control="kernel-rule", platform=platform)


@pytest.mark.parametrize("system_type", [SimulatedSystem, ReferenceSystem])
def test_linear_ramp_of_promotions_matches_the_closed_form(system_type: type) -> None:
    scenario = shrink(steady_migrator(), 8192)
    system = system_type([scenario]) if system_type is SimulatedSystem else system_type(scenario)
    system.reset(np.array([1], np.uint64), ["training"])
    slow_s, fast_s = (float(seconds) * scenario.total_accesses / 64 for seconds in access_time_s(scenario, [0, 1]))
    ramp_s = scenario.pages * scenario.migration_s

    while system.counters[0, MIGRATED] == 0:
        system.advance(0.01)
    started_s = system.elapsed_s[0]
    assert 1 < started_s < 1 + system.counters[0, SCANNER_NS] * 1e-9 + scenario.daemon.migrate_sleep + 0.03
    system.advance(1e6)
    done_before_end = started_s / slow_s + ramp_s * math.log(slow_s / fast_s) / (slow_s - fast_s)
    expected_s = started_s + ramp_s + fast_s * (1 - done_before_end)
    assert system.elapsed_s[0] == pytest.approx(expected_s, rel=3e-4)


@pytest.mark.parametrize(("placement", "share"), [("slow", 0.0), ("random", 1.0)])
def test_without_migration_the_run_takes_its_accesses_times_their_time(placement: str, share: float) -> None:
    scenario = load_scenario("abench-8g").replace(control="off")
    workload = scenario.workload.model_copy(update={"initial_placement": placement})
    scenario = scenario.model_copy(update={"workload": workload})
    system = SimulatedSystem([scenario])
    system.reset(np.array([1], np.uint64), ["training"])
    predicted_s = system.remaining_s()[0]
    system.advance(1e6)
    expected_s = scenario.total_accesses * float(access_time_s(scenario, share)) / workload.threads
    assert system.elapsed_s[0] == pytest.approx(expected_s, rel=1e-9)
    assert predicted_s == pytest.approx(expected_s, rel=1e-9)
