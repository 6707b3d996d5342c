"""From what a record found to a workload: nothing is lost on the way, and chance makes neither phases nor classes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tierenv.errors import ConfigError
from tierenv.records import load_record
from tierenv.train.cli import main
from tierenv.train.imports import heat_map
from tierenv.train.imports.classes import join_runs
from tierenv.train.imports.heat_map import HeatMap
from tierenv.train.imports.importing import Imported, ProgramFacts, import_record
from tierenv.train.imports.observations import Observations, ReadOptions
from tierenv.train.imports.phases import find_phases
from tierenv.train.imports.workload_text import workload_text
from tierenv.workload import Workload

RECORDS = Path(__file__).parent / "imports"
PAGE = 4096


def observations(rows: list[tuple[float, int, int, int, float, float]]) -> Observations:
    """Returns (time, space, first page, pages, found, checks) as a batch."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    space, first, pages = table[:, 1:4].astype(np.int64).T
    return Observations(table[:, 0], space, first * PAGE, (first + pages) * PAGE, table[:, 4], table[:, 5])


ROWS = st.lists(
    st.tuples(
        st.floats(0, 1e6),
        st.integers(0, 3),
        st.integers(0, 1 << 34),
        st.integers(1, 1 << 20),
        st.integers(0, 20).map(float),
        st.just(0.0),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(1, 5), st.booleans())
def test_a_heat_map_loses_no_access_however_it_is_fed(rows: list[Any], parts: int, are_checks: bool) -> None:
    if are_checks:
        rows = [(*row[:5], 20.0) for row in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heat_map, "ADDRESS_BINS", 64)
        patch.setattr(heat_map, "TIME_BINS", 8)
        tables = []
        for order in (rows, rows[::-1]):
            table = HeatMap()
            for part in range(parts):
                table.add(observations(order[part::parts]))
            tables.append(table.heat())
    expected = sum(row[4] * (row[3] * PAGE if are_checks else 1) for row in rows)
    for heat in tables:
        assert heat.found.sum() == pytest.approx(expected) and (heat.found >= 0).all()
        assert heat.checked.sum() == sum(row[3] * PAGE * row[5] for row in rows)
        assert heat.found.shape[0] <= 8 and heat.found.shape[1] <= 64
        assert (heat.first_s, heat.last_s) == (min(row[0] for row in rows), max(row[0] for row in rows))
        assert heat.start_s <= heat.first_s and heat.last_s <= heat.start_s + heat.row_s * len(heat.found) * (1 + 1e-9)
        for space in range(4):
            covered = np.unique([each for row in rows if row[1] == space for each in (row[2], row[2] + row[3] - 1)])
            seen = heat.column_bytes[heat.column_space == space].sum()
            assert (seen > 0) == bool(len(covered)) and seen <= (np.ptp(covered) + 1 if len(covered) else 0) * PAGE


def test_a_heat_map_of_few_pages_is_exact() -> None:
    table = HeatMap()
    table.add(observations([(0, 0, 10, 4, 8, 0), (1, 0, 12, 1, 1, 0), (1, 1, 10, 1, 3, 0)]))
    heat = table.heat()
    assert heat.found.sum(axis=0).tolist() == [2, 2, 3, 2, 3] and heat.size_bytes == 5 * PAGE
    assert heat.column_space.tolist() == [0, 0, 0, 0, 1]


def test_more_address_spaces_than_there_is_room_for_are_refused() -> None:
    with pytest.raises(ConfigError, match="address spaces"):
        HeatMap().add(observations([(0, 1 << 14, 0, 1, 1, 0)]))
    with pytest.raises(ConfigError, match="more than 8192 stretches"):
        HeatMap().add(observations([(0, space, 0, 1, 1, 0) for space in range(9000)]))


def counts(share: NDArray[np.float64], rows: int, a_row: float, seed: int) -> NDArray[np.float64]:
    """Returns what is found when accesses fall by chance, float64[rows, K]."""
    return np.random.default_rng(seed).poisson(share * a_row, (rows, len(share))).astype(np.float64)


HOT_FIRST = np.repeat([0.8 / 100, 0.2 / 300], [100, 300])
HOT_LAST = HOT_FIRST[::-1]
BYTES = np.full(400, PAGE)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("a_row", [30.0, 3000.0])
def test_chance_makes_no_phases(seed: int, a_row: float) -> None:
    """A false alarm in 16 would show; over 400 seeds of either there was none."""
    assert find_phases(counts(HOT_FIRST, 100, a_row, seed), BYTES, None) == [0]


@pytest.mark.parametrize("seed", range(4))
def test_changes_of_heat_are_found_in_their_rows(seed: int) -> None:
    stretches = [(HOT_FIRST, 40), (HOT_LAST, 25), (HOT_FIRST, 60), (HOT_LAST, 30)]
    found = np.concatenate([counts(share, rows, 2000, seed) for share, rows in stretches])
    assert find_phases(found, BYTES, None) == [0, 40, 65, 125]
    assert len(find_phases(found, BYTES, 2)) == 2 and len(find_phases(found, BYTES, 7)) == 7
    assert find_phases(found, BYTES, 1) == [0]


def test_rows_without_a_record_are_no_change() -> None:
    found = counts(HOT_FIRST, 60, 2000, 0)
    found[20:30] = 0
    assert find_phases(found, BYTES, None) == [0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 9)), min_size=1, max_size=12).filter(
        lambda runs: sum(heat for _, heat in runs) > 0
    ),
    st.integers(1, 20),
)
def test_runs_hold_all_pages_and_all_accesses(runs: list[tuple[int, int]], most: int) -> None:
    columns, heats = np.array(runs).T
    heat = np.repeat(heats, columns).astype(np.float64)
    found = join_runs(np.stack([heat, heat + 1]), np.full(len(heat), PAGE), most, 0.0)
    assert 1 <= len(found.page_share) <= most and found.first_column[0] == 0
    assert found.page_share.sum() == pytest.approx(1) and found.access_share.sum(axis=1) == pytest.approx([1, 1])
    changes = 1 + int((np.diff(heats) != 0).sum())
    if most >= changes:
        assert len(found.page_share) <= changes and found.misplaced < 0.03


