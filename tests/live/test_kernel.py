"""Settings in the kernel's terms."""

import math

from hypothesis import given
from hypothesis import strategies as st

from tests.live.hosts import AS_BOOTED
from tierenv.agents.export.targets import target_setting
from tierenv.daemon import load_daemon
from tierenv.live import kernel
from tierenv.live.arithmetic import UNLIMITED
from tierenv.live.kernel import KNOBS, MIB, is_value_of, project, setting_of, window_floor_ms, writing_order
from tierenv.scenario import load_scenario
from tierenv.tunables import TUNABLES, Setting

SETTINGS = st.fixed_dictionaries(
    {
        "scan_period_ms": st.integers(1000, 60_000),
        "scan_size_bytes": st.integers(16 * MIB, 2048 * MIB),
        "throttle_bytes_per_s": st.one_of(st.just(0), st.just(UNLIMITED), st.integers(MIB, 4096 * MIB)),
        "hot_threshold_ms": st.integers(100, 10_000),
    }
)
RESIDENT = st.integers(1, 1 << 26)
KNOB_VALUES = st.fixed_dictionaries({path: st.integers(0, 100_000) for path in KNOBS})


@given(SETTINGS, RESIDENT)
def test_every_setting_becomes_numbers_that_the_kernel_takes(setting: dict[str, int], resident_pages: int) -> None:
    knobs = project(setting, resident_pages).knobs
    assert list(knobs) == list(KNOBS)
    assert all(is_value_of(path, value) for path, value in knobs.items())
    assert 0 <= knobs[kernel.RATE_LIMIT] <= kernel.UNLIMITED_MIB_PER_S
    assert knobs[kernel.PERIOD_MIN] == knobs[kernel.PERIOD_MAX]
    assert knobs[kernel.SCAN_DELAY] >= window_floor_ms(knobs[kernel.SCAN_SIZE])


@given(SETTINGS, RESIDENT)
def test_what_is_read_back_projects_onto_itself(setting: dict[str, int], resident_pages: int) -> None:
    knobs = project(setting, resident_pages).knobs
    again = project(setting_of(knobs), resident_pages)
    assert again.knobs == knobs
    assert again.remarks == ()


@given(SETTINGS, RESIDENT)
def test_throttle_zero_and_unlimited_stay_what_they_are(setting: dict[str, int], resident_pages: int) -> None:
    written = project(setting, resident_pages).knobs[kernel.RATE_LIMIT]
    assert (written == 0) == (setting["throttle_bytes_per_s"] == 0)
    assert (written == kernel.UNLIMITED_MIB_PER_S) == (setting["throttle_bytes_per_s"] == UNLIMITED)


@given(KNOB_VALUES, KNOB_VALUES)
def test_the_shortest_pass_is_never_longer_than_the_longest_while_knobs_are_written(
    now: dict[str, int], wanted: dict[str, int]
) -> None:
    for knobs in (now, wanted):
        knobs[kernel.PERIOD_MAX] = max(knobs[kernel.PERIOD_MAX], knobs[kernel.PERIOD_MIN])
    state = dict(now)
    for path in writing_order(now, wanted):
        state[path] = wanted[path]
        assert state[kernel.PERIOD_MIN] <= state[kernel.PERIOD_MAX]
    assert state == wanted


def test_knobs_are_those_that_the_exported_scripts_write() -> None:
    scenario = load_scenario("skewed").under(load_daemon("numa-balancing"))
    values = {"scan_period": 16_000.0, "scan_size": 1024.0 * MIB, "throttle": math.inf, "hot_threshold": 100.0}
    files = {file.path: file.value for file in target_setting("numa-balancing", Setting(values), scenario).files}
    setting = {
        TUNABLES[name].symbol: UNLIMITED if math.isinf(value) else round(value) for name, value in values.items()
    }
    assert project(setting, scenario.pages).knobs == files


def test_a_pass_that_the_kernel_makes_longer_is_said() -> None:
    setting = {"scan_period_ms": 1000, "scan_size_bytes": 256 * MIB, "throttle_bytes_per_s": 0, "hot_threshold_ms": 100}
    projection = project(setting, (16 << 30) // 4096)
    assert projection.knobs[kernel.PERIOD_MAX] == 64 * 100
    assert projection.remarks == ("scan_period_ms 1000 becomes 6400: 64 windows of 256 MiB take 100 ms each at least",)


def test_the_setting_as_booted_is_read_as_the_model_starts() -> None:
    start = load_daemon("numa-balancing").start_setting
    expected = {
        TUNABLES[name].symbol: UNLIMITED if math.isinf(value) else round(value) for name, value in start.values.items()
    }
    assert setting_of(AS_BOOTED) == expected
