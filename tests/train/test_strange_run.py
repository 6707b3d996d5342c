"""Run folders of strangers, and spoiled ones: data that is read or refused in one line, never code."""

import base64
import io
import json
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.train.tiny_training import write_scenario, write_training
from tierenv.train.cli import main


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained run and what it was trained with."""
    root = tmp_path_factory.mktemp("trained")
    write_scenario(root)
    config = write_training(root)
    assert main(["train", str(config), "--run-dir", str(root / "run")]) == 0
    return root


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run to spoil."""
    return Path(shutil.copytree(trained / "run", tmp_path / "run"))


def commands(trained: Path, run: Path, tmp_path: Path) -> dict[str, list[str]]:
    """All that reads a run's folder."""
    scenario = str(run / "scenarios" / "moving-hot-set.yaml")
    return {
        "evaluate": ["evaluate", scenario, "--policy", str(run), "--seeds", "1"],
        "export": ["export", str(run), "--format", "bundle", "--output", str(tmp_path / "bundle")],
        "distil": ["distil", str(run), "--output", str(tmp_path / "tree"), "--leaves", "2", "--seeds", "1"],
        "resume": ["train", str(trained / "training.yaml"), "--run-dir", str(run), "--resume", "--timesteps", "160"],
    }


def rewrite(archive_path: Path, change: Callable[[dict[str, bytes]], object]) -> None:
    """Change an archive's members."""
    with zipfile.ZipFile(archive_path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(archive_path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def put_into_data(members: dict[str, bytes], payload: Payload) -> None:
    data = json.loads(members["data"])
    data["policy_class"][":serialized:"] = base64.b64encode(pickle.dumps(payload)).decode()
    members["data"] = json.dumps(data).encode()


def put_into(member: str) -> Callable[[dict[str, bytes], Payload], None]:
    def put(members: dict[str, bytes], payload: Payload) -> None:
        buffer = io.BytesIO()
        torch.save(payload, buffer)
        members[member] = buffer.getvalue()

    return put


def put_pickle_alone(members: dict[str, bytes], payload: Payload) -> None:
    members["policy.pth"] = pickle.dumps(payload)


@pytest.mark.parametrize(
    ("put", "refused_by"),
    [
        (put_into_data, ()),
        (put_into("policy.pth"), ("evaluate", "export", "distil", "resume")),
        (put_pickle_alone, ("evaluate", "export", "distil", "resume")),
        (put_into("pytorch_variables.pth"), ("resume",)),
    ],
)
@pytest.mark.parametrize("verb", ["evaluate", "export", "distil", "resume"])
def test_no_pickle_of_a_run_folder_runs(
    trained: Path,
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    put: Callable[[dict[str, bytes], Payload], None],
    refused_by: tuple[str, ...],
    verb: str,
) -> None:
    mark = tmp_path / "taken"
    for model in run.rglob("*.zip"):
        rewrite(model, lambda members: put(members, Payload(mark)))
    outcome = main(commands(trained, run, tmp_path)[verb])
    assert not mark.exists()
    assert outcome == (2 if verb in refused_by else 0)
    if verb in refused_by:
        assert capsys.readouterr().err.splitlines()[-1].startswith("tierenv: ")


def test_payload_would_run_if_it_were_unpickled(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(tmp_path / "taken")))
    assert (tmp_path / "taken").exists()


def with_weight(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, bytes]], None]:
    def rewritten(members: dict[str, bytes]) -> None:
        state = torch.load(io.BytesIO(members["policy.pth"]), weights_only=True)
        change(state)
        buffer = io.BytesIO()
        torch.save(state, buffer)
        members["policy.pth"] = buffer.getvalue()

    return rewritten