def test_runs_of_unlike_heat_are_found_to_the_column() -> None:
    heat = np.repeat([5.0, 1.0, 0.0, 2.0], [100, 50, 200, 50])
    found = join_runs(heat[None], np.full(400, PAGE), 16, 0.0)
    assert found.first_column == [0, 100, 150, 350] and found.misplaced < 1e-12
    assert found.access_share[0].tolist() == pytest.approx([500 / 650, 50 / 650, 0, 100 / 650])


FACTS = ProgramFacts(threads=4)


def imported(name: str = "damo-2.0.0.json", format_name: str = "damon", **options: Any) -> Imported:
    """Returns what is made of a record."""
    facts = ProgramFacts(**{"threads": 4} | options.pop("facts", {}))
    return import_record(format_name, RECORDS / name, ReadOptions(), facts, **options)


def table_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "heat.csv"
    path.write_text(text)
    return path


def test_saturated_counters_are_capped_and_said(tmp_path: Path) -> None:
    line = "k [0] {}: damon:damon_aggregated: target_id=0 nr_regions=2 {}: {} 0\n"
    path = tmp_path / "record"
    times = [f"{1 + number / 10:.1f}" for number in range(10)]
    path.write_text("".join(line.format(at, "0-40960", 20) + line.format(at, "40960-81920", 2) for at in times))
    result = import_record("damon", path, ReadOptions(), FACTS)
    assert any("found at every check" in note for note in result.notes)
    hot = -np.log(1 / (2 * 200))  # of 200 checks half a one is taken to have missed
    assert result.workload.accesses_per_page == pytest.approx(200 * (hot - np.log(0.9)) / 2, rel=1e-6)
    assert not any("every check" in note for note in imported().notes)


