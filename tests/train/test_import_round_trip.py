"""A workload, recorded by DAMON in the model and imported, behaves as the one that was recorded."""

from pathlib import Path

import numpy as np
import pytest

from tierenv.errors import ConfigError
from tierenv.scenario import load_scenario
from tierenv.train.imports import damon_writer
from tierenv.train.imports.damon_writer import write_damon_record
from tierenv.train.studies.import_doc import SEED, loss, recorded, scenario


def test_a_contiguous_workload_takes_the_same_time_and_the_same_best_setting(tmp_path: Path) -> None:
    found = loss({}, {}, tmp_path)
    shares = [each.fraction for each in found.imported.workload.classes]
    assert sorted(shares) == pytest.approx([0.2, 0.3, 0.5], abs=0.01), "of 100 regions"
    assert not any("at every check" in note for note in found.imported.notes)
    assert found.work_found == pytest.approx(1, abs=0.02)
    assert np.ptp(found.true_s) > 0.1 * found.true_s.min(), "something is at stake"
    assert found.worst_error < 0.02 and found.regret < 0.01


def test_the_time_of_an_access_is_that_of_the_record(tmp_path: Path) -> None:
    found = recorded(scenario(), tmp_path / "record", is_work_given=False)
    assert found.run_s is not None and found.access_ns == pytest.approx(2e9 * found.run_s / (300 << 18), rel=0.02)
    assert recorded(scenario(), tmp_path / "record").access_ns is None, "whole work, and perhaps a part of the time"


def test_phases_come_back_with_their_work(tmp_path: Path) -> None:
    shares = [{"hot": 0.8, "warm": 0.17, "cold": 0.03}, {"hot": 0.05, "warm": 0.05, "cold": 0.9}]
    phases = [{"name": f"p{work}", "work": work, "access_share": shares[work % 2]} for work in (3, 2, 1)]
    imported = recorded(scenario(phases=phases), tmp_path / "record")
    assert [phase.work for phase in imported.workload.phases] == pytest.approx([1 / 2, 1 / 3, 1 / 6], abs=0.02)
    assert len(imported.workload.classes) == 3


def test_what_a_scattered_layout_loses_is_its_heat(tmp_path: Path) -> None:
    imported = recorded(scenario(layout="scattered"), tmp_path / "record")
    assert len(imported.workload.classes) == 1, "every region holds the same mixture"
    assert any("scattered" in note for note in imported.notes)


def test_what_a_saturated_counter_loses_is_said(tmp_path: Path) -> None:
    imported = recorded(scenario(), tmp_path / "record", sample_interval_s=0.25, aggregation_interval_s=1.0)
    assert any("at every check" in note for note in imported.notes)


def test_a_record_is_of_one_process_and_of_bounded_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record"
    with pytest.raises(ConfigError, match="one process"):
        write_damon_record(path, load_scenario("noisy-neighbour"), SEED)
    monkeypatch.setattr(damon_writer, "MOST_ROWS", 1000)
    with pytest.raises(ConfigError, match="shorter"):
        write_damon_record(path, scenario(), SEED)
    assert not path.exists()
