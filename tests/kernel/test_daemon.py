"""What the exported daemon does in a Debian 6.12 guest with two tiers."""

import errno
import itertools
from typing import Any

import numpy as np
import pytest

from tests.kernel.boots import WORK
from tests.kernel.build import commands_of
from tests.kernel.daemons import INTERVAL_S, SETTING
from tests.kernel.qemu import Boot
from tierenv.agents.export.learned_source import learned_source
from tierenv.agents.integer.policy import IntegerPolicy
from tierenv.counters import COUNTERS
from tierenv.daemon import load_daemon
from tierenv.tunables import TUNABLES
from tierenv.units import PAGE_BYTES

NS_PER_S = 1e9
WAKE_UP_S = 0.016
"""Between two looks of the scanner for who is due."""
IN_FLIGHT = 512
"""Entries on the way: those that the migrator takes off the list at a time, and as many while counters are read one by
one."""


def contents(row: dict[str, dict[str, list[str]]], name: str = "attributes") -> dict[str, str]:
    return {attribute: text.strip() for attribute, (_, text) in row[name].items()}


def counters_of(text: str) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in text.splitlines())}


def test_it_loads_unsteered_with_the_setting_that_was_exported(daemon: Boot) -> None:
    row = daemon.step("load")
    assert (row["code"], row["errors"]) == (0, "")
    assert row["message"].endswith(f"tierd: fast nodes 0, policy {SETTING}")
    before = contents(daemon.step("attributes"), "before")
    assert before["policy"] == "[off] rule"
    held = [before[TUNABLES[name].symbol] for name in ("scan_period", "scan_size", "throttle")]
    assert held == ["500", str(1 << 30), "unlimited"]


def test_its_files_are_for_root_alone(daemon: Boot) -> None:
    modes = {name: mode for name, (mode, _) in daemon.step("attributes")["before"].items()}
    assert modes.pop("counters") == "0o400"
    assert set(modes.values()) == {"0o600"}


def test_it_has_the_tunables_and_counters_of_the_model(daemon: Boot) -> None:
    before = contents(daemon.step("attributes"), "before")
    modelled = load_daemon("kmmscand-tunable")
    assert {TUNABLES[name].symbol for name in modelled.tunables} <= set(before)
    own = [row.symbol for row in COUNTERS if "kmmscand" in row.name and row.is_exported(modelled)]
    assert set(own) | {"scanner_ns", "migrator_ns"} <= set(counters_of(before["counters"]))


@pytest.mark.parametrize("name", ["scan_period_ms", "throttle_bytes_per_s", "policy", "processes", "cgroup"])
def test_what_is_wrong_is_refused(daemon: Boot, name: str) -> None:
    errors = daemon.step("attributes")["errors"][name]
    assert errors and 0 not in errors.values()


def test_what_is_refused_changes_nothing(daemon: Boot) -> None:
    row = daemon.step("attributes")
    assert 0 not in (error for errors in row["errors"].values() for error in errors.values())
    assert row["before"] == row["after"]


def test_a_value_out_of_range_is_not_clamped(daemon: Boot) -> None:
    errors = daemon.step("attributes")["errors"]
    assert errors["scan_period_ms"]["9"] == errors["scan_period_ms"]["20001"] == errno.ERANGE
    assert errors["throttle_bytes_per_s"]["1"] == errno.ERANGE
    assert errors["policy"]["learned"] == errno.EOPNOTSUPP


def test_it_finds_the_hot_pages_within_four_periods(daemon: Boot) -> None:
    row = daemon.step("recall")
    assert row["nr_kmmscand_mm_scans"] == 5
    end = row["end"]
    assert end["fast_hot_pages"] >= 0.99 * end["hot_pages"]
    assert end["fast_hot_pages"] > 0.9 * end["fast_pages"]


def test_every_entry_listed_ends_once(daemon: Boot) -> None:
    row = daemon.step("recall")
    ended = row["nr_kmmscand_migrated"] + row["nr_kmmscand_migrate_failed"]
    assert 0 <= row["nr_kmmscand_migadded"] - ended - row["list_entries"] <= IN_FLIGHT


@pytest.mark.parametrize("number", [0, 1])
def test_no_window_has_more_promotions_than_its_budget(daemon: Boot, number: int) -> None:
    row = list(daemon.steps("throttle"))[number]
    budget = row["bytes_per_s"] // PAGE_BYTES
    samples = row["samples"]
    # the window that was open when the limit was written had used up to the budget of before
    for (start_s, before), (end_s, after) in itertools.combinations(samples, 2):
        windows_touched = int(end_s - start_s) + 2
        assert after - before <= budget * windows_touched
    assert samples[-1][1] > samples[0][1]


