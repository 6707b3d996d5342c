"""A database beside a batch job that ends last: what is best for one is not best for the other."""

from typing import Any

from tests.tiny import tiny
from tierenv.scenario import Scenario

HOT = {"classes": [{"name": "all", "fraction": 1}], "phases": [{"name": "run", "access_share": {"all": 1}}]}


def database_and_batch(**changes: Any) -> Scenario:
    """A database of 64 MiB on the slow tier beside a batch job of 256 MiB that fills the fast one, and ends last.

    Both work alike; a page of the one promoted pushes one of the other out.
    """
    database = {
        "name": "database",
        "threads": 8,
        "think": "50ns",
        "memory_parallelism": 2,
        "accesses_per_page": 20000,
        **HOT,
    }
    batch = database | {"name": "batch", "initial_placement": "address-order"}
    small: dict[str, Any] = {"workload": database, "size": "64MiB", "fast_capacity": "128MiB"}
    return tiny("skewed", **small | {"corunners": [{"workload": batch, "size": "256MiB"}]} | changes)


PLATFORM = {
    "like": "amd-epyc-cxl",
    "dram": {"idle_latency": "100ns", "queueing_latency": "0ns", "bandwidth": "400GB/s", "store_bandwidth": "400GB/s"},
    "cxl": {"idle_latency": "300ns", "queueing_latency": "0ns", "bandwidth": "400GB/s", "store_bandwidth": "400GB/s"},
    "page_walk_per_doubling": "0ns",
}
"""Memory on which nobody is in another's way, three times as slow on the slow tier."""


def two_on_slow_memory(**changes: Any) -> Scenario:
    """Two processes on the slow tier that nothing moves.

    The application's accesses take 100 ns of its own and 300 of memory, where 100 would do: twice the 200 ns of all
    memory fast. The other's take 300 and 300, 1.5 times the 400. They do 10 million accesses a thread each, in 4 and
    in 6 s, and the other starts a second later.
    """
    application = {
        "name": "application",
        "threads": 4,
        "think": "100ns",
        "memory_parallelism": 1,
        "accesses_per_page": 40e6 / 16384,
        **HOT,
    }
    other = application | {"name": "other", "think": "300ns"}
    fields: dict[str, Any] = {
        "platform": PLATFORM,
        "workload": application,
        "size": "64MiB",
        "control": "off",
        "corunners": [{"workload": other, "size": "64MiB", "start": "1s"}],
    }
    return tiny("skewed", **fields | changes)
