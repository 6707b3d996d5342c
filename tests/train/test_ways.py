"""Ways to train the generalist: each is the preset with what it says changed, and a table tells what it comes to."""

import json
from pathlib import Path

import pytest

from tierenv.train.config import TrainingConfig, load_training_config
from tierenv.train.studies import learning_doc, ways
from tierenv.train.studies.ways import WAYS

PRESET = """
like: ppo-generalist
family:
  like: generalist
  base: {regions: 4}
  splits: {training: {scenarios: 192}, selection: {scenarios: 3}}
regions: 2
num_envs: 128
hyperparameters: {n_steps: 12, batch_size: 512, n_epochs: 1}
evaluation: {interval: 1000, seeds: 1}
"""


@pytest.fixture(scope="module")
def preset_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ways") / "preset.yaml"
    path.write_text(PRESET)
    return path


@pytest.fixture(scope="module")
def preset(preset_path: Path) -> TrainingConfig:
    return load_training_config(str(preset_path))


def differences(preset: TrainingConfig, config: TrainingConfig) -> set[str]:
    """Fields in which a configuration is not the preset."""
    theirs, own = (entry.model_dump(exclude={"scenarios"}) for entry in (preset, config))
    return {field for field in theirs if theirs[field] != own[field]}


@pytest.mark.parametrize("name", ["preset", "shipped start", "seldom to win", "losses thrice", "one each"])
def test_a_way_differs_in_what_it_says(preset: TrainingConfig, name: str) -> None:
    way = WAYS[name]
    config = way.configuration(preset, preset.timesteps, preset.seed)
    said = {*way.changes, *(["family"] if way.mix else [])}
    said |= {"family_scenarios"} if way.has_no_turns else set()
    assert differences(preset, config) == said and bool(said) == (name != "preset")
    assert config.selection_scenarios == preset.selection_scenarios, "all are judged on the same"
    assert (config.scenarios != preset.scenarios) == bool(way.mix)


def test_the_other_ways_are_what_a_configuration_takes(preset: TrainingConfig) -> None:
    for way in WAYS.values():
        preset.with_overrides(**way.changes)


def test_ways_are_trained_judged_and_told(
    preset_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    result = tmp_path / "generalist-ways.json"
    where = ["--folder", str(tmp_path / "runs"), "--json", str(result)]
    few = ["--preset", str(preset_path), "--timesteps", "1536", "--seeds", "1", "--ways", "preset", "slow start"]
    assert ways.main([*where, *few]) == 0
    rows = json.loads(result.read_text())["rows"]
    assert [row["way"] for row in rows] == ["preset", "slow start"]
    for row in rows:
        classes = {group: time for group, time in row["time_over_no_migration"].items() if group != "all"}
        assert min(classes.values()) <= row["time_over_no_migration"]["all"] <= max(classes.values()) <= row["worst"]
    assert "slow start" in capsys.readouterr().out
    monkeypatch.setattr(learning_doc, "RESULTS", tmp_path)
    text = learning_doc.render(learning_doc.LEARNING_DOC.read_text(encoding="utf-8"))
    assert (
        "| *slow start*: begins with a scan in 12 s and a high throttle | 0 | " in text
        and "1,536 environment steps each" in text
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ways", "preset", "fast strat"], "--ways=fast strat: unknown; did you mean 'fast start'?; allowed: pre"),
        (["--preset", "ppo-abench"], "--preset=ppo-abench: must train on a family"),
        (["--preset", "ppo-generlist"], "unknown algorithm 'ppo-generlist'"),
    ],
)
def test_bad_options_are_told_in_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ways.main(["--folder", str(tmp_path / "runs"), *options]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"tierenv: {message}") and told.count("\n") == 1
    assert not (tmp_path / "runs").exists()