def test_where_there_is_enough_to_promote_windows_follow_each_other_by_exactly_the_budget(daemon: Boot) -> None:
    row = next(daemon.steps("throttle"))
    budget = row["bytes_per_s"] // PAGE_BYTES
    plateaus = [
        value for value, samples in itertools.groupby(count for _, count in row["samples"]) if len(list(samples)) > 5
    ]
    assert len(plateaus) >= 2
    assert set(np.diff(plateaus)) == {budget}


def test_a_throttle_of_0_promotes_nothing_and_counts_what_it_could(daemon: Boot) -> None:
    row = daemon.step("throttle 0")
    assert row["nr_kmmscand_slowtier"] > 0 == row["nr_kmmscand_migadded"]
    assert row["list_entries"] <= 0
    assert row["nr_kmmscand_migrated"] <= IN_FLIGHT


def test_a_period_acts_within_a_second(daemon: Boot) -> None:
    for row in daemon.steps("period"):
        scan_s = row["scanner_ns"] / row["nr_kmmscand_mm_scans"] / NS_PER_S
        chunks = 1 / (row["period_ms"] / 1000 + scan_s + WAKE_UP_S)
        assert row["nr_kmmscand_mm_scans"] == pytest.approx(chunks, rel=0.25, abs=1)


def test_a_chunk_ends_with_the_scan_size(daemon: Boot) -> None:
    row = daemon.step("size")
    ends = [fields["address"] for _, name, fields in row["events"] if name == "kmem_scan_mm_end"]
    walked = [after - before for before, after in itertools.pairwise(ends) if before and after]
    assert len(walked) >= 3
    assert max(walked) <= row["size_bytes"]
    assert min(walked) > row["size_bytes"] - (2 << 20)


def test_the_rule_is_the_kernels(daemon: Boot) -> None:
    """Period and size after a chunk, from those before it and what was useful in both."""
    modelled = load_daemon("kmmscand-tunable")
    ends = [fields for _, name, fields in daemon.step("rule")["events"] if name == "kmem_scan_mm_end"]
    sizes = {row["scan_size"] for row in ends}
    assert len(ends) >= 3 and len(sizes) > 1
    useful, periods = 0, [row["scan_period"] for row in ends]
    assert periods[:3] == [100, 100, 100]  # two passes say nothing of two windows in a row
    for chunk, following in itertools.pairwise(ends[2:]):
        total = (useful >> modelled.decay_shift) + chunk["total"]
        total = total if total >= modelled.ignore_threshold_pages else 0
        period = chunk["scan_period"]
        if useful and total:
            period = period * 85 // 100
        elif useful:
            period *= 8
        elif total:
            period //= 8
        else:
            period = period * 115 // 100
        assert following["scan_period"] == min(max(period, 10), 20_000)
        useful = total


def test_a_scale_of_0_takes_a_process_out(daemon: Boot) -> None:
    row = daemon.step("rule")
    assert row["skipped"]["nr_kmmscand_mm_scans"] == 0
    assert row["row"][0] == 0


def test_what_the_rule_made_of_a_process_ends_with_the_rule(daemon: Boot) -> None:
    assert daemon.step("held")["row"][1:3] == [100, 1 << 30]
    assert daemon.step("ruled")["row"][1:3] != [100, 1 << 30]


def test_the_state_stays_within_its_bound_and_counts_what_it_loses(daemon: Boot) -> None:
    row = daemon.step("state")
    assert 0 < row["now"] <= row["most"]
    assert row["lost_entries"] > 0


def test_no_thread_takes_more_of_a_processor_than_it_may(daemon: Boot) -> None:
    free, bounded = daemon.steps("processor")
    assert free["scanner_ns"] > 2 * bounded["scanner_ns"]
    for name in ("scanner_ns", "migrator_ns"):
        # one step of work more than the share: some moves, or a page table
        assert bounded[name] <= (bounded["percent"] / 100 * bounded["seconds"] + 0.15) * NS_PER_S


def test_processes_are_adopted_by_name_and_by_group_and_forgotten_when_they_exit(daemon: Boot) -> None:
    row = daemon.step("adopted")
    assert row["by_name"] == row["by_group"] == [row["pid"]]
    assert row["group"] == "/some"
    assert daemon.step("exited")["processes"] == []


