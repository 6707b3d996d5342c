"""The verb as a command: what it writes and prints, and one line for every bad input."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_documents import blocks
from tests.train.machine.made import FILES, carry_over, unpack
from tierenv.train.cli import main

MLC, CXL = str(FILES / "mlc-3.11-default.txt"), str(FILES / "mlc-3.11-cxl.txt")
NUMACTL = str(FILES / "numactl-2.0.16-two-sockets.txt")
ONE_NODE = str(FILES / "numactl-2.0.16-one-node.txt")


def command(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    program = [sys.executable, "-m", "tierenv.train", "platform", *arguments]
    return subprocess.run(program, cwd=cwd, capture_output=True, text=True, timeout=120)


def test_files_carried_over_become_a_platform_file_and_a_table(tmp_path: Path) -> None:
    files = ["--mlc", MLC, "--mlc", CXL, "--numactl", NUMACTL]
    done = command("--output", "m.yaml", *files, "--json", "m.json", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert any("cxl.idle_latency" in line and "262.7ns" in line and "measured" in line for line in lines)
    assert any("scan_per_page" in line and "assumed" in line for line in lines)
    assert lines[-1] == "wrote m.yaml"
    fields = {row["field"]: row["value"] for row in json.loads((tmp_path / "m.json").read_text())["fields"]}
    assert fields["cxl.bandwidth"] == "26.8GB/s"


def test_the_table_of_the_document_is_the_one_that_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    carry_over(tmp_path)
    monkeypatch.chdir(tmp_path)
    document = (FILES.parents[3] / "docs/machine.md").read_text()
    given = ["--mlc", "mlc.txt", "--mlc", "cxl.txt", "--sysfs", "machine"]
    assert f"$ tierenv platform --output machine.yaml {' '.join(given)}\n" in document
    assert main(["platform", "--output", "machine.yaml", *given]) == 0
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    [table] = [content for language, content in blocks(document) if language == ""]
    rows = [line.split() for line in table.splitlines()]
    assert len(rows) == 12 and [row for row in printed if row in rows] == rows
    [value] = [content for language, content in blocks(document) if language == "yaml"]
    assert value in Path("machine.yaml").read_text()


def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = command("--output", "m.yaml", "--numactl", ONE_NODE, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "no slow node found: " in done.stderr and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mlc", "missing.txt"], "missing.txt: No such file"),
        (["--mlc", "/"], "/: Is a directory"),
        (["--mlc", "/dev/null"], "/dev/null: must be a file, not a pipe or a device"),
        (["--sysfs", "missing"], "--sysfs takes a folder"),
        (["--numactl", MLC], "is not what `numactl -H` prints"),
        (["--mlc", NUMACTL], "has no section of Intel MLC's output"),
        (["--numactl", NUMACTL, "--like", "amd-epyc-cxx"], "did you mean 'amd-epyc-cxl'"),
        (["--numactl", NUMACTL, "--like", NUMACTL], "--like: "),
        (["--numactl", NUMACTL, "--slow-node", "5"], "--slow-node=5: no such node in"),
        (["--numactl", NUMACTL, "--json", "m.yaml"], "m.yaml: is given for two outputs"),
        (["--numactl", NUMACTL, "--output", "/proc/x/m.yaml"], "/proc/x/m.yaml: "),
    ],
)
def test_each_bad_input_is_named(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    output = [] if "--output" in arguments else ["--output", "m.yaml"]
    assert main(["platform", *output, *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and message in captured.err
    assert list(tmp_path.iterdir()) == []


def test_several_slow_nodes_may_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "m.yaml"
    nodes = ["--fast-node", "0", "--slow-node", "1", "2"]
    assert main(["platform", "--output", str(output), "--numactl", NUMACTL, *nodes, "--json", "-"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["slow_nodes"] == [1, 2] and "are modelled as one" in captured.err


def test_a_root_of_a_machine_is_enough(tmp_path: Path) -> None:
    root = unpack("sysfs-6.12-two-tiers.txt", tmp_path / "root")
    assert main(["platform", "--output", str(tmp_path / "m.yaml"), "--sysfs", str(root)]) == 0
    assert "20.48GB/s" in (tmp_path / "m.yaml").read_text()
