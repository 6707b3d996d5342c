"""Scenarios with fewer pages: what becomes of a daemon's tunables."""

from tests.tiny import tiny
from tierenv.daemon import TunableRange, load_daemon
from tierenv.shrink import shrink
from tierenv.units import MIB, PAGE_BYTES


def test_ranges_shrink_as_their_quantity_does() -> None:
    ranges = {
        "scan_period": TunableRange(min=10.0, max=5000.0, start=1000.0),
        "scan_size": TunableRange(min=1.0 * MIB, max=512.0 * MIB, start=99.7 * MIB),
        "throttle": TunableRange(min=1.0 * MIB, max=1024.0 * MIB, start=float("inf")),
    }
    scenario = tiny(daemon=load_daemon("kmmscand-tunable").model_copy(update={"tunables": ranges}), control="off")
    factor = 64
    shrunk = shrink(scenario, scenario.pages // factor).daemon.tunables
    assert shrunk["scan_period"] == ranges["scan_period"]
    assert shrunk["scan_size"] == TunableRange(min=4.0 * PAGE_BYTES, max=8.0 * MIB, start=399.0 * PAGE_BYTES)
    assert shrunk["throttle"] == TunableRange(min=MIB / 64, max=16.0 * MIB, start=float("inf"))