def test_it_cooperates_with_demotion(daemon: Boot) -> None:
    """The hot set moves, and is on the fast node again before it moves the next time, well within 4 s."""
    row = daemon.step("demotion")
    assert row["demoted"] > 0
    seconds, moves_s = row["seconds"], row["moves_s"]
    assert moves_s <= 4
    best: dict[int, float] = {}
    for second in seconds:
        move = int(second["elapsed_s"] // moves_s)
        best[move] = max(best.get(move, 0.0), second["fast_hot_pages"] / second["hot_pages"])
    assert len(best) >= 3
    assert min(best.values()) >= 0.75


def decisions_of(daemon: Boot) -> tuple[Any, Any, IntegerPolicy]:
    """What was logged, samples and settings, and the reference."""
    source = learned_source(str(WORK / "modules/daemon-bundle"))
    policy = IntegerPolicy(source.model, source.daemon, source.observation)
    kind = np.dtype([("sample", policy.interface.sample), ("setting", policy.interface.setting)])
    log = np.frombuffer(bytes.fromhex(daemon.step("decisions")["log"]), kind)
    return log["sample"], log["setting"], policy


def test_every_decision_is_that_of_the_integer_reference(daemon: Boot) -> None:
    samples, settings, policy = decisions_of(daemon)
    assert len(samples) >= 9
    state = policy.interface.initial_state(1)
    for sample, setting in zip(samples, settings, strict=True):
        [decided] = policy.decide(sample[None], state)
        assert decided.tolist() == setting.tolist()
    assert len(np.unique(settings)) > 2


def test_a_decision_is_made_of_what_was_counted_and_put_in_force(daemon: Boot) -> None:
    samples, settings, _ = decisions_of(daemon)
    counted = daemon.step("decisions")
    for name in ("nr_kmmscand_slowtier", "nr_kmmscand_idlepage", "nr_kmmscand_migrated"):
        assert 0 < samples[name].sum() <= counted[name]
    assert samples["elapsed_ns"].mean() == pytest.approx(INTERVAL_S * NS_PER_S, rel=0.25)
    assert samples["in_force"][1:].tolist() == settings[:-1].tolist()
    assert (samples["resident_pages"] > 16_384).all()


def test_a_policy_that_observes_the_machine_does_not_load_where_nobody_tells_of_it(daemon: Boot) -> None:
    row = daemon.step("load untold")
    assert row["code"] != 0 and "observes latency_gap_ns" in row["message"]
    samples, _, _ = decisions_of(daemon)
    assert (samples["latency_gap_ns"] == 140).all() and (samples["slow_bandwidth_mb_per_s"] == 25_000).all()
    assert (samples["fast_node_pages"] > 0).all()


def test_a_policy_out_of_range_is_switched_off_and_leaves_what_was_there_at_the_start(daemon: Boot) -> None:
    row = daemon.step("broken")
    attributes = contents(row)
    assert attributes["policy"] == "[off] rule learned"
    start = load_daemon("kmmscand-tunable").start_setting
    assert int(attributes["scan_period_ms"]) == start["scan_period"]
    assert int(attributes["scan_size_bytes"]) == start["scan_size"]
    assert attributes["throttle_bytes_per_s"] == "unlimited"
    assert "decided on 7 ms" in row["message"]


def test_every_command_of_the_document_works(daemon: Boot) -> None:
    rows = list(daemon.steps("document"))
    assert [row["command"] for row in rows] == commands_of("daemon")
    assert [(row["code"], row["errors"]) for row in rows] == [(0, "")] * len(rows)
    outputs = {row["command"].split()[1]: row["output"] for row in rows if row["command"].startswith("cat ")}
    assert outputs["/sys/kernel/mm/tierd/policy"] == "off rule [learned]\n"
    assert counters_of(outputs["/sys/kernel/mm/tierd/counters"])["nr_kmmscand_mm_scans"] == 0


def test_under_lockdown_it_is_refused_with_the_reason(daemon: Boot) -> None:
    row = daemon.step("refused")
    assert row["code"] != 0
    assert "unsigned module loading is restricted" in row["message"]


def test_unloading_leaves_nothing(daemon: Boot) -> None:
    assert all(row["code"] == 0 for row in daemon.steps("unload"))
    assert daemon.step("gone") == {"step": "gone", "folder": False, "debugfs": False, "threads": []}


def test_the_kernel_has_nothing_to_complain_of(daemon: Boot) -> None:
    assert daemon.step("complaints")["lines"] == []
