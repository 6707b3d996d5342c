"""Heat: what laws, histograms, classes and files come to, and what is refused of them."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tierenv.errors import ConfigError
from tierenv.heat import Heat, Normal, Zipf, power_sum
from tierenv.heat_file import read_heat_file
from tierenv.records import load_record, packaged, validate_record
from tierenv.workload import Workload

BASE = {"name": "mine", "threads": 4, "memory_parallelism": 2, "accesses_per_page": 100}


def workload(**more: Any) -> Workload:
    return validate_record(Workload, BASE | more, "mine.yaml")


def shares(mine: Workload, phase: int = 0) -> list[float]:
    return [mine.phases[phase].access_share.get(each.name, 0.0) for each in mine.classes]


@pytest.mark.parametrize("exponent", [0.3, 0.99, 1.0, 1.01, 2.5, 5.0])
def test_masses_of_a_zipf_law_are_the_sums_over_a_million_items(exponent: float) -> None:
    law = Zipf(exponent=exponent)
    terms = np.arange(1, law.items + 1) ** -exponent
    total, start = math.fsum(terms), 0
    for band in law.bands():
        end = start + round(band.pages * law.items)
        assert band.accesses == pytest.approx(math.fsum(terms[start:end]) / total, rel=1e-12)
        start = end
    assert start == law.items


def test_heat_falls_by_the_same_factor_within_each_class_of_a_zipf_law() -> None:
    ends = np.cumsum([band.pages for band in Zipf(exponent=1.2, classes=12, items=10**9).bands()])
    assert ends[0] == pytest.approx(1e-4)
    assert ends[1:] / ends[:-1] == pytest.approx(np.full(11, 1e4 ** (1 / 11)), rel=1e-4)


@given(st.floats(0.01, 5), st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_sums_of_powers_add_up(exponent: float, first: int, more: int, rest: int) -> None:
    middle, last = first + more, first + more + 1 + rest
    parts = power_sum(first, middle, exponent) + power_sum(middle + 1, last, exponent)
    assert power_sum(first, last, exponent) == pytest.approx(parts, rel=1e-12)


laws = st.one_of(
    st.builds(
        lambda exponent, classes, extra, floor: {
            "zipf": {"exponent": exponent, "classes": classes, "items": classes + extra, "floor": floor}
        },
        st.floats(0.01, 5),
        st.integers(2, 256),
        st.one_of(st.integers(0, 100), st.integers(0, 10**12 - 256)),
        st.floats(1e-9, 0.99),
    ),
    st.builds(
        lambda deviation, center, classes: {
            "normal": {"deviation": deviation, "center": center, "classes": classes},
        },
        st.floats(1e-3, 10),
        st.floats(0, 1),
        st.integers(2, 256),
    ),
    st.lists(st.tuples(st.floats(1e-6, 1), st.floats(0, 1)), min_size=1, max_size=20)
    .filter(lambda pairs: sum(accesses for _, accesses in pairs) > 0)
    .map(
        lambda pairs: {
            "histogram": [
                [pages / sum(each for each, _ in pairs), accesses / sum(each for _, each in pairs)]
                for pages, accesses in pairs
            ]
        }
    ),
)


@given(laws)
@settings(deadline=None)
def test_every_heat_has_all_pages_and_all_accesses(heat: dict[str, Any]) -> None:
    bands = validate_record(Heat, heat, "mine").bands
    assert math.fsum(band.pages for band in bands) == pytest.approx(1, abs=1e-9)
    assert math.fsum(band.accesses for band in bands) == pytest.approx(1, abs=1e-9)
    assert all(band.pages > 0 and band.accesses >= 0 for band in bands)
    mine = workload(heat=heat)
    assert len(mine.classes) == len(bands) and sum(shares(mine)) == pytest.approx(1, abs=1e-9)


@given(laws)
@settings(deadline=None, max_examples=30)
def test_a_workload_that_was_read_is_the_same_when_it_is_read_again(heat: dict[str, Any]) -> None:
    mine = workload(heat=heat)
    again = validate_record(Workload, yaml.safe_load(yaml.safe_dump(mine.model_dump())), "again")
    assert again == mine and again.identity == mine.identity


def test_one_line_of_heat_is_the_packaged_pmbench_with_its_thirty_two_bands() -> None:
    packaged_one = load_record("workloads", Workload, "pmbench")
    mine = workload(heat={"normal": {"deviation": 0.06}})
    assert [each.fraction for each in mine.classes] == [each.fraction for each in packaged_one.classes]
    assert shares(mine) == pytest.approx(shares(packaged_one), abs=3e-7)  # one was adjusted, so that they add up to 1
    assert mine.layout == packaged_one.layout == "address-order"


def test_the_far_side_of_a_bell_keeps_its_digits() -> None:
    bands = Normal(deviation=0.05, center=0.5, classes=32).bands()
    assert bands[0].accesses == pytest.approx(bands[-1].accesses, rel=1e-9) and bands[0].accesses > 0


def test_the_class_that_says_nothing_has_what_the_others_leave() -> None:
    mine = workload(heat={"classes": {"hot": {"pages": 0.1, "accesses": 0.9, "visits": "stream"}, "cold": {}}})
    assert [(each.name, each.fraction, each.visits) for each in mine.classes] == [
        ("hot", 0.1, "stream"),
        ("cold", 0.9, "random"),
    ]
    assert shares(mine) == pytest.approx([0.9, 0.1])
    assert mine.layout == "scattered"


@pytest.mark.parametrize(
    ("heat", "message"),
    [
        ({}, "heat: must be one of zipf, normal, histogram, classes, file, got none"),
        ({"zipf": {}, "normal": {"deviation": 1}}, "heat: must be one of zipf, normal, histogram, classes, file, got"),
        ("zipf", "heat='zipf': must be a mapping of keys to values"),
        ({"zipf": {"exponent": 0}}, "heat.zipf.exponent=0: must be greater than 0"),
        ({"zipf": {"exponent": "much"}}, "heat.zipf.exponent='much': must be a number"),
        ({"zipf": {"expnent": 1}}, "heat.zipf.expnent: unknown key; did you mean 'exponent'?"),
        ({"zip": {}}, "heat.zip: unknown key; did you mean 'zipf'?"),
        ({"zipf": {"items": 3}}, "heat.zipf: items=3: must be at least classes=16"),
        ({"normal": {}}, "heat.normal.deviation: required key is missing"),
        ({"histogram": []}, "heat.histogram=[]: must have at least 1 entry"),
        ({"histogram": [[0.5, 0.5], [0.4, 0.5]]}, "heat.histogram: shares of pages must add up to 1, got 0.9"),
        ({"histogram": [[0.5, 0.5], [0.5, 0.6]]}, "heat.histogram: shares of accesses must add up to 1, got 1.1"),
        ({"histogram": [[0, 0.5], [1, 0.5]]}, "heat.histogram.0.0=0: must be greater than or equal to 1e-09"),
        ({"classes": {"a/b": {}}}, "heat.classes: 'a/b': must be 1 to 100 printable characters"),
        ({"classes": {"x" * 95: {}}}, "a name must have at most 90 characters"),
        ({"classes": {"a": {}, "b": {}}}, "heat.classes: pages may be left out of one class, is of a and b"),
        ({"classes": {"a": {"pages": 1}, "b": {}}}, "heat.classes: b.pages: the others leave nothing"),
        ({"classes": {"a": {"visits": "seldom"}}}, "heat.classes.a.visits='seldom': must be 'random', 'stride' or"),
        ({"file": 3}, "heat.file=3: must be a text"),
        ({"file": "./none.csv"}, "heat: none.csv: no such file"),
        ({"file": "a\0b"}, r"heat: a\x00b: no such file"),
        ({"file": "/dev/zero"}, "heat: /dev/zero: must be a file, not a pipe or a device"),
        ({"file": ""}, "heat: .: Is a directory"),
    ],
)
def test_a_bad_heat_is_one_line_with_its_field(heat: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        workload(heat=heat)
    assert f"{caught.value}".startswith("mine.yaml: heat") and message in str(caught.value)
    assert "\n" not in str(caught.value)


def write(folder: Path, text: str) -> str:
    path = folder / "heat.csv"
    path.write_text(text)
    return str(path)


def test_a_file_says_shares_or_counts_relative_to_the_file_that_names_it(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    write(tmp_path, "# of a run\naccesses;pages\n\n9,5;100\n0,5;300\n")
    (tmp_path / "mine.yaml").write_text("like: skewed\nheat: {file: heat.csv}\n")
    (tmp_path / "deep" / "derived.yaml").write_text("like: ../mine.yaml\nthreads: 2\n")
    found = [load_record("workloads", Workload, path) for path in ("../mine.yaml", "./derived.yaml")]
    (tmp_path / "heat.csv").unlink()
    for mine in found:
        assert [each.fraction for each in mine.classes] == [0.25, 0.75]
        assert shares(mine) == pytest.approx([0.95, 0.05])
    assert validate_record(Workload, found[0].model_dump(), "again").identity == found[0].identity


def test_regions_lie_in_the_order_of_their_addresses(tmp_path: Path) -> None:
    path = write(tmp_path, "start,size,accesses\n0x3000,4096,1\n0,8KiB,6\n16384,0x1000,3\n")
    heat = read_heat_file(path)
    assert heat.has_addresses and heat.shares == [(8192, 6), (4096, 1), (4096, 3)]
    assert workload(heat={"file": path}).layout == "address-order"
    assert workload(heat={"file": path}, layout="scattered").layout == "scattered"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "heat.csv: is empty; its first line must name the columns pages, accesses or start, size, accesses"),
        ("pages,hits\n1,1\n", "heat.csv:1: must name the columns pages, accesses or start, size, accesses"),
        ("pages,accesses\n", "heat.csv: has 0 rows below the names of its columns; must have 1 to 1000"),
        ("pages,accesses\n1,2,3\n", "heat.csv:2: has 3 values, the header names 2"),
        ("pages,accesses\n1,1\n0,1\n", "heat.csv:3: pages='0': must be a number above 0"),
        ("pages,accesses\n# no\n1,1\n1e-10,1\n", "heat.csv:4: has 1e-10 of all pages; must have 1e-09"),
        ("pages,accesses\n1,-1\n", "heat.csv:2: accesses='-1': must be a number of at least 0"),
        ("pages,accesses\n1,nan\n", "heat.csv:2: accesses='nan': must be a number of at least 0"),
        ("pages,accesses\n1,1e400\n", "heat.csv:2: accesses='1e400': must be a number of at least 0"),
        ("pages,accesses\n1,0\n2,0\n", "heat.csv: accesses are all 0; one must be above"),
        ("pages,accesses\n" + "1,1\n" * 1001, "heat.csv: has 1001 rows below the names"),
        ("x" * 140_000, "heat.csv: holds more than 131072 bytes"),
        ("start,size,accesses\n-1,4096,1\n", "heat.csv:2: start='-1': must be an address such as 0x7f0000000000"),
        ("start,size,accesses\n0,0,1\n", "heat.csv:2: size='0': must be bytes such as 4096 or 2GiB"),
        ("start,size,accesses\n0,2 parsecs,1\n", "heat.csv:2: size='2 parsecs': must be bytes such as"),
        ("start,size,accesses\n0,8192,1\n4096,1,1\n", "heat.csv:3: the region at 0x1000 overlaps the one at 0x0"),
    ],
)
def test_a_bad_file_is_one_line_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        workload(heat={"file": write(tmp_path, text)})
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_no_more_of_a_strangers_file_is_told_than_a_number_takes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_heat_file(write(tmp_path, "pages,accesses\nsecret-secret-secret-secret,1\n"))
    assert "secret-secret-secret-s" not in str(caught.value)


@pytest.mark.parametrize("name", ["database", "cache", "stream", "batch"])
def test_workloads_to_start_from_say_what_they_are_in_a_few_lines(name: str) -> None:
    text = packaged("workloads")[name].read_text()
    assert len([line for line in text.splitlines() if line[0] != "#"]) <= 9
    assert load_record("workloads", Workload, name).summary
