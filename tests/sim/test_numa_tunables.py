"""What a write of each tunable of NUMA balancing does in both models, and when: as the kernel, when it looks."""

from typing import Any

import numpy as np
import pytest

from tests.sim.patches import PAGES, SYSTEMS, begin, classes, count, model_of, phases, small
from tierenv.counters import NUMA_HINT_FAULTS, NUMA_PTE_UPDATES, PGPROMOTE_CANDIDATE, PGPROMOTE_SUCCESS
from tierenv.daemon import HintFaultDaemon, load_daemon
from tierenv.errors import ConfigError
from tierenv.records import validate_record
from tierenv.scenario import Scenario
from tierenv.tunables import Setting
from tierenv.units import MIB, PAGE_BYTES

both_models = pytest.mark.parametrize("system_type", SYSTEMS)

WINDOW_BYTES = PAGES * PAGE_BYTES // 4
WINDOW = WINDOW_BYTES // PAGE_BYTES


def numa_daemon(**knobs: Any) -> HintFaultDaemon:
    """NUMA balancing with windows of a quarter of the machine, of which a thread may mark two a second."""
    daemon = load_daemon("numa-balancing")
    assert isinstance(daemon, HintFaultDaemon)
    like = {"scan_size": WINDOW_BYTES, "scan_rate_limit": 2.0 * WINDOW_BYTES, "spare": 0}
    return daemon.model_copy(update={"knobs": daemon.knobs.model_copy(update=like | knobs)})


def balanced(rate: float = 1500.0, fast_pages: int = 4 * PAGES, **knobs: Any) -> Scenario:
    """4096 pages, all slow at first, touched so often a second; the caller sets the tunables."""
    workload = {
        "classes": classes(all=1.0),
        "phases": phases("all", {"all": 1.0}),
        "threads": 4,
        "think": 4 / (rate * PAGES),
    }
    platform = {"numa_fault": 0.0, "numa_mark_per_page": 0.0, "scan_per_page": 0.0, "numa_start_period_factor": 1.0}
    return small(
        numa_daemon(**knobs), workload, platform, control="tunables", fast_capacity=fast_pages * PAGE_BYTES, regions=64
    )


BOOTED = {"scan_period": 60e3, "scan_size": float(WINDOW_BYTES), "throttle": np.inf, "hot_threshold": 1000.0}


def write(system: Any, **values: float) -> None:
    """Put tunables in force, those not named as booted."""
    system.apply(np.array([Setting(BOOTED | values).row]))


@both_models
def test_without_a_write_it_runs_as_booted(system_type: type) -> None:
    scenario = balanced()
    tunable, booted = begin(system_type, scenario), begin(system_type, scenario.model_copy(update={"control": "off"}))
    assert booted.counters[0, NUMA_PTE_UPDATES] == 0
    ruled = begin(system_type, scenario.model_copy(update={"control": "kernel-rule"}))
    for system in (tunable, ruled, booted):
        system.advance(20.0)
    np.testing.assert_array_equal(tunable.counters, ruled.counters)
    assert tunable.counters[0, NUMA_PTE_UPDATES] > 0
    assert booted.counters[0, NUMA_PTE_UPDATES] == 0


@both_models
def test_the_scan_size_is_that_of_the_next_window(system_type: type) -> None:
    system = begin(system_type, balanced(fast_pages=64))
    system.advance(1.5)
    assert count(system, NUMA_PTE_UPDATES)[0] == pytest.approx(WINDOW, abs=1)
    write(system, scan_size=WINDOW_BYTES / 4)
    system.advance(1.0)
    assert count(system, NUMA_PTE_UPDATES)[0] == pytest.approx(1.25 * WINDOW, abs=16)


@both_models
def test_a_limit_of_0_acts_at_once_and_is_lifted_at_once(system_type: type) -> None:
    system = begin(system_type, balanced(fast_pages=2 * PAGES))
    model_of(system).nodes["spare_pages"] = 8 * PAGES
    write(system, throttle=0.0)
    system.advance(2.5)
    faults, promoted, candidates = count(system, NUMA_HINT_FAULTS, PGPROMOTE_SUCCESS, PGPROMOTE_CANDIDATE)
    assert faults > 0 and candidates > 0 and promoted == 0
    write(system)
    system.advance(20.0)
    assert count(system, PGPROMOTE_SUCCESS)[0] > WINDOW / 2


