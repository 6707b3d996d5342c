"""What the daemon counts where every promotion takes a demotion: a small fast node, and a hot set that moves."""

import re
import time

from steps import DEMOTION, Benchmark, read, report, write
from tierd import unload
from watching import PERIODS_MS, begin, watch

HUGE_PAGES = "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages"
RESERVE = "/proc/sys/vm/lowmem_reserve_ratio"
MIN_FREE = "/proc/sys/vm/min_free_kbytes"
SCALE = "/proc/sys/vm/watermark_scale_factor"
MOVE_S = 6
BEFORE_S, COUNTED_S = 2 * MOVE_S, 6 * MOVE_S
MOVING = ("-s", "108", "-p", str(MOVE_S))
"""The hot set is in four places in turn. The node holds one and a half of them, so that what was hot two moves ago is
gone, and kswapd frees in one go about as much as half of one needs."""
SWEPT_MIB = 60
"""More than there is on the node that could be demoted and is not the program's."""
LEFT_MIB = 25


def free_mib():
    return int(re.search(r"MemFree: +(\d+)", read("/sys/devices/system/node/node0/meminfo"))[1]) >> 10


def leave_little():
    """Take memory off node 0, as huge pages, when all is gone from there that reclaim would take before the program's.

    Of 512 MiB the kernel would want more free than is left here, and of the lowest 16 MiB, which it keeps from programs
    on any larger machine, it would give some.
    """
    write(RESERVE, re.sub(r"^\d+", "1", read(RESERVE)))
    write(MIN_FREE, 4096)
    write(SCALE, 60)
    write(DEMOTION, 1)
    sweep = Benchmark("-n", "0", "-s", str(free_mib() + SWEPT_MIB), "-b", "1000", "-d", "0", "-t", "1")
    time.sleep(0.5)
    sweep.stop()
    write(HUGE_PAGES, (free_mib() - LEFT_MIB) // 2)


begin()
leave_little()
for period_ms in PERIODS_MS:
    watch("full", period_ms, "unlimited", COUNTED_S, *MOVING, before_s=BEFORE_S, move_s=MOVE_S)
report("unload", **unload())
