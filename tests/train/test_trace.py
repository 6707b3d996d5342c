"""Trace events of an evaluation as a file: one JSON object a line, with the kernel's names, in order of time."""

import json
from itertools import groupby
from pathlib import Path

from tierenv.scenario import load_scenario
from tierenv.sim.lumped.trace import EVENTS
from tierenv.train.cli import main
from tierenv.train.trace import write_trace


def test_evaluate_writes_the_events_of_the_first_episode_of_every_policy(scenario_path: Path, tmp_path: Path) -> None:
    trace = tmp_path / "events.jsonl"
    policies = ["--policy", "kmmscand-v1", "--policy", "no-migration"]
    assert main(["evaluate", str(scenario_path), "--seeds", "2", *policies, "--trace", str(trace)]) == 0
    events = [json.loads(line) for line in trace.read_text().splitlines()]
    fields = dict(EVENTS)
    by_policy = {policy: list(group) for policy, group in groupby(events, key=lambda event: event["policy"])}
    assert list(by_policy) == ["kmmscand-v1", "no-migration"]
    for group in by_policy.values():
        assert [event["time_s"] for event in group] == sorted(event["time_s"] for event in group)
        assert group[0]["event"] == "kmem_mm_enter" and group[-1]["event"] == "kmem_mm_exit"
        for event in group:
            assert {"scenario", "policy", "time_s", "event", *fields[event["event"]]} == set(event)
    assert any(event["event"] == "kmem_scan_mm_migrate" and event["rc"] == 0 for event in by_policy["kmmscand-v1"])
    assert len(by_policy["no-migration"]) == 2, "a daemon that is off does nothing"


def test_the_file_is_the_same_each_time(scenario_path: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_trace(tmp_path / name, [(load_scenario(str(scenario_path)), "built-in")], seed=10_000)
    assert (tmp_path / "one").read_text() == (tmp_path / "other").read_text() != ""


def test_a_place_that_cannot_be_written_is_refused_before_the_work(scenario_path: Path, tmp_path: Path) -> None:
    assert main(["evaluate", str(scenario_path), "--policy", "built-in", "--trace", str(tmp_path)]) == 2
