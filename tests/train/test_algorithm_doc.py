"""docs/algorithm.md and the study behind its table of equal time."""

import json
from pathlib import Path

import pytest

from tests.train.tiny_training import TINY_TRAINING, write_scenario, write_training
from tierenv.train.algorithms import ALGORITHMS
from tierenv.train.config import TrainingConfig, load_training_config
from tierenv.train.studies import algorithm_doc, algorithms

TEXT = algorithm_doc.ALGORITHM_DOC.read_text(encoding="utf-8")


def test_the_tables_are_current() -> None:
    assert algorithm_doc.render(TEXT) == TEXT, "run: python -m tierenv.train.studies.algorithm_doc"


def test_every_algorithm_has_its_line_and_its_configuration() -> None:
    for name in ALGORITHMS:
        assert f"| `{name}` | " in algorithm_doc.table()
        config = load_training_config(f"{name}-moving-hot-set")
        assert config.algorithm == name and [entry.name for entry in config.scenarios] == list(algorithms.SCENARIOS)


def test_a_study_trains_judges_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(name: str) -> TrainingConfig:
        algorithm = name.removesuffix("-moving-hot-set")
        return load_training_config(str(write_training(tmp_path, algorithm=algorithm, hyperparameters={"n_steps": 8})))

    write_scenario(tmp_path)
    monkeypatch.setattr(algorithms, "load_training_config", load)
    monkeypatch.setattr(algorithms, "SCENARIOS", ["moving-hot-set"])
    result = tmp_path / "algorithms.json"
    options = ["--wall-time", "1us", "--training-seeds", "2", "--seeds", "1", "--algorithms", "a2c"]
    options += ["--folder", str(tmp_path / "runs"), "--json", str(result)]
    assert algorithms.main(options) == 0
    first = json.loads(result.read_text())
    assert [(row["algorithm"], row["seed"]) for row in first["rows"]] == [("a2c", 0), ("a2c", 1)]
    assert all(row["timesteps"] > 0 and row["scenarios"]["moving-hot-set"]["gap_closed"] < 1 for row in first["rows"])
    assert algorithms.main(options) == 0
    second = json.loads(result.read_text())
    assert second == first  # nothing was left to train

    monkeypatch.setattr(algorithm_doc, "RESULT", result)
    table = algorithm_doc.comparison()
    assert "| `a2c` | 0.00 | " in table and "mean of 2 trainings" in table and "| `best-static` |  | " in table
    assert TINY_TRAINING["timesteps"] < algorithms.MOST_TIMESTEPS
