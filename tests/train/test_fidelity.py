"""The model against the published table."""

import pytest

from tierenv.measurements import read_measurements
from tierenv.scenario import load_scenario
from tierenv.train.fidelity import main, modelled_seconds


def test_kmmscand_v1_is_within_a_tenth_of_every_measured_cell() -> None:
    cells = [cell for cell in read_measurements("abench_rfc_v1") if cell.system == "kmmscand-v1"]
    assert len(cells) == 4
    seconds = modelled_seconds(cells, load_scenario("abench-8g"))
    assert seconds == pytest.approx([cell.seconds for cell in cells], rel=0.1)


def test_table_names_every_cell(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    table = capsys.readouterr().out
    assert all(f"{size} GiB" in table for size in (8, 16, 32, 64))


def test_unknown_measurements_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--measurements", "abench_rfc_v9"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
