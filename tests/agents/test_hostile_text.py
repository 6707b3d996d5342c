"""Nobody else's text becomes a statement: names and provenance through every exporter that writes text.

What a file says beside its comments must be what it says for harmless names; where a compiler or a shell reads it, that
program is asked.
"""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.agents.script_trees import asked_of
from tests.tools import needs
from tierenv.agents.bundle import TrainedOn, write_bundle
from tierenv.agents.export import FORMATS, export_policy
from tierenv.agents.export.header import Gain, one_line
from tierenv.agents.export.learned_source import GAINS, ORIGIN
from tierenv.agents.tree import DecisionTree
from tierenv.features import observed_columns
from tierenv.scenario import load_scenario

SCENARIO = load_scenario("skewed")
STATIC = [(name, target) for name in ("sysfs", "sysctl.d", "tmpfiles.d", "tuned") for target in FORMATS[name].targets]
TRICKS = [
    *("\n", "\r", "\t", "\x00", "\x0b", "\x1b[2J", "\x85", "\u2028", "\u202e", "\u2066", "\ud800", "\\", "\\\n"),
    *(
        '"',
        "'",
        "*/",
        "/*",
        "//",
        "??/",
        "#",
        "%",
        " ",
        "a",
        "é",
        " int x;",
        "@NAME@",
        "@PROVENANCE@",
        "@EACH@",
        "{origin}",
    ),
    *("$(touch evil)", "`touch evil`", "; touch evil", "\nw /etc/evil - - - - 1", "\n[sysctl]\nkernel.panic=1"),
    "${f:exec:touch:evil}",
]
hostile = st.lists(st.sampled_from(TRICKS) | st.characters(), min_size=1, max_size=12).map("".join)
few = settings(max_examples=25, deadline=None)


def parts(path: Path) -> Mapping[str, str]:
    """Returns the files of an export by name, as bytes would be read: lines end with a line feed and nothing else."""
    files = [path] if path.is_file() else sorted(path.iterdir())
    return {file.name: file.read_bytes().decode() for file in files}


def gain(text: str) -> Gain:
    return Gain(scenario=text, against=text, share=0.1, ci95=(0.0, 0.2), episodes=3)


def bundle(folder: Path, text: str) -> Path:
    """Returns a bundle, a stranger's: its name is one that a bundle may have, all else is free."""
    leaf, zero = np.array([-1], np.int32), np.zeros(1, np.float32)
    tree = DecisionTree(len(observed_columns(SCENARIO.daemon)), leaf, zero, leaf, leaf, np.zeros((1, 3), np.float32))
    training: dict[str, Any] = {
        "git_revision": text,
        "command": text,
        GAINS: [gain(text).model_dump(mode="json")],
        ORIGIN: {"training run": text, "trained for": text},
    }
    name = one_line(text).replace("/", "|").lstrip(".")[:90] or "name"
    write_bundle(
        folder,
        name=name,
        model=tree,
        daemon=SCENARIO.daemon,
        scenarios=[TrainedOn(name="skewed")],
        training=training,
    )
    return folder


def assert_plain(files: Mapping[str, str]) -> None:
    for name, text in files.items():
        odd = {char for char in text if not char.isprintable() and char not in "\n\t"}
        assert not odd, f"{name}: {odd}"


def static_export(folder: Path, name: str, target: str, text: str) -> dict[str, list[str]]:
    """Returns what an export says beside comments, by file."""
    modelled, policy = asked_of(target)
    daemon = modelled.daemon.model_copy(update={"name": text})
    scenario = modelled.model_copy(update={"name": text, "daemon": daemon})
    export_policy(policy, name, folder / "out", scenario, target=target, gains=(gain(text),))
    files = parts(folder / "out")
    assert_plain(files)
    if name == "sysfs":
        finished = subprocess.run(["sh", "-n", folder / "out"], capture_output=True, text=True, check=False)
        assert (finished.returncode, finished.stderr) == (0, "")
    return {
        name: [line for line in text.split("\n") if not line.startswith(("#", "summary="))]
        for name, text in files.items()
    }


@pytest.mark.parametrize(("name", "target"), STATIC)
@given(text=hostile)
@example(text="".join(TRICKS))
@few
def test_static_settings_say_the_same_whatever_the_names(name: str, target: str, text: str) -> None:
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        expected = static_export(Path(first), name, target, "harmless")
        assert static_export(Path(second), name, target, text) == expected


def preprocessed(folder: Path, text: str) -> list[str]:
    """Returns what the compiler sees of an exported policy, macros included, without its name."""
    export_policy(str(bundle(folder / "bundle", text)), "kernel-c", folder / "c")
    assert_plain(parts(folder / "c"))
    command = ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-E", "-P", "-dD", "tierenv_policy.c"]
    finished = subprocess.run(command, cwd=folder / "c", capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return [line for line in finished.stdout.splitlines() if not line.startswith("#define TIERENV_POLICY_NAME ")]


@needs("gcc")
@given(text=hostile)
@example(text="".join(TRICKS))
@few
def test_the_compiler_sees_the_same_whatever_the_provenance(text: str) -> None:
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        assert preprocessed(Path(second), text) == preprocessed(Path(first), "harmless")


@given(text=hostile)
@example(text="".join(TRICKS))
@few
def test_rules_parameters_and_onnx_hold_the_text_as_text(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        stranger = str(bundle(root / "bundle", text))
        export_policy(stranger, "rules", root / "rules.txt")
        export_policy(stranger, "onnx", root / "policy.onnx")
        scenario = SCENARIO.model_copy(update={"name": text})
        export_policy("static:1000,1024,256", "parameters", root / "p.json", scenario, gains=(gain(text),))
        assert_plain(parts(root / "rules.txt"))
        statements = [line for line in (root / "rules.txt").read_text().split("\n") if line[:1] not in ("#", "")]
        assert statements[0].startswith("scan_period = ")
        assert_plain({"origin": "".join(json.loads((root / "p.json").read_text())["origin"].values())})
