"""What the daemon counts by scan period and throttle, with room for all that it promotes."""

from tierd import unload
from watching import PERIODS_MS, begin, report, watch

THROTTLES = (0, 1 << 20, "unlimited")
SECONDS = 5
"""In which the second throttle does not promote all that is hot."""

begin()
for period_ms in PERIODS_MS:
    for throttle in THROTTLES:
        watch("free", period_ms, throttle, SECONDS)
report("unload", **unload())
