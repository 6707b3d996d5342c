"""Scenarios: what is accepted, what the message says when not, and what a scenario derives from its processes."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.tiny import tiny
from tierenv.errors import ConfigError
from tierenv.records import packaged
from tierenv.scenario import Process, load_scenario
from tierenv.units import GIB, PAGE_BYTES
from tierenv.workload import Workload

ABENCH = {"workload": "abench", "size": "1GiB"}


LATE = {"size": "1GiB", "start": "5s"}
PINNED = {"like": "abench", "classes": [{"name": "all", "fraction": 1, "fast_at_start": 0.5}]}
ON_FAST = {
    "classes": [{"name": "mine", "fraction": 0.75, "fast_at_start": 1}, {"name": "rest", "fraction": 0.25}],
    "phases": [{"name": "run", "access_share": {"mine": 0.5, "rest": 0.5}}],
}


def write_scenario(folder: Path, **changes: Any) -> Path:
    """The file of a scenario that names its parts, as a user would write it."""
    content = {
        "summary": "several processes",
        "platform": "amd-epyc-cxl",
        "daemon": "kscand-v3",
        "workload": "skewed",
        "size": "2GiB",
        "fast_capacity": "1GiB",
        "control": "kernel-rule",
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    return path


@pytest.mark.parametrize("name", packaged("scenarios"))
def test_packaged_scenarios_are_valid(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name and scenario.summary


def test_a_file_names_the_workloads_of_its_corunners(tmp_path: Path) -> None:
    late = {"workload": "abench", "size": "3GiB", "start": "20s", "cpu_node": 1, "scan_scale": 0}
    corunners = [{"workload": "moving-hot-set", "size": "1GiB"}, late]
    path = write_scenario(tmp_path, corunners=corunners, remote_fast_capacity="2GiB", target_node=1)
    scenario = load_scenario(str(path))
    first, second, third = scenario.processes
    assert [process.workload.name for process in scenario.processes] == ["skewed", "moving-hot-set", "abench"]
    assert (first.start, first.cpu_node, first.scan_scale) == (0.0, 0, 1)
    assert (third.start, third.cpu_node, third.scan_scale) == (20.0, 1, 0)
    assert scenario.pages * PAGE_BYTES == 6 * GIB
    assert [pages * PAGE_BYTES for pages in scenario.node_capacity_pages] == [GIB, 2 * GIB]
    assert scenario.total_accesses == sum(process.total_accesses for process in (first, second, third))
    assert scenario.class_names == [
        *("hot", "warm", "cool", "cold"),
        *(f"moving-hot-set/{name}" for name in "abcde"),
        "abench/all",
    ]
    assert scenario.class_pages == first.class_pages + second.class_pages + third.class_pages


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"corunners": [ABENCH | {"start": "9s"}, ABENCH | {"start": "2s"}]},
            "corunners: must be in the order in which they start, got [9.0, 2.0] s",
        ),
        (
            {"corunners": [{"workload": "skewed", "size": "1GiB", "start": "5s"}]},
            "corunners.0: start=5s: a process that starts later finds room on the slow node only; "
            "workload skewed must have initial_placement: slow",
        ),
        ({"remote_fast_capacity": "128KiB"}, "remote_fast_capacity=131072B: must be 0B or at least 256KiB"),
        ({"corunners": [LATE | {"workload": PINNED}]}, "corunners.0: start=5s: a process that starts later finds room"),
        (
            {"platform": {"like": "amd-epyc-cxl", "sockets": 1}, "remote_fast_capacity": "1GiB"},
            "remote_fast_capacity=1GiB: platform amd-epyc-cxl has one socket; must be 0B",
        ),
        ({"fast_capacity": "126GiB"}, "fast_capacity=126GiB: must be at most 125GiB, what a node of platform amd-epyc"),
        ({"remote_fast_capacity": "126GiB"}, "remote_fast_capacity=126GiB: must be at most 125GiB, what a node of"),
        ({"slow_capacity": "127GiB"}, "slow_capacity=127GiB: must be at most 126GiB, what a node of platform amd-epyc"),
        ({"slow_capacity": "1KiB"}, "slow_capacity='1KiB': must be greater than or equal to 262144"),
        (
            {"slow_capacity": "512MiB"},
            "size=2GiB: 1.02GiB of all processes would start, or start anew, on the slow node, which holds 512MiB",
        ),
        (
            {"size": "250GiB", "fast_capacity": "125GiB"},
            "size=250GiB: 127.5GiB of all processes would start, or start anew, on the slow node, which holds 126GiB",
        ),
        (
            {"workload": {"like": "skewed", **ON_FAST}},
            "classes: fast_at_start asks for 1.5GiB of the fast nodes, of which 1004MiB can",
        ),
        (
            {"workload": {"like": "skewed", "layout": "sorted"}},
            "workload.layout='sorted': must be 'scattered', 'contiguous' or 'address-order'",
        ),
        ({"target_node": 1}, "target_node=1: must be a node of the fast tier, which is node 0 alone"),
        ({"target_node": 2}, "target_node=2: must be 0 or 1"),
        (
            {"corunners": [ABENCH, {"workload": "abensh", "size": "1GiB"}]},
            "corunners.1.workload: unknown workload 'abensh'; did you mean 'abench'?; run: tierenv list workloads",
        ),
        (
            {"corunners": [{"workload": "skewd", "size": "1GiB"}]},
            "corunners.0.workload: unknown workload 'skewd'; did you mean 'skewed'?",
        ),
        ({"corunners": [{"workload": "abench"}]}, "corunners.0.size: required key is missing"),
        (
            {"corunners": [ABENCH | {"size": "4KiB"}]},
            "corunners.0.size='4KiB': must be greater than or equal to 256KiB",
        ),
        ({"corunners": [ABENCH | {"scan_scale": 11}]}, "corunners.0.scan_scale=11: must be less than or equal to 10"),
        ({"corunners": [ABENCH | {"cpu_node": 2}]}, "corunners.0.cpu_node=2: must be 0 or 1"),
        ({"corunners": [ABENCH | {"stat": "2s"}]}, "corunners.0.stat: unknown key"),
        ({"corunners": ["abench"]}, "corunners.0"),
        ({"corunners": "abench"}, "corunners"),
        ({"scan_scale": -1}, "scan_scale=-1: must be greater than or equal to 0"),
        ({"platform": "amd-epic-cxl"}, "platform: unknown platform 'amd-epic-cxl'; did you mean 'amd-epyc-cxl'?"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_file_and_field(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = write_scenario(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        load_scenario(str(path))
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


TWENTY = [f"c{index}" for index in range(20)]
LONG = {
    "classes": [{"name": name, "fraction": 0.05} for name in TWENTY],
    "phases": [{"name": "run", "access_share": dict.fromkeys(TWENTY, 0.05)}],
}
FEW_OF_MANY = [{"name": "few", "fraction": 1e-12}, {"name": "most", "fraction": 1 - 1e-12}]
EACH_HALF = [{"name": "run", "access_share": {"few": 0.5, "most": 0.5}}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"workload": {"classes": FEW_OF_MANY, "phases": EACH_HALF, "like": "skewed"}},
            "size=2GiB: class few of workload skewed has no page of it; its fraction, 1e-12, must be at least 1.9",
        ),
        (
            {"regions": 4096, "workload": {"like": "skewed", **LONG}},
            "regions=4096: must be at most 3276 with 20",
        ),
        (
            {"workload": {"like": "skewed", "accesses_per_page": 1e11}},
            "accesses_per_page=1e+11: on the slower tier all work together would take about ",
        ),
        (
            {"platform": {"like": "amd-epyc-cxl", "cxl": {"bandwidth": "1B/s"}}},
            "accesses_per_page=2340: on the slower tier",
        ),
        (
            {"platform": {"like": "amd-epyc-cxl", "cxl": {"capacity": "64TiB"}}, "size": "12TiB", "regions": 2}
            | {"workload": {"like": "abench", "accesses_per_page": 1}},
            "regions=2: must be at least 3",
        ),
        (
            {
                "platform": {"like": "amd-epyc-cxl", "cxl": {"store_bandwidth": "1B/s"}},
                "workload": {"like": "skewed", "store_share": 1},
            },
            "accesses_per_page=2340: on the slower tier",
        ),
        (
            {"regions": 4096, "size": "100GiB", "workload": {"like": "skewed", "accesses_per_page": 90000}},
            "regions=4096: must be at most ",
        ),
        ({"control_interval": "1ms", "size": "64GiB"}, "control_interval=0.001s: must be at least 0.00"),
        (
            {
                "daemon": {"like": "kscand-v3", "tunables": {"scan_period": {"min": "1ms"}}},
                "workload": {"like": "skewed", "accesses_per_page": 5e6},
            },
            "daemon.tunables.scan_period.min=0.001s: must be at least 0.00",
        ),
    ],
)
def test_what_no_model_sees_the_end_of_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_scenario(str(write_scenario(tmp_path, **changes)))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_scenario_written_out_is_read_as_the_same(tmp_path: Path) -> None:
    path = write_scenario(tmp_path, corunners=[ABENCH | {"start": "3s"}], remote_fast_capacity="1GiB")
    scenario = load_scenario(str(path))
    copy = tmp_path / "copy.yaml"
    copy.write_text(yaml.safe_dump(scenario.model_dump(mode="json")))
    assert load_scenario(str(copy)) == scenario == scenario.replace()


def test_a_copy_of_a_record_derives_its_properties_anew() -> None:
    scenario = tiny("skewed")
    assert scenario.processes[0].size == scenario.size
    larger = scenario.model_copy(update={"size": 2 * scenario.size})
    assert larger.processes[0].size == 2 * scenario.size and larger.pages == 2 * scenario.pages

    def orders(workload: Workload) -> set[tuple[int, ...]]:
        rng = np.random.default_rng(1)
        return {workload.draw_phase_order("training", rng) for _ in range(9)}

    workload = load_scenario("moving-hot-set").workload
    assert len(orders(workload)) > 1
    assert orders(workload.model_copy(update={"phase_order": "fixed"})) == {(0, 1, 2, 3, 4)}
    assert len(orders(workload)) > 1, "the record that was copied is as it was"

    daemon = scenario.daemon
    assert daemon.tunables["scan_period"].min == 100.0
    faster = daemon.tunables | {"scan_period": daemon.tunables["scan_period"].model_copy(update={"start": 50.0})}
    assert daemon.model_copy(update={"tunables": faster}).start_setting["scan_period"] == 50.0


def test_the_kernel_s_memory_is_what_no_node_of_the_fast_tier_needs() -> None:
    scenario = load_scenario("skewed")
    target = scenario.platform.kswapd_target
    other = scenario.platform.dram.capacity
    assert scenario.kernel_memory == other + round(target * scenario.fast_capacity)
    both = scenario.replace(remote_fast_capacity="100GiB")
    assert both.kernel_memory == other - 100 * GIB + round(target * (scenario.fast_capacity + 100 * GIB))
    alone = scenario.replace(platform={"like": "amd-epyc-cxl", "sockets": 1})
    assert alone.kernel_memory == round(target * scenario.fast_capacity)


def busy(shares: dict[str, float], *phases: dict[str, float], work: tuple[float, ...] = (1.0, 1.0)) -> Process:
    """A process of 4 GiB, with classes of these fractions, whose phases have these shares of accesses and work."""
    workload = {
        "like": "abench",
        "classes": [{"name": name, "fraction": fraction} for name, fraction in shares.items()],
        "phases": [
            {"name": f"{number}", "access_share": share, "work": amount}
            for number, (share, amount) in enumerate(zip(phases, work, strict=False))
        ],
    }
    return Process.model_validate({"workload": workload, "size": "4GiB"})


def test_a_process_is_busy_with_as_many_pages_as_leave_its_next_access_as_uncertain() -> None:
    halves = {"a": 0.5, "b": 0.5}
    assert busy({"a": 1.0}, {"a": 1.0}).active_pages == pytest.approx(GIB / 1024)
    assert busy(halves, {"a": 0.5, "b": 0.5}).active_pages == pytest.approx(GIB / 1024)
    assert busy(halves, {"a": 1.0, "b": 0.0}).active_pages == pytest.approx(GIB / 2048)
    eighth = busy({"a": 0.125, "b": 0.875}, {"a": 0.5, "b": 0.5})
    assert eighth.active_pages == pytest.approx(GIB / 1024 * 2 * math.sqrt(0.125 * 0.875))
    # the uncertainty, not the number, is averaged over the phases by their work
    moving = busy({"a": 0.25, "b": 0.75}, {"a": 1.0, "b": 0.0}, {"a": 0.25, "b": 0.75}, work=(3.0, 1.0))
    assert moving.active_pages == pytest.approx(GIB / 1024 * 0.25**0.75)


def test_page_walks_take_longer_with_each_doubling_of_the_pages_a_process_is_busy_with() -> None:
    scenario = load_scenario("skewed")
    step_s = scenario.platform.page_walk_per_doubling
    halves = {"a": 0.5, "b": 0.5}
    assert scenario.page_walk_s(busy({"a": 1.0}, {"a": 1.0})) == pytest.approx(2 * step_s)
    assert scenario.page_walk_s(busy(halves, {"a": 1.0, "b": 0.0})) == pytest.approx(step_s)
    assert scenario.page_walk_s(busy({"a": 0.1, "b": 0.9}, {"a": 1.0, "b": 0.0})) == 0


def test_a_tier_s_loaded_latency_grows_without_bound() -> None:
    tier = load_scenario("skewed").platform.cxl
    assert tier.loaded_latency(0) == tier.idle_latency
    assert tier.loaded_latency(tier.bandwidth / 2) == pytest.approx(tier.idle_latency + tier.queueing_latency)
    assert tier.loaded_latency(tier.bandwidth) == math.inf
