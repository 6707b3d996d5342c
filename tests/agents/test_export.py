"""Exporters: what all of them share, and the JSON of static settings."""

import json
import math
from pathlib import Path

import pytest

from tierenv.agents.export import FORMATS, export_policy
from tierenv.agents.heuristics import best_static
from tierenv.agents.heuristics.best_static import BestStatic, write_best_static
from tierenv.errors import ConfigError
from tierenv.scenario import load_scenario
from tierenv.tunables import TUNABLES, TunableSetting
from tierenv.units import GIB, MIB

SCENARIO = load_scenario("skewed")
POLICY = "static:800,1024,256"


def test_parameters_carry_units_and_paths(tmp_path: Path) -> None:
    export_policy("static:800,1024,inf", "parameters", tmp_path / "a.json", SCENARIO)
    content = json.loads((tmp_path / "a.json").read_text())
    rows = {row["name"]: (row["value"], row["unit"]) for row in content["tunables"]}
    assert rows == {
        "scan_period_ms": (800, "ms"),
        "scan_size_bytes": (GIB, "bytes"),
        "throttle_bytes_per_s": (None, "bytes/s"),
    }
    assert [row["kernel_path"]["kmmscand-v1"] for row in content["tunables"]] == [row.v1_path for row in TUNABLES]
    assert (content["scenario"], content["origin"]["caveat"]) == (
        "skewed",
        "modelled, not measured on your machine",
    )


def test_best_static_brings_its_provenance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(best_static, "default_path", lambda: tmp_path / "best-static.json")
    best = BestStatic(
        daemon="kmmscand-tunable",
        setting=BestStatic.stored(TunableSetting(800, 512 * MIB, math.inf)),
        mean_s=201.5,
        trials=144,
        episodes=616,
        env_steps=70_000,
        wall_s=6.5,
        seeds=(20000, 20001),
        command="tierenv tune skewed --save",
        git_revision="abc",
    )
    write_best_static("skewed", best)
    export_policy("best-static", "parameters", tmp_path / "a.json", SCENARIO)
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["tunables"][1]["value"] == 512 * MIB
    assert content["provenance"]["settings_tried"] == 144
    export_policy("best-static", "sysfs", tmp_path / "a.sh", SCENARIO)
    comment = " ".join((tmp_path / "a.sh").read_text().replace("\n#", " ").split())
    assert "the best of 144 static settings (201.5 s on 2 tuning episodes), tierenv tune skewed --save" in comment


def test_unknown_format_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'sysfs'.*tierenv list formats"):
        export_policy(POLICY, "sysf", tmp_path / "a", SCENARIO)


LEARNED = ("bundle", "rules", "kernel-c", "onnx")


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in LEARNED])
def test_static_formats_need_a_scenario(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="--scenario"):
        export_policy(POLICY, name, tmp_path / "a")


@pytest.mark.parametrize("policy", ["best-static", "static:800,1024,inf", "built-in"])
def test_bundle_takes_learned_policies_only(tmp_path: Path, policy: str) -> None:
    with pytest.raises(ConfigError, match="takes a run folder"):
        export_policy(policy, "bundle", tmp_path / "a", SCENARIO)