def test_memory_that_comes_late_has_accesses_only_from_then_on(tmp_path: Path) -> None:
    line = "k [0] {}: damon:damon_aggregated: target_id=0 nr_regions=2 {}: {} 0\n"
    path = tmp_path / "record"
    lines = [line.format(f"{1 + number / 10:.1f}", "0-81920", 2) for number in range(10)]
    late = [line.format(f"{1 + number / 10:.1f}", "81920-86016", 2) for number in range(5, 10)]
    path.write_text("".join(lines + late))
    result = import_record("damon", path, ReadOptions(), FACTS)
    pages = result.workload.accesses_per_page * 21 / (200 * -np.log(0.9))
    assert pages == pytest.approx(20.5)


def test_the_time_of_the_run_lengthens_the_work_and_what_is_known_is_taken() -> None:
    once, twice = imported(), imported(facts={"run_s": 2 * 0.300132})
    assert twice.workload.accesses_per_page == pytest.approx(2 * once.workload.accesses_per_page, rel=1e-3)
    assert twice.access_ns == pytest.approx(once.access_ns, rel=1e-3)
    assert imported(facts={"accesses_per_page": 77.0}).workload.accesses_per_page == 77
    given = imported(facts={"think_s": 4e-8, "memory_parallelism": 2.5, "store_share": 0.25}).workload
    assert (given.think, given.memory_parallelism, given.store_share, given.threads) == (4e-8, 2.5, 0.25, 4)


def test_the_size_may_be_other_than_the_records() -> None:
    whole = imported()
    assert whole.size_bytes == 1 << 30
    larger = imported(facts={"size_bytes": 2 << 30})
    assert larger.size_bytes == 2 << 30 and larger.workload.classes[-1].fraction >= 0.5
    smaller = imported(facts={"size_bytes": 800 << 20})
    assert smaller.size_bytes == pytest.approx(800 << 20, rel=1e-3)
    for other in (larger, smaller):
        accesses = other.workload.accesses_per_page * other.size_bytes
        assert accesses == pytest.approx(whole.workload.accesses_per_page * whole.size_bytes, rel=1e-3)
    with pytest.raises(ConfigError, match="--size=64MiB: .* has accesses to"):
        imported(facts={"size_bytes": 64 << 20})


def test_what_only_the_user_knows_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--threads: .* does not tell"):
        import_record("damon", RECORDS / "damo-2.0.0.json", ReadOptions(), ProgramFacts())
    path = tmp_path / "samples"
    path.write_text("p 1/1 1.5: loads: 7f0000001008\n")
    with pytest.raises(ConfigError, match="--accesses-per-page: .* or --sample-period"):
        import_record("perf-script", path, ReadOptions(), FACTS)
    assert import_record("perf-script", path, ReadOptions(sample_period=7), FACTS).workload.accesses_per_page == 7
    with pytest.raises(ConfigError, match="holds no access"):
        import_record("heat-csv", table_of(tmp_path, "start,end,accesses\n0,4096,0\n"), ReadOptions(), FACTS)


def test_phases_of_a_table_hold_their_share_of_the_work(tmp_path: Path) -> None:
    rows = [(0, 30, 10) if time < 40 else (30, 10, 30) for time in range(100)]
    lines = [
        f"0,1,{first},{time}\n1,2,{second},{time}\n2,4,{third},{time}\n"
        for time, (first, second, third) in enumerate(rows)
    ]
    path = table_of(tmp_path, "start_gib,end_gib,accesses,time\n" + "".join(lines))
    result = import_record("heat-csv", path, ReadOptions(), FACTS)
    assert [phase.work for phase in result.workload.phases] == pytest.approx([1600 / 5800, 4200 / 5800], rel=0.03)
    assert result.phase_end_s == pytest.approx([40, 99], abs=1)
    assert len(result.workload.classes) == 3 and result.size_bytes == 4 << 30
    assert list(result.workload.phases[0].access_share.values()) == pytest.approx([0.75, 0.25], abs=0.02)


