"""Exporters; the sysfs script runs for real, on a copy of the file tree."""

import json
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
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
NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user may enter, unlike pytest's."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def period_file(folder: Path) -> Path:
    """mm_scan_period_ms in a copy of the tree as V1 has it."""
    path = folder / "sys/kernel/mm/kmmscand/mm_scan_period_ms"
    path.parent.mkdir(parents=True)
    path.write_text("2000\n")
    (folder / "run").mkdir()
    return path


@pytest.fixture
def script(folder: Path) -> Path:
    path = folder / "period.sh"
    export_policy(POLICY, "sysfs", path, SCENARIO)
    return path


def run(script: Path, *arguments: str, user: int | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", script, *arguments],
        env={"PATH": os.environ["PATH"], "TIERENV_ROOT": str(script.parent)},
        capture_output=True,
        text=True,
        timeout=20,
        user=user,
    )


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_dry_run_is_the_default_and_changes_nothing(script: Path, period_file: Path) -> None:
    before = tree(script.parent)
    result = run(script)
    assert (result.returncode, result.stderr) == (0, "")
    assert "2000 -> 800 with --apply" in result.stdout
    assert tree(script.parent) == before


def test_apply_then_restore_returns_to_the_start(script: Path, period_file: Path) -> None:
    before = tree(script.parent)
    assert run(script, "--apply").stdout == f"{period_file}: 2000 -> 800\n"
    assert period_file.read_text() == "800\n"
    assert run(script, "--restore").stdout == f"{period_file}: 800 -> 2000\n"
    assert tree(script.parent) == before


def test_applying_and_restoring_twice_is_as_once(script: Path, period_file: Path) -> None:
    run(script, "--apply")
    once = tree(script.parent)
    result = run(script, "--apply")
    assert (result.returncode, "already" in result.stdout, tree(script.parent)) == (0, True, once)
    run(script, "--restore")
    result = run(script, "--restore")
    assert (result.returncode, result.stdout) == (0, "nothing to restore\n")
    assert period_file.read_text() == "2000\n"


def test_second_script_keeps_the_first_original(script: Path, period_file: Path) -> None:
    other = script.with_name("other.sh")
    export_policy("static:1500,1024,inf", "sysfs", other, SCENARIO)
    run(script, "--apply")
    run(other, "--apply")
    assert period_file.read_text() == "1500\n"
    run(other, "--restore")
    assert period_file.read_text() == "2000\n"


def test_restore_leaves_what_somebody_else_wrote(script: Path, period_file: Path) -> None:
    run(script, "--apply")
    period_file.write_text("3000\n")
    result = run(script, "--restore")
    assert (result.returncode, "somebody else" in result.stdout) == (0, True)
    assert period_file.read_text() == "3000\n"


def test_later_series_are_found_under_their_name(script: Path, folder: Path, period_file: Path) -> None:
    period_file.parent.rename(period_file.parent.with_name("kscand"))
    assert run(script, "--apply").returncode == 0
    assert (folder / "sys/kernel/mm/kscand/mm_scan_period_ms").read_text() == "800\n"


def test_missing_file_is_reported(script: Path) -> None:
    result = run(script, "--apply")
    assert (result.returncode, result.stdout) == (1, "")
    assert "this kernel has no kmmscand" in result.stderr and "nothing was changed" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("content", ["", "abc\n", "-5\n"])
def test_file_that_holds_no_number_is_refused(script: Path, period_file: Path, content: str) -> None:
    period_file.write_text(content)
    result = run(script, "--apply")
    assert (result.returncode, "not a number" in result.stderr) == (1, True)
    assert period_file.read_text() == content


def test_read_only_file_is_reported_and_nothing_kept(script: Path, period_file: Path, folder: Path) -> None:
    period_file.chmod(0o444)
    (folder / "run").chmod(0o777)
    before = tree(folder)
    result = run(script, "--apply", user=NOBODY if os.geteuid() == 0 else None)
    assert (result.returncode, result.stdout) == (1, "")
    assert "cannot write" in result.stderr and "are you root?" in result.stderr
    assert result.stderr.count("\n") == 1
    assert tree(folder) == before


def test_value_the_kernel_clamps_is_put_back(script: Path, period_file: Path) -> None:
    # a file that always reads 2000, whatever is written: the kernel's answer to a value it does not take
    clamping = script.with_name("clamping.sh")
    clamping.write_text(script.read_text().replace('$(cat "$1")', "$(echo 2000)"))
    result = run(clamping, "--apply")
    assert (result.returncode, "took 2000 instead of 800; put back 2000" in result.stderr) == (1, True)
    assert period_file.read_text() == "2000\n"
    assert list((script.parent / "run").rglob("original")) == []


@pytest.mark.parametrize("arguments", [["--aply"], ["--apply", "now"], ["-h"]])
def test_bad_usage_changes_nothing(script: Path, period_file: Path, arguments: list[str]) -> None:
    result = run(script, *arguments)
    assert (result.returncode, result.stderr) == (2, "usage: period.sh [--apply | --restore]\n")
    assert period_file.read_text() == "2000\n"


def test_script_says_what_it_is_and_what_it_leaves_out(script: Path) -> None:
    header = script.read_text().split("set -eu")[0]
    for words in (POLICY, "skewed", "modelled, not measured on your machine", "processes that start afterwards"):
        assert words in header
    assert "1GiB: NOT applied" in header and "256MiB/s: NOT applied" in header
    assert os.access(script, os.X_OK)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_script_is_clean(script: Path) -> None:
    result = subprocess.run(["shellcheck", "--shell=sh", script], capture_output=True, text=True, timeout=60)
    assert result.stdout == ""


def test_line_breaks_in_names_stay_in_the_comment(folder: Path, period_file: Path) -> None:
    scenario = SCENARIO.replace(name="x\ntouch evil #")
    export_policy(POLICY, "sysfs", folder / "a.sh", scenario)
    assert all(line.startswith("#") for line in (folder / "a.sh").read_text().split("set -eu")[0].splitlines())


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("static:100,1024,inf", "500 to 5000"),
        ("static:800,1024,0", "scan_enabled"),
        ("built-in", "does not hold one setting"),
        ("random", "does not hold one setting"),
        ("runs/some-run", "--format bundle"),
        ("static:1,1024,inf", "kmmscand-tunable allows"),
    ],
)
def test_what_the_script_could_not_do_is_refused(tmp_path: Path, policy: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        export_policy(policy, "sysfs", tmp_path / "a.sh", SCENARIO)
    assert list(tmp_path.iterdir()) == []


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
    assert "tierenv tune skewed --save" in (tmp_path / "a.sh").read_text()


def test_unknown_format_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'sysfs'.*tierenv list formats"):
        export_policy(POLICY, "sysf", tmp_path / "a", SCENARIO)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "bundle"])
def test_static_formats_need_a_scenario(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="--scenario"):
        export_policy(POLICY, name, tmp_path / "a")


@pytest.mark.parametrize("policy", ["best-static", "static:800,1024,inf", "built-in"])
def test_bundle_takes_learned_policies_only(tmp_path: Path, policy: str) -> None:
    with pytest.raises(ConfigError, match="takes a run folder"):
        export_policy(policy, "bundle", tmp_path / "a", SCENARIO)
