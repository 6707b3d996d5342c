"""docs/export.md says what the tables of the program say."""

import re
import shlex
from pathlib import Path

import pytest

from tierenv.agents.export import FORMATS
from tierenv.agents.export.targets import TARGETS
from tierenv.tunables import TUNABLES

TEXT = (Path(__file__).parents[2] / "docs/export.md").read_text(encoding="utf-8")
EXPORTS = [shlex.split(line[2:]) for line in TEXT.splitlines() if line.startswith("$ tierenv export ")]
ROWS = {
    cells[0]: cells[1:] for cells in (line.strip("| ").split(" | ") for line in TEXT.splitlines() if line[:1] == "|")
}


def option(command: list[str], name: str) -> str | None:
    return command[command.index(name) + 1] if name in command else None


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_its_row_and_its_example(name: str) -> None:
    assert any(f"`{name}`" in cells for cells in ROWS.values())
    assert any(option(command, "--format") == name for command in EXPORTS)


@pytest.mark.parametrize("target", TARGETS)
def test_table_of_targets_is_the_programs(target: str) -> None:
    row = TARGETS[target]
    assert ROWS[f"`{target}`"] == [row.tunables.get(name, "-") for name in TUNABLES]
    assert any(target in command for command in EXPORTS)


@pytest.mark.parametrize("command", EXPORTS, ids=" ".join)
def test_examples_name_what_exists(command: list[str]) -> None:
    name, target = option(command, "--format"), option(command, "--target")
    assert name in FORMATS
    assert target is None or target in FORMATS[name].targets
    assert set(re.findall(r"--[a-z-]+", " ".join(command))) <= {
        "--format",
        "--output",
        "--scenario",
        "--daemon",
        "--target",
        "--evaluation",
        "--with-demotion",
    }
