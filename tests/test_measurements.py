"""The CSV of measurements: what is read, and what is refused."""

import pytest

from tierenv.errors import ConfigError
from tierenv.experiments import load_experiment
from tierenv.measurements import Cell, read_measurements
from tierenv.records import packaged

HEADER = "size_gb,system,seconds,stdev_percent\n"
ANY_KIND = "size_gb,system,quantity,value\n"


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return read_measurements("abench_rfc_v1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; its first line must name the columns size_gb, system, seconds, stdev_percent"),
        ("size_gb,system\n8,numab1\n", "lacks column seconds; the columns are"),
        ("size_gb,system,seconds,colour\n", "has an unknown column 'colour'; the columns are"),
        (HEADER + "8,numab1,-3,1\n", ":2: seconds='-3': must be a number above 0"),
        (HEADER + "8,numab1,nan,1\n", ":2: seconds='nan': must be a number above 0"),
        (HEADER + "8,numab1,12s,1\n", ":2: seconds='12s': must be a number above 0"),
        (HEADER + "0,numab1,12,1\n", ":2: size_gb='0': must be a number above 0"),
        (HEADER + "8,numab1,12,-1\n", ":2: stdev_percent='-1': must be a number of at least 0"),
        (HEADER + "8,numab3,12,1\n", ":2: system='numab3': unknown; did you mean 'numab2'?; allowed: no-migration, "),
        (HEADER + "8,numab1,12\n", ":2: has 3 values, the header names 4"),
        (HEADER, "mine.csv: has no row below its header"),
        ("system,value\nnumab1\n", ":2: has 1 values, the header names 2"),
        ("system,seconds,value\n", "has an unknown column 'seconds'; the columns are size_gb, system, seconds, "),
        ("seconds\n12\n", "lacks column system; the columns are"),
        (ANY_KIND + "8,numab1,sekonds,3\n", ":2: quantity='sekonds': unknown; did you mean 'seconds'?; allowed: "),
        (ANY_KIND + "8,numab1,pgpromote_success,3\n", ":2: quantity='pgpromote_success': unknown; did you mean"),
        (ANY_KIND + "8,numab1,numa_hint_faults_per_s,-3\n", ":2: value='-3': must be a number of at least 0"),
        (ANY_KIND + "8,numab1,seconds,0\n", ":2: value='0': must be a number above 0"),
        (ANY_KIND + "8,numab1,,3\n8,numab1,seconds,3\n", ":3: numab1 at 8 GiB is given twice"),
        (ANY_KIND + ",numab1,numa_hint_faults_per_s,3\n" * 2, ":3: numa_hint_faults_per_s of numab1 is given twice"),
        (ANY_KIND + "8,numab1,traffic_mb_per_s,3GB/s\n", ":2: value='3GB/s': must be a number of at least 0"),
        (HEADER + "8,numab1,12,1\n8,numab1,13,1\n", ":3: numab1 at 8 GiB is given twice"),
        (HEADER + "1e308,numab1,12,1\n", ":2: size_gb='1e308': must be a number above 0, and 1e+09 at most"),
        ("size_gb,system,seconds,seconds\n8,numab1,12,1\n", "has a column twice; the columns are"),
        ("size_gb;system;seconds\n8;numab1;1.278,98\n", ":2: seconds='1.278,98': must be a number above 0"),
        (HEADER + "8," + "x" * 140_000 + ",12,1\n", "mine.csv: holds more than 65536 bytes"),
    ],
)
def test_a_bad_row_is_one_clear_line(tmp_path, content, message):
    path = tmp_path / "mine.csv"
    path.write_text(content)
    with pytest.raises(ConfigError) as error:
        read_measurements(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text.replace(",", ";").replace(".", ",").replace("\n", "\r\n"),
        lambda text: text.replace(",", "\t"),
    ],
    ids=["byte order mark", "CRLF", "decimal commas", "tabs"],
)
def test_what_spreadsheets_write_is_read(cells, tmp_path, change):
    text = packaged("measurements")["abench_rfc_v1"].read_text()
    rows = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    path = tmp_path / "mine.csv"
    path.write_bytes(change(rows).encode())
    assert read_measurements(str(path)) == cells


def test_four_times_are_four_lines(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("system,seconds\nno-migration,610\nnumab1,602.5\nnumab2,588\nall-slow,790\n")
    found = read_measurements(str(path))
    assert found[1] == Cell(None, "numab1", 602.5, 0.0)
    assert [cell.system for cell in found] == ["no-migration", "numab1", "numab2", "all-slow"]


def test_rows_may_be_of_any_quantity_and_their_cells_empty(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(
        ANY_KIND.replace("\n", ",stdev_percent\n")
        + "8,numab2,,610,0.5\n,numab2,pgpromote_success_per_s,0,\n8,all-slow,traffic_mb_per_s,21000,2\n"
    )
    assert read_measurements(str(path)) == [
        Cell(8, "numab2", 610, 0.5),
        Cell(None, "numab2", 0, 0, "pgpromote_success_per_s"),
        Cell(8, "all-slow", 21000, 2, "traffic_mb_per_s"),
    ]
    experiment = load_experiment(str(path))
    assert [(row.quantity, row.published) for row in experiment.all_rows][1] == ("pgpromote_success_per_s", 0)
    assert set(experiment.planned) == {"numab2, 8 GiB", "all-slow, 8 GiB"}, "one run has several numbers"
