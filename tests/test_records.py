"""Records that are like another, of which only what differs stands in the file; numbers with their sources."""

from pathlib import Path
from typing import Any

import pytest

from tierenv.errors import ConfigError
from tierenv.platform import Platform
from tierenv.records import has_marks, load_record, read_values
from tierenv.scenario import Scenario
from tierenv.workload import Workload


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


MARKED = """\
like: amd-epyc-cxl
sockets: {value: 1, source: lscpu}
demotion_batch_pages: {value: 64}
promotion_watermark: {value: 1e-2, prior: 2}
cxl:
  idle_latency: {value: 300ns, prior: 1.05, source: "MLC, idle"}
  store_bandwidth: {value: 24GiB/s, prior: fixed}
  capacity: {value: 64GiB}
"""
PLAIN = """\
like: amd-epyc-cxl
sockets: 1
demotion_batch_pages: 64
promotion_watermark: 1e-2
cxl: {idle_latency: 300ns, store_bandwidth: 24GiB/s, capacity: 64GiB}
"""


def test_of_numbers_with_marks_a_record_holds_the_values_alone(tmp_path: Path) -> None:
    marked = load_record("platforms", Platform, write(tmp_path, "marked", MARKED))
    plain = load_record("platforms", Platform, write(tmp_path, "plain", PLAIN))
    assert marked == plain.model_copy(update={"name": "marked"})
    assert marked.identity == plain.identity
    assert marked.model_dump() == plain.model_dump() | {"name": "marked"}


def test_a_workload_s_numbers_may_have_marks_wherever_they_stand(tmp_path: Path) -> None:
    plain = load_record("workloads", Workload, "skewed")

    def with_marks(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [with_marks(entry) for entry in value]
        if isinstance(value, dict):
            return {key: entry if key in ("name", "summary") else with_marks(entry) for key, entry in value.items()}
        is_quantity = isinstance(value, str) and value[0].isdigit()
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return {"value": value, "prior": "fixed"} if is_number or is_quantity else value

    content = with_marks(plain.model_dump())
    assert has_marks(content["threads"]) and has_marks(content["phases"][0]["work"]) and has_marks(content["think"])
    assert Workload.model_validate(content) == plain


@pytest.mark.parametrize(
    ("over", "expected"),
    [
        ("140ns", "140ns"),
        ("{value: 140ns}", {"value": "140ns"}),
        ("{prior: 1.5}", {"value": "300ns", "prior": 1.5, "source": "MLC"}),
    ],
)
def test_a_number_takes_the_place_of_one_with_marks_and_a_prior_alone_is_put_on_it(
    tmp_path: Path, over: str, expected: object
) -> None:
    base = write(tmp_path, "base", "like: amd-epyc-cxl\ncxl: {idle_latency: {value: 300ns, prior: 2, source: MLC}}\n")
    path = write(tmp_path, "mine", f"like: {base}\ncxl: {{idle_latency: {over}}}\n")
    values = read_values("platforms", Path(path), Platform)
    assert values["cxl"]["idle_latency"] == expected
    assert values["cxl"]["bandwidth"] == "48GB/s", "its neighbours stay"
    load_record("platforms", Platform, path)


def test_a_number_with_marks_takes_the_place_of_a_plain_one(tmp_path: Path) -> None:
    path = write(tmp_path, "mine", "like: amd-epyc-cxl\ncxl: {idle_latency: {prior: 1.5}}\n")
    values = read_values("platforms", Path(path), Platform)
    assert values["cxl"]["idle_latency"] == {"value": "250ns", "prior": 1.5}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cxl: {idle_latency: {value: 300}}", "cxl.idle_latency.value: 300 is not a quantity in ns"),
        ("cxl: {idle_latency: {value: 0ns}}", "cxl.idle_latency.value='0ns': must be greater than or equal to 1ns"),
        ("cxl: {capacity: {value: 1KiB}}", "cxl.capacity.value='1KiB': must be greater than or equal to 256KiB"),
        ("cxl: {idle_latency: {value: {value: 3ns}}}", "cxl.idle_latency.value: {'value': '3ns'} is not a quantity"),
        ("cxl: {idle_latency: {prior: 1.2, value: null}}", "cxl.idle_latency.value: None is not a quantity in ns"),
        ("cxl: {idle_latency: {valeu: 3ns}}", "cxl.idle_latency.valeu: unknown key; did you mean 'value'?; allowed: "),
        ("dram: {store_latency: {source: MLC}}", "dram.store_latency.value: required key is missing"),
        ("numa_fault: {value: 2us, prior: 1}", "numa_fault.prior: got 1, must be a factor of one standard deviation"),
        ("numa_fault: {value: 2us, prior: 1e9}", "numa_fault.prior: must be a factor of one standard"),
        ("numa_fault: {value: 2us, prior: .nan}", "numa_fault.prior: got nan, must be a factor"),
        ("numa_fault: {value: 2us, prior: true}", "numa_fault.prior: must be a factor"),
        ("numa_fault: {value: 2us, prior: [2]}", "numa_fault.prior: must be a factor"),
        ("numa_fault: {value: 2us, source: 7}", "numa_fault.source: must be a text"),
        ("numa_shared_move_share: {value: 1.5}", "numa_shared_move_share.value=1.5: must be less than or equal to 1"),
        ("demotion_batch_pages: {value: 1.5}", "demotion_batch_pages.value=1.5: must be a whole number"),
        ("sockets: {value: 3}", "sockets.value=3: must be 1 or 2"),
        ("reclaim: {value: generations}", "reclaim"),
        ("cxl: {value: 300ns}", "cxl"),
    ],
)
def test_bad_marks_are_one_clear_line(tmp_path: Path, content: str, message: str) -> None:
    path = write(tmp_path, "mine", f"like: amd-epyc-cxl\n{content}\n")
    with pytest.raises(ConfigError) as error:
        load_record("platforms", Platform, path)
    assert f"mine.yaml: {message}" in str(error.value)
    assert "\n" not in str(error.value)


def test_numbers_of_other_records_have_no_marks(tmp_path: Path) -> None:
    path = write(tmp_path, "mine", "like: skewed\nsize: {value: 8GiB}\n")
    with pytest.raises(ConfigError, match="mine.yaml: size: .* is not a quantity in B"):
        load_record("scenarios", Scenario, path)