@pytest.mark.parametrize("name", ['a"b', "x: {y}", "# z", "two\nlines", "\x1b[2J", "\u202e", "é"])
def test_no_name_of_a_file_gets_into_the_yaml(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes((RECORDS / "damo-2.0.0.json").read_bytes())
    result = import_record("damon", path, ReadOptions(), FACTS)
    text = workload_text(result)
    assert all(char.isprintable() for line in text.split("\n") for char in line)
    plain = workload_text(imported())
    assert yaml.safe_load(text) == yaml.safe_load(plain)


def test_the_file_holds_the_workload_and_says_what_is_not_known(tmp_path: Path) -> None:
    result = imported(facts={"think_s": 4.01e-8, "run_s": 1e5})
    path = tmp_path / "mine.yaml"
    path.write_text(workload_text(result))
    read = load_record("workloads", Workload, str(path))
    assert read.model_copy(update={"name": "imported", "summary": ""}) == result.workload
    comments = " ".join(
        line.removeprefix("#").strip() for line in path.read_text().splitlines() if line.startswith("#")
    )
    assert all(" ".join(note.split()) in " ".join(comments.split()) for note in result.notes)
    assert f"{result.size_bytes}B" in comments


def test_the_verb_writes_all_or_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record, output, report = RECORDS / "damo-3.4.3.json_compressed", tmp_path / "mine.yaml", tmp_path / "mine.json"
    command = ["import", "damon", str(record), "--output", str(output)]
    assert main([*command, "--threads", "8", "--json", str(report)]) == 0
    shown = capsys.readouterr().out
    assert "resident memory" in shown and "run-1" in shown and "DAMON sees whether" in shown
    assert json.loads(report.read_text())["workload"]["threads"] == 8
    before = output.read_bytes()
    assert main(command) == 2 and "--threads" in capsys.readouterr().err
    assert output.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threads", "0"], "--threads=0: must be a whole number from 1"),
        (["--threads", "2", "--classes", "0"], "--classes=0: must be a whole number from 1 to 1000"),
        (["--threads", "2", "--phases", "many"], "--phases=many: must be a whole number"),
        (["--threads", "2", "--size", "4 parsecs"], "--size: '4 parsecs' is not a quantity in B"),
        (["--threads", "2", "--size", "0B"], "--size=0B: must be above 0"),
        (["--threads", "2", "--seconds", "-1"], "--seconds: -1.0 must be finite"),
        (["--threads", "2", "--seconds", "nan"], "--seconds: "),
        (["--threads", "2", "--think", "x"], "--think: 'x' is not a quantity in ns"),
        (["--threads", "2", "--sample-interval", "1ns"], "an aggregation interval of"),
        (["--threads", "2", "--store-share", "2"], "store_share=2.0: must be less than or equal to 1"),
        (["--threads", "2", "--memory-parallelism", "nan"], "memory_parallelism=nan"),
        (["--threads", "2", "--accesses-per-page", "1e300"], "accesses_per_page=1e+300: must be less than"),
    ],
)
def test_bad_options_are_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "mine.yaml"
    assert main(["import", "damon", str(RECORDS / "damo-2.0.0.json"), "--output", str(output), *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and message in captured.err
    assert not output.exists()


def test_an_unknown_format_and_the_record_as_output_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "record"
    record.write_bytes((RECORDS / "damo-2.0.0.json").read_bytes())
    assert main(["import", "damo", str(record), "--output", str(tmp_path / "x.yaml"), "--threads", "1"]) == 2
    assert "unknown format 'damo'; did you mean 'damon'?; formats: damon, perf-script" in capsys.readouterr().err
    assert main(["import", "damon", str(record), "--output", str(record), "--threads", "1"]) == 2
    assert "itself, which is read" in capsys.readouterr().err and record.read_bytes()[:1] == b"["
