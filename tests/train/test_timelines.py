"""Timelines of an evaluation: of its very episodes, of bounded size, and only where there is a file for them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tierenv import palette
from tierenv.scenario import load_scenario
from tierenv.train import timelines
from tierenv.train.cli import main
from tierenv.train.html_report.kinds import read_section
from tierenv.train.timelines import record_timelines


def test_stored_timelines_are_of_the_first_episode_of_each_policy(scenario_path: Path, tmp_path: Path) -> None:
    result = tmp_path / "a.json"
    policies = ["--policy", "kmmscand-v1", "--policy", "static:1000,1024,256"]
    options = ["--seeds", "2", *policies, "--json", str(result)]
    assert main(["evaluate", str(scenario_path), *options, "--timelines"]) == 0
    content = json.loads(result.read_text())
    for row, entry in zip(content["rows"], content["timelines"], strict=True):
        assert (entry["scenario"], entry["policy"], entry["seed"]) == (row["scenario"], row["policy"], 10000)
        assert entry["time_s"][0] == 0 and entry["time_s"][-1] == pytest.approx(row["seconds"]["runs"][0], rel=1e-4)
        held = np.sum([each["fast_gib"] for each in entry["classes"]], axis=0)
        assert 0 < held.max() <= entry["capacity_gib"] * (1 + 1e-4)
        starts = [phase["from_s"] for phase in entry["phases"]]
        assert starts[0] == 0 and starts == sorted(starts) and len(starts) > 1
    assert [each["name"] for each in content["timelines"][1]["tunables"]][:2] == ["scan_period", "scan_size"]
    assert {value for value in content["timelines"][1]["tunables"][0]["values"][1:]} == {1000.0}
    del content["timelines"]
    assert main(["evaluate", str(scenario_path), *options]) == 0
    assert json.loads(result.read_text()) == content, "nothing else is another for it"


def test_what_is_stored_can_be_reported(scenario_path: Path, tmp_path: Path) -> None:
    result = tmp_path / "a.json"
    options = ["--seeds", "1", "--policy", "no-migration", "--json", str(result), "--timelines"]
    assert main(["evaluate", str(scenario_path), *options]) == 0
    assert "Over time" in [part.title for part in read_section(result).parts]


def test_timelines_are_of_bounded_size(scenario_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timelines, "MOST_POINTS", 7)
    monkeypatch.setattr(palette, "MOST_LAYERS", 2)
    (entry,) = record_timelines([(load_scenario(str(scenario_path)), "built-in")], 10000)
    assert len(entry["time_s"]) == 7
    names = [each["name"] for each in entry["classes"]]
    assert len(names) == 2 and set(re.findall(r"\b[a-e]\b", " ".join(names))) >= {"a", "b", "e"}
    assert all(len(each["fast_gib"]) == 7 for each in entry["classes"])


def test_timelines_without_a_file_for_them_are_refused(scenario_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(scenario_path), "--policy", "built-in", "--timelines"]) == 2
    assert "--timelines" in capsys.readouterr().err
