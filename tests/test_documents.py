"""Every command and every program in the documents works, in the order in which a reader would try them.

Commands of the project run shortened (tests/shortened.py says how far); targets of make and scripts are looked up and
not run, for tests/test_quickstart.py does that, and what needs root or a TuneD daemon (`sudo`, `tuned-adm`) is left
out, for tests/agents/test_export_static.py does.
A block that begins with the name of a file, as a comment, is that file's content.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from tests.tools import SBIN, needs
from tests.train.machine.made import carry_over
from tests.train.test_replay import recorded_by_the_model
from tierenv.heat import Heat
from tierenv.records import load_record
from tierenv.scenario import load_scenario
from tierenv.short_forms import LoadCurve, ShortForms
from tierenv.workload import Workload

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

PROGRAMS = ("tierenv", "make", "python", ".venv/bin/tierenv", ".venv/bin/python")
"""What an indented block that holds commands begins with; other such blocks are formulas."""
NOT_RUN = ("sudo", "tuned-adm")
BUILDS_A_MODULE = "make -C "
"""What takes headers of a kernel; tests/kernel runs it."""

FILES = ("yaml", "csv")
"""Languages of blocks that are files, as those of Python are: the first line names one, behind a `# `."""
FILE_NAME = re.compile(r"# ([\w.-]+\.(?:yaml|csv|py))\n")
RECORD = "host.jsonl"
"""What `tierenv live record` has written on a host, for the documents that go on from it."""

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$|((?:^    [^\n]*\n)+)", re.DOTALL | re.MULTILINE)


def blocks(text: str) -> list[tuple[str, str]]:
    """Returns the language and the content of every block; that of an indented one is "indented"."""
    return [
        (match[1], match[2]) if match[3] is None else ("indented", textwrap.dedent(match[3]))
        for match in BLOCK.finditer(text)
    ]


def commands(language: str, content: str) -> str:
    """Returns what a shell runs of a block, nothing if it holds no program."""
    if language in (*FILES, "python") and (name := FILE_NAME.match(content)):
        return f"cat > {name[1]} <<'END'\n{content}END\n"
    if language == "python":
        return f"$PYTHON - <<'END'\n{content}END\n"
    if language == "console":
        lines = [line[2:] for line in content.splitlines() if line.startswith("$ ")]
        lines = [line for line in lines if not line.startswith(BUILDS_A_MODULE)]
        return "".join(f"{line}\n" for line in lines if shlex.split(line)[0] not in NOT_RUN)
    if language == "indented" and content.split()[0] in PROGRAMS:
        return content
    return ""


def script(document: Path) -> str:
    """Returns all commands of a document."""
    return "".join(commands(*block) for block in blocks(document.read_text(encoding="utf-8")))


SHORTENED = f'PYTHONPATH="{ROOT}" exec "{sys.executable}" -m tests.shortened'
STAND_INS = {
    "tierenv": f'{SHORTENED} tierenv.train "$@"',
    "python": f'[ -f "$1" ] && exec "{sys.executable}" "$@"; [ "$1" != -m ] && exec test -f "{ROOT}/$1"; shift && '
    f'{SHORTENED} "$@"',
    "make": f'exec "{shutil.which("make")}" --directory "{ROOT}" --dry-run "$@" > /dev/null',
}
"""What a document's programs are replaced by."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Returns a folder like a checkout to its reader, in which the project's programs stand for shorter ones."""
    for name in ("docs", "results", ".venv/bin"):
        (tmp_path / name).mkdir(parents=True)
    for name, command in STAND_INS.items():
        path = tmp_path / ".venv/bin" / name
        path.write_text(f"#!/bin/sh\n{command}\n")
        path.chmod(0o755)
    carry_over(tmp_path)  # what docs/machine.md brings from another machine
    (tmp_path / RECORD).write_text("".join(f"{json.dumps(line)}\n" for line in recorded_by_the_model({})))
    return tmp_path


@pytest.mark.expensive
@needs("gcc")
@needs("jq")
@needs("sysctl")
@needs("systemd-tmpfiles")
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_of_the_documents_work(document: Path, folder: Path) -> None:
    search = f"{folder}/.venv/bin:{os.environ['PATH']}:{SBIN}"
    result = subprocess.run(
        ["bash", "-euxc", script(document)],
        cwd=folder,
        env=os.environ | {"PATH": search, "PYTHON": sys.executable, "XDG_DATA_HOME": str(folder / "data")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr


def test_blocks_of_every_form_are_found() -> None:
    text = (
        "    make demo   # all\n\n    t = think\n\n```console\n$ ls a\nb\n$ sudo rm a\n```\n"
        "```python\nprint(1)\n```\n```\nT = 1\n```\n```c\nint x;\n```\n"
        "```yaml\n# a.yaml\nlike: b\n```\n```yaml\nlike: b\n```\n"
    )
    assert [commands(*block) for block in blocks(text)] == [
        "make demo   # all\n", "", "ls a\n", "$PYTHON - <<'END'\nprint(1)\nEND\n", "", "",
        "cat > a.yaml <<'END'\n# a.yaml\nlike: b\nEND\n", "",
    ]  # fmt: skip


def test_files_in_the_documents_are_read(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "workload.md").read_text(encoding="utf-8")
    files = {content.splitlines()[0][2:]: content for language, content in blocks(text) if language in FILES}
    assert len(files) == sum(language in FILES for language, _ in blocks(text)) > 12, "each has a name of its own"
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert len(yaml.safe_load(files["moving.yaml"])) == len(yaml.safe_load(files["shop.yaml"])) == 5
    moving = load_record("workloads", Workload, str(tmp_path / "moving.yaml"))
    assert len(moving.classes) * len(moving.phases) == 256
    said: set[str] = set()
    for name in files:
        keys = yaml.safe_load(files[name]) if name.endswith(".yaml") else {}
        if {"corunners", "objective"} & set(keys):
            assert load_scenario(str(tmp_path / name)).corunners
        elif keys:
            assert load_record("workloads", Workload, str(tmp_path / name)).classes
            said |= {*keys, *(keys.get("heat") or {}), *(keys["load"] if isinstance(keys.get("load"), dict) else {})}
    assert {*ShortForms.model_fields, *Heat.model_fields, *LoadCurve.model_fields} <= said, "every form has an example"


def test_no_document_is_left_out() -> None:
    markdown = {path for path in ROOT.glob("*.md")} | {path for path in (ROOT / "docs").rglob("*.md")}
    assert markdown - {ROOT / "CHANGELOG.md"} == {path for path in DOCUMENTS if path.is_file()}
    assert all(script(ROOT / name) for name in ("README.md", "docs/export.md", "docs/model.md", "docs/workload.md"))


def test_contributing_names_what_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").replace("\\_", "_")
    named = set(re.findall(r"\b(?:tierenv|agents|train|tests|configs|docs)/[\w/.]*\w", text))
    assert len(named) > 20
    assert [name for name in sorted(named) if "NAME" not in name and not (ROOT / name).exists()] == []
