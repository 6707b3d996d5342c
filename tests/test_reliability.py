"""Kills of commands and scripts at random moments, a few; `python -m tests.reliability` does many."""

import random
from pathlib import Path

import pytest

from tests import reliability
from tests.reliability import Case, all_cases, corrupt_files, try_case


@pytest.mark.expensive
@pytest.mark.parametrize("name", all_cases())
def test_a_kill_needs_no_human(name: str) -> None:
    outcome = all_cases()[name](2 if ": " in name else 1, random.Random(name))
    assert outcome.problems == []
    assert outcome.kills >= 1


@pytest.mark.parametrize(
    ("name", "content"), [("a.json", '{"a": '), ("a.zip", "PK"), ("a.safetensors", "x"), ("a.yaml", "a: [")]
)
def test_a_torn_file_is_found(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    (tmp_path / f".{name}.0123abcd.tmp").write_text(content)
    (tmp_path / "whole.json").write_text("{}")
    [problem] = corrupt_files(tmp_path)
    assert problem.startswith(f"{name}: ")


CARELESS = {
    "torn": "import time; f = open('a.json', 'w'); f.write('[1'); f.flush(); time.sleep(1); f.write(']')",
    "stuck": "import os, sys, time; os.path.exists('lock') and sys.exit(3); open('lock', 'w'); time.sleep(1); "
    "os.remove('lock')",
    "left": "import os, time; name = f'{os.getpid()}.part'; open(name, 'w'); time.sleep(1); os.remove(name)",
    "different": "import os, time; again = os.path.exists('a'); open('a', 'w').write('2' * again); time.sleep(1)",
}
"""Programs that are not made to be killed, by what is wrong with them then."""


@pytest.mark.parametrize("fault", CARELESS)
def test_a_program_that_cannot_stand_it_is_found_out(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reliability, "command", lambda arguments: [reliability.sys.executable, "-c", *arguments])
    case = Case("careless", (CARELESS[fault],), results=lambda folder: [path.read_text() for path in folder.glob("a")])
    outcome = try_case(case, 2, random.Random(1))
    found = {
        "torn": outcome.corrupt_files,
        "stuck": outcome.needed_a_human,
        "left": outcome.left_behind,
        "different": outcome.different_results,
    }
    assert found[fault] > 0 and outcome.problems
