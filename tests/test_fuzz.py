"""Whatever a file holds, it is read or refused in one line, soon and in little memory; and that would show if not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import fuzz
from tests.fuzz import TARGETS, Target, campaign
from tierenv.errors import ConfigError


@pytest.mark.expensive
@pytest.mark.parametrize("name", TARGETS)
def test_spoiled_files_are_read_or_refused_in_one_line(name: str) -> None:
    report = campaign(name, cases=300, seed=0)
    assert report.failures == [] and report.cases == 300
    assert report.refused > 150 and report.accepted > 3, "both are tried"
    assert report.peak_mib < 100


def never_end(_folder: Path) -> None:
    while True:
        pass


def take_too_much(_folder: Path) -> None:
    bytearray(2 * fuzz.MAX_MIB << 20)


def raise_another_error(_folder: Path) -> None:
    {}["key"]


def refuse(message: str) -> Callable[[Path], None]:
    def load(folder: Path) -> None:
        error = ConfigError("")
        error.args = (message.format(folder=folder),)
        raise error

    return load


@pytest.mark.parametrize(
    ("load", "failure"),
    [
        (never_end, "case 0: the process died of SIGPROF"),
        (take_too_much, "case 0: MemoryError from test_fuzz.py"),
        (raise_another_error, "case 0: KeyError from test_fuzz.py"),
        (refuse("mine.csv is bad"), "case 0: names no file"),
        (refuse("{folder}/mine.csv: two\nlines"), "case 0: not a printable line"),
        (refuse("{folder}/mine.csv: " + "x" * 2000), "case 0: not a printable line of bounded length"),
    ],
)
def test_whatever_else_a_loader_does_is_found(
    load: Callable[[Path], object], failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "MAX_CPU_S", 0.1)
    monkeypatch.setitem(TARGETS, "measurements", Target(TARGETS["measurements"].valid_inputs, load))
    report = campaign("measurements", cases=1, seed=0)
    assert [found[: len(failure)] for found in report.failures] == [failure]


def test_a_case_follows_from_target_seed_and_number() -> None:
    assert all(fuzz.spoiled_input(name, 0, 7) == fuzz.spoiled_input(name, 0, 7) for name in TARGETS)
    assert len({str(fuzz.spoiled_input("measurements", seed, number)) for seed in (0, 1) for number in (7, 8)}) == 4


def test_a_signature_holds_whatever_was_spoiled() -> None:
    for files in TARGETS["signed-bundle"].valid_inputs():
        document = files["policy.json"].replace(b'"name": "', b'"name": "other ', 1)
        assert document != files["policy.json"] and fuzz.signed(files) == files
        assert fuzz.signed(files | {"policy.json": document})["policy.json"] != document
