"""Records that are like another: only what differs stands in the file."""

from pathlib import Path

import pytest

from tierenv.errors import ConfigError
from tierenv.platform import Platform
from tierenv.records import load_record


def write(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return str(path)


def test_what_a_file_does_not_say_is_as_in_the_other_nested_keys_one_by_one(tmp_path: Path) -> None:
    base = load_record("platforms", Platform, "amd-epyc-cxl")
    near = write(tmp_path, "near", "like: amd-epyc-cxl\ncxl: {idle_latency: 150ns}\nsockets: 1\n")
    found = load_record("platforms", Platform, write(tmp_path, "nearer", f"like: {near}\nsockets: 2\n"))
    cxl = base.cxl.model_copy(update={"idle_latency": pytest.approx(150e-9)})
    assert found == base.model_copy(update={"name": "nearer", "cxl": cxl, "sockets": 2})


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ("amd-epyc", "mine.yaml: like: unknown platform 'amd-epyc'; did you mean 'amd-epyc-cxl'?"),
        ("[amd-epyc-cxl]", "mine.yaml: like=['amd-epyc-cxl']: must be the name or path of one of the platforms"),
        ("{folder}/nowhere.yaml", "mine.yaml: like: {folder}/nowhere.yaml: no such file"),
        ("{folder}/mine.yaml", "like='{folder}/mine.yaml': leads back to itself"),
    ],
)
def test_a_bad_like_is_one_clear_line(tmp_path: Path, like: str, message: str) -> None:
    path = write(tmp_path, "mine", f"like: {like.format(folder=tmp_path)}\n")
    with pytest.raises(ConfigError) as error:
        load_record("platforms", Platform, path)
    assert message.format(folder=tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_misspelt_difference_is_named_with_its_file(tmp_path: Path) -> None:
    path = write(tmp_path, "mine", "like: amd-epyc-cxl\ncxl: {idle_latencies: 150ns}\n")
    with pytest.raises(ConfigError, match=r"mine.yaml: cxl.idle_latencies: unknown key; did you mean 'idle_latency'"):
        load_record("platforms", Platform, path)