@both_models
def test_the_limit_is_in_bytes_a_second(system_type: type) -> None:
    system = begin(system_type, balanced(fast_pages=2 * PAGES))
    model_of(system).nodes["spare_pages"] = 8 * PAGES
    write(system, throttle=100.0 * PAGE_BYTES, scan_period=2000.0)
    system.advance(1.9)
    assert count(system, PGPROMOTE_SUCCESS)[0] == pytest.approx(100, abs=1)


@both_models
@pytest.mark.parametrize(("threshold_ms", "share"), [(10.0, 0.0), (100.0, 0.0), (3000.0, 1.0)])
def test_the_hot_threshold_moves_to_within_twice_the_reference_once_a_longest_period(
    system_type: type, threshold_ms: float, share: float
) -> None:
    system = begin(system_type, balanced(rate=0.01, fast_pages=2 * PAGES))
    node = model_of(system).nodes[0]
    node["spare_pages"] = 8 * PAGES
    assert node["numa_threshold_s"] == 1.0
    write(system, hot_threshold=threshold_ms, scan_period=2000.0)
    assert node["numa_threshold_s"] == 1.0
    system.advance(30.0)
    moved_s = float(node["numa_threshold_s"])
    assert moved_s == pytest.approx(2e-3 * threshold_ms) or (share == 1.0 and moved_s > 1.0)


@both_models
def test_the_period_changes_with_promotions_alone(system_type: type) -> None:
    periods = []
    for fast_pages in (64, 8 * PAGES):
        system = begin(system_type, balanced(fast_pages=fast_pages))
        model_of(system).nodes["spare_pages"] = 0
        if fast_pages == 64:
            model_of(system).parameters["demotion"] = False
        write(system, scan_period=16e3)
        assert model_of(system).mms["numa_period_ms"][0] == 1000.0
        system.advance(12.0)
        periods.append(float(model_of(system).mms["numa_period_ms"][0]))
    # a pass in 16 s is a window in 4 s; nobody told the threads of the full node
    assert periods[0] == 1000.0 and periods[1] in (2000.0, 4000.0)


@both_models
def test_a_window_lasts_no_less_than_its_size_allows(system_type: type) -> None:
    system = begin(system_type, balanced())
    write(system, scan_period=1000.0)
    process = model_of(system).processes[0]
    assert process["numa_period_min_ms"] == process["numa_period_max_ms"] == 500.0  # two windows a second
    write(system, scan_period=1000.0, scan_size=WINDOW_BYTES / 8)
    assert process["numa_period_max_ms"] == pytest.approx(1000 / 16)  # sixteen may be marked in a second
    assert model_of(system).state["numa_start_period_ms"] == pytest.approx(1000 / 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": 1}, "tunables: mode 2 of NUMA balancing has scan_period, .*, mode 1 has none; got .* in mode 1"),
        ({"tunables": {"hot_threshold": None}}, "tunables: mode 2 of NUMA balancing has scan_period"),
        ({"knobs": {"hot_threshold": "2s"}}, "tunables.hot_threshold.start=1000ms: must be 2000ms, as booted"),
        ({"knobs": {"scan_period_max": "30s"}}, "tunables.scan_period.start=60000ms: must be 30000ms, as booted"),
        ({"knobs": {"promote_rate_limit": "1GiB/s"}}, "throttle.start=unlimited: must be 1GiB/s, as booted"),
    ],
)
def test_tunables_are_those_of_the_mode_and_start_as_booted(changes: dict[str, Any], message: str) -> None:
    fields = load_daemon("numa-balancing").model_dump()
    for name, value in changes.items():
        fields[name] = fields[name] | value if isinstance(value, dict) else value
    with pytest.raises(ConfigError, match=message):
        validate_record(HintFaultDaemon, fields, "daemon")


def test_the_packaged_daemon_is_mode_2_as_booted() -> None:
    tunable, booted = load_daemon("numa-balancing"), load_daemon("numab2")
    assert isinstance(tunable, HintFaultDaemon) and isinstance(booted, HintFaultDaemon)
    assert (tunable.mode, tunable.knobs) == (booted.mode, booted.knobs)
    assert tunable.can_be_tuned and not booted.can_be_tuned
    assert tunable.tunables["throttle"].min == MIB