def inflate(members: dict[str, bytes]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("archive/data/0", bytes(64 << 20))
    members["policy.pth"] = buffer.getvalue()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda members: members.pop("policy.pth"), "There is no item named 'policy.pth'"),
        (lambda members: members.update({"policy.pth": b"x" * 100}), "not a zip file"),
        (lambda members: members.update({"policy.pth": bytes(64 << 20)}), "policy.pth holds 67108864 bytes"),
        (inflate, "policy.pth holds 67108864 bytes"),
        (with_weight(lambda state: state.pop("action_net.bias")), r"lacks action_net.bias"),
        (with_weight(lambda state: state.update({"action_net.bias": torch.zeros(4)})), r"has shape \(4,\)"),
        (with_weight(lambda state: state.update({"action_net.bias": "x"})), "cannot be loaded"),
        (with_weight(lambda state: state["action_net.bias"].fill_(np.nan)), "must be finite"),
    ],
)
def test_a_spoiled_model_is_named(
    run: Path, capsys: pytest.CaptureFixture[str], change: Callable[[dict[str, bytes]], object], reason: str
) -> None:
    model = run / "best" / "model.zip"
    rewrite(model, change)
    assert main(["evaluate", str(run / "scenarios/moving-hot-set.yaml"), "--policy", str(run), "--seeds", "1"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tierenv: {model}: ")
    assert re.search(reason, line), line


@pytest.mark.parametrize("name", ["manifest.json", "evaluations.json", "best/evaluation.json"])
@pytest.mark.parametrize(
    "content", ["", "[]", "7", '{"schema": 7}', '{"schema": 1, "evaluations": 7, "times_resumed": "x"}', "{" * 9999]
)
def test_documents_of_the_wrong_shape_are_named(
    trained: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str
) -> None:
    (run / name).write_text(content)
    assert main(commands(trained, run, tmp_path)["resume"]) in (0, 2)
    error = capsys.readouterr().err
    assert "Traceback" not in error
    if "tierenv: " in error:
        assert f"{run / name}: " in error.splitlines()[-1]


@pytest.mark.parametrize(
    "place", ["checkpoints/step_0000000192.zip", "evaluations.json", "progress.csv", "checkpoints", "tb", "scenarios/x"]
)
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_run_leads_nowhere_else(
    trained: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, kind: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "precious").mkdir(parents=True)
    for number in range(5):
        (elsewhere / f"step_{number:010d}.zip").write_text("x")
    path = run / place
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if kind == "link":
        path.symlink_to(elsewhere)
    else:
        os.mkfifo(path)
    before = sorted(elsewhere.rglob("*"))
    assert main(commands(trained, run, tmp_path)["resume"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tierenv: {path}: is a link, a pipe or a device")
    assert sorted(elsewhere.rglob("*")) == before


@pytest.mark.parametrize(
    ("place", "is_folder"),
    [("tb", False), ("best", False), ("checkpoints", False), ("progress.csv", True), ("best/model.zip", True)],
)
def test_files_and_folders_are_what_they_should_be(
    trained: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, is_folder: bool
) -> None:
    path = run / place
    if is_folder:
        path.unlink()
        path.mkdir()
    else:
        shutil.rmtree(path)
        path.write_text("")
    assert main(commands(trained, run, tmp_path)["resume"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tierenv: {path}: must be a {'file' if is_folder else 'folder'}; remove the ")


def with_flag(content: bytes) -> bytes:
    """Marks the members of an archive as encrypted."""
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(mark)
        while start >= 0:
            content = content[: start + offset] + b"\x01" + content[start + offset + 1 :]
            start = content.find(mark, start + 1)
    return content


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "torn": lambda content: content[:1000],
    "encrypted": with_flag,
    "of another kind": lambda _content: b"x" * 100,
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_run_goes_on_from_whatever_is_whole(
    trained: Path, run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[bytes], bytes]
) -> None:
    for path in run.glob("checkpoints/*.zip"):
        path.write_bytes(spoil(path.read_bytes()))
    evaluations = json.loads((run / "evaluations.json").read_text())["evaluations"]
    best = json.loads((run / "best" / "evaluation.json").read_text())
    assert main(commands(trained, run, tmp_path)["resume"]) == 0
    assert "is broken; going on from the one before" in caplog.text
    kept = json.loads((run / "evaluations.json").read_text())["evaluations"]
    before = [entry for entry in evaluations if entry["timesteps"] <= best["timesteps"]]
    assert kept[: len(before)] == before and len(kept) > len(before)


def test_where_nothing_is_whole_nothing_is_begun(
    trained: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in run.rglob("*.zip"):
        path.write_bytes(path.read_bytes()[:1000])
    before = (run / "progress.csv").read_bytes()
    assert main(commands(trained, run, tmp_path)["resume"]) == 2
    assert "no model in it is whole; choose another --run-dir" in capsys.readouterr().err
    assert (run / "progress.csv").read_bytes() == before


@pytest.mark.parametrize("timesteps", [10**30, -5, "x", None, 77])
def test_a_checkpoint_that_says_another_number_of_steps_is_broken(
    trained: Path, run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, timesteps: object
) -> None:
    def lie(members: dict[str, bytes]) -> None:
        members["data"] = json.dumps(json.loads(members["data"]) | {"num_timesteps": timesteps}).encode()

    rewrite(run / "checkpoints" / "step_0000000128.zip", lie)
    assert main(commands(trained, run, tmp_path)["resume"]) == 0
    assert "step_0000000128.zip: is broken" in caplog.text


def test_a_checkpoint_that_has_diverged_is_named(
    trained: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil = with_weight(lambda state: state["action_net.bias"].fill_(np.nan))
    rewrite(run / "checkpoints" / "step_0000000128.zip", spoil)
    assert main(commands(trained, run, tmp_path)["resume"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "step_0000000128.zip: cannot be resumed, remove it to go on" in line and "must be finite" in line


def test_what_unpacks_to_too_much_is_not_unpacked(
    trained: Path, run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with zipfile.ZipFile(run / "checkpoints" / "step_0000000192.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("data", bytes(64 << 20))
    assert main(commands(trained, run, tmp_path)["resume"]) == 0
    assert "step_0000000192.zip: is broken" in caplog.text
