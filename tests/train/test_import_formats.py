"""Records of heat in the formats of others: what their programs wrote is read, anything else refused by its line."""

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tierenv.errors import ConfigError
from tierenv.train.imports import batches, damon_json, record_file
from tierenv.train.imports.heat_map import Heat
from tierenv.train.imports.importing import read_heat
from tierenv.train.imports.observations import Findings, ReadOptions

RECORDS = Path(__file__).parent / "imports"
DAMO = sorted(RECORDS.glob("damo-*"))
"""One record as several versions of damo write it; tests/train/imports/write_damo.py tells how."""


def read(format_name: str, path: Path, **options: float) -> tuple[Heat, Findings]:
    """Returns what a record holds."""
    findings = Findings(format_name)
    return read_heat(format_name, path, ReadOptions(**options), findings), findings


def refusal(format_name: str, path: Path) -> str:
    """Returns the error, which must be of the file."""
    with pytest.raises(ConfigError) as caught:
        read(format_name, path)
    message = str(caught.value)
    assert message.startswith(str(path)), message
    return message.removeprefix(str(path))


@pytest.mark.parametrize("path", DAMO, ids=lambda path: path.name)
def test_damo_writes_one_record_in_many_forms(path: Path) -> None:
    heat, findings = read("damon", path)
    expected, _ = read("damon", RECORDS / "damo-2.0.0.json")
    assert heat.num_observations == 12 and heat.size_bytes == 1 << 30
    assert np.array_equal(heat.column_bytes, expected.column_bytes)
    assert np.array_equal(heat.found.sum(axis=0), expected.found.sum(axis=0))
    assert np.array_equal(heat.checked.sum(axis=0), expected.checked.sum(axis=0))
    assert heat.last_s - heat.first_s == pytest.approx(0.200088, rel=0.01), "a report for people rounds to a ms"
    assert findings.check_interval_s == pytest.approx(0.100044 / 20, rel=0.01)


def test_a_hot_quarter_is_found_where_it_lies() -> None:
    heat, _ = read("damon", RECORDS / "damo-2.0.0.json")
    share = heat.found.sum(axis=0) / heat.checked.sum(axis=0)
    middle = (np.cumsum(heat.column_bytes) - heat.column_bytes / 2) / (1 << 30)
    assert 0.4 < share[middle < 0.25].mean() < 0.8
    assert 0.03 < share[(middle > 0.25) & (middle < 0.75)].mean() < 0.25
    assert (share[middle > 0.75] == 0).all()


ALL = [*((("damon"), path) for path in DAMO), ("abench", RECORDS / "abench.jsonl")] + [
    ("perf-script", RECORDS / f"perf-6.1.{name}") for name in ("samples", "data-source", "callchains")
]


@pytest.mark.parametrize(("format_name", "path"), ALL, ids=lambda value: getattr(value, "name", value))
def test_a_record_is_the_same_in_pieces_of_any_size_and_compressed(
    format_name: str, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = path.read_bytes()
    content = zlib.decompress(content) if path.suffix == ".json_compressed" else content
    whole, _ = read(format_name, path)
    monkeypatch.setattr(record_file, "BLOCK_BYTES", 211)
    for name, packed in (("plain", content), ("gzip", gzip.compress(content)), ("zlib", zlib.compress(content))):
        other = tmp_path / name
        other.write_bytes(packed)
        heat, _ = read(format_name, other)
        assert heat.num_observations == whole.num_observations
        assert heat.found.sum() == pytest.approx(whole.found.sum()) and heat.size_bytes == whole.size_bytes


def test_lines_of_trace_cmd_are_those_of_perf(tmp_path: Path) -> None:
    content = (RECORDS / "damo-3.4.3.perf_script").read_text()
    path = tmp_path / "trace"
    path.write_text("cpus=2\n" + content.replace("xxxx xxxx", "[001]").replace("damon:damon_agg", "damon_agg"))
    assert read("damon", path)[0].found.sum() == read("damon", RECORDS / "damo-3.4.3.perf_script")[0].found.sum()


def test_intervals_that_a_record_lacks_are_said(tmp_path: Path) -> None:
    path = RECORDS / "damo-3.4.3.perf_script"
    _, findings = read("damon", path)
    assert any("--sample-interval" in note for note in findings.notes)
    heat, findings = read("damon", path, sample_interval_s=2.5e-3, aggregation_interval_s=0.1)
    assert not any("--sample-interval" in note for note in findings.notes)
    assert (heat.checked.sum(axis=0) / heat.column_bytes == 3 * 40).all()
    lone = tmp_path / "lone"
    lone.write_text(path.read_text().split("\n")[0])
    assert any("--aggregation-interval" in note for note in read("damon", lone)[1].notes)


def test_the_mark_behind_a_lone_snapshot_is_no_region(tmp_path: Path) -> None:
    line = "kdamond.x xxxx xxxx {}: damon:damon_aggregated: target_id=0 nr_regions=1 {}\n"
    path = tmp_path / "lone"
    path.write_text(line.format("10.1", "4096-8192: 3 0") + line.format("10.2", "0-0: -1 -1"))
    heat, findings = read("damon", path)
    assert heat.num_observations == 1 and findings.observation_s == pytest.approx(0.1)


def test_perf_samples_fall_on_the_pages_of_their_addresses() -> None:
    heat, findings = read("perf-script", RECORDS / "perf-6.1.samples")
    lines = (RECORDS / "perf-6.1.samples").read_text().splitlines()
    pages = {int(line.split()[-1], 16) >> 12 for line in lines}
    assert heat.num_observations == len(lines) and heat.size_bytes == 4096 * len(pages) and findings.are_counts_known
    assert heat.found.sum() == sum(int(line.split()[3]) for line in lines)
    with_more, _ = read("perf-script", RECORDS / "perf-6.1.data-source")
    assert with_more.found.sum() == 8
    assert read("perf-script", RECORDS / "perf-6.1.callchains")[0].num_observations > 5


PERF_MEM = (
    "          bench 24155/24156 [003]  24172.829566:       {period}cpu/mem-{kind},ldlat=30/P: {address:>16} "
    "     68100142 |OP LOAD|LVL L1 hit|SNP None|TLB L1 or L2 hit|LCK No|BLK N/A   12 ffffffff817554ea f+0x28a (k)\n"
)


def test_perf_mem_samples_with_and_without_period(tmp_path: Path) -> None:
    path = tmp_path / "samples"
    addresses = ["7f0000001008", "7f0000001ff8", "7f0000002000", "ffff888100000000", "0"]
    path.write_text("".join(PERF_MEM.format(period="1000 ", kind="loads", address=each) for each in addresses))
    heat, findings = read("perf-script", path)
    assert findings.are_counts_known and heat.found.sum() == 3000 and heat.size_bytes == 8192
    assert sum(findings.left_out.values()) == 2
    path.write_text("".join(PERF_MEM.format(period="", kind="stores", address=each) for each in addresses))
    heat, findings = read("perf-script", path)
    assert not findings.are_counts_known and heat.found.sum() == 3
    assert any("stores" in note for note in findings.notes)
    heat, findings = read("perf-script", path, sample_period=500)
    assert findings.are_counts_known and heat.found.sum() == 1500


def test_an_instructions_address_is_not_taken_for_that_of_data() -> None:
    assert "of an instruction" in refusal("perf-script", RECORDS / "perf-6.1.instructions")


TABLES = [
    "start,end,accesses\n1048576,2097152,500\n2097152,6291456,40\n",
    "accesses;start_mib;size_mib\n500;1;1\n40;2,0;4\n",
    "start\tsize [KiB]\taccesses\n0x100000\t1024\t5e2\n0x200000\t4096\t40,0\n",
    '# of a spreadsheet\r\n"Start (pages)","End (pages)","Accesses"\r\n256,512,500\r\n\r\n512,"1536",40\r\n',
    "\ufeffstart,end,accesses\n# nothing\n1048576,2097152,500\n2_097_152,6291456,40\n".replace("_", ""),
]


@pytest.mark.parametrize("text", TABLES)
def test_tables_of_heat_with_any_separator_and_unit(text: str, tmp_path: Path) -> None:
    path = tmp_path / "heat.csv"
    path.write_bytes(text.encode())
    heat, findings = read("heat-csv", path)
    assert heat.size_bytes == 5 << 20 and not findings.has_time
    assert heat.found[0, heat.column_bytes.cumsum() <= 1 << 20].sum() == pytest.approx(500)
    assert heat.found.sum() == pytest.approx(540)


def test_times_of_a_table_have_units_too(tmp_path: Path) -> None:
    path = tmp_path / "heat.csv"
    path.write_text("start,size,accesses,time_ms\n0,4096,1,500\n0,4096,3,2500\n")
    heat, findings = read("heat-csv", path)
    assert findings.has_time and (heat.first_s, heat.last_s) == (0.5, 2.5)


def test_abench_tells_threads_work_and_time() -> None:
    heat, findings = read("abench", RECORDS / "abench.jsonl")
    assert (findings.threads, findings.accesses_per_page) == (2, 1400)
    assert findings.run_s == pytest.approx(0.124) and heat.size_bytes == 8 << 20
    assert any("0.0078125,SYSTEM,0.12,4.56" in note for note in findings.notes)


def test_a_live_record_knows_no_heat(tmp_path: Path) -> None:
    header = {
        "tierenv_record": 1,
        "kernel": "6.12.1",
        "page_bytes": 4096,
        "nodes": {"0": {"tier": "fast", "total_pages": 9}},
    }
    sample: dict[str, Any] = {"counters": {}, "setting": None, "nodes": {"0": {"free_pages": 1}}}
    times = [{"monotonic_ns": at, "boottime_ns": at, "resident_pages": at >> 10} for at in (1 << 30, 1 << 33)]
    path = tmp_path / "live.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in [header, *({**sample, **each} for each in times)]))
    message = refusal("live-record", path)
    assert "32GiB resident over 8 s" in message and "`tierenv replay`" in message


TRACE = "k [0] {time}: damon:damon_aggregated: target_id=0 nr_regions=1 {region}: {found} 0\n"
SNAPSHOT: dict[str, Any] = {"start_time": "0", "end_time": "100000000"}
REGION = {"start": "4,096", "end": "8,192", "nr_accesses": {"samples": 1}}


def trace(time: object = "1.5", region: str = "4096-8192", found: object = 3) -> str:
    return TRACE.format(time="1.0", region="0-4096", found=1) + TRACE.format(time=time, region=region, found=found)


def damo_json(region: dict[str, Any] = REGION, snapshot: dict[str, Any] = SNAPSHOT, **record: Any) -> str:
    intervals = {"sample_us": "5000", "aggr_us": "100000"}
    return json.dumps(
        [{"intervals": intervals, "target_id": 0} | record | {"snapshots": [snapshot | {"regions": [region]}]}]
    )


REPORT = "base_time_absolute: 5 s\n\nmonitoring_start: {}\nmonitoring_end: {}\ntarget_id: 0\nnr_regions: 1\n{}\n"


@pytest.mark.parametrize(
    ("format_name", "text", "message"),
    [
        ("damon", "", "is no record of DAMON"),
        ("damon", "hello\n", "is no record of DAMON"),
        ("damon", "PERFILE2....", "is a binary record; make a text of it"),
        ("damon", "damon_recfmt_ver\2", "is a binary record; make a text of it"),
        ("damon", "damon_aggregated: \0", "is binary"),
        ("damon", trace(region="8192-4096"), ":2: a region must begin below its end"),
        ("damon", trace(region="4096"), ":2: must be like 'TIME: damon:damon_aggregated"),
        ("damon", trace(region=f"0-{1 << 60}"), ":2: must be like"),
        ("damon", trace(region=f"0-{1 << 59}"), ":2: a region must begin below its end, at most at 2^58"),
        ("damon", trace(found=-2), ":2: nr_accesses=-2: must not be negative"),
        ("damon", trace(found=5000), ":2: nr_accesses=5000: an aggregation interval has 100 checks; say"),
        ("damon", trace(time="1e9"), ":2: must be like"),
        ("damon", "[]", "holds no snapshot"),
        ("damon", "{}", "holds no snapshot"),
        ("damon", damo_json()[:-40], "JSON that is not valid or cut off, in snapshot 1"),
        ("damon", damo_json().replace('"regions"', "regions"), "JSON that is not valid or cut off, in snapshot 1"),
        ("damon", damo_json({"start": "1"}), "in snapshot 1: a region must have start, end and nr_accesses.samples"),
        ("damon", damo_json(REGION | {"end": "0"}), "in snapshot 1: a region must begin below its end"),
        ("damon", damo_json(REGION | {"start": "-4"}), "in snapshot 1: a region's start, end and nr_accesses must be"),
        ("damon", damo_json(REGION | {"start": 1 << 59, "end": 1 << 60}), "in snapshot 1: a region must begin below"),
        ("damon", damo_json(REGION | {"nr_accesses": -1}), "in snapshot 1: nr_accesses=-1: must not be negative"),
        ("damon", damo_json(REGION | {"nr_accesses": 500}), "in snapshot 1: nr_accesses=500: an aggregation"),
        ("damon", damo_json(snapshot={"start_time": "5"}), "in snapshot 1: must have a start_time and a later"),
        ("damon", damo_json(snapshot=SNAPSHOT | {"end_time": "1 parsec"}), "in snapshot 1: is no time"),
        ("damon", damo_json(snapshot=SNAPSHOT | {"end_time": "9" * 29}), "in snapshot 1: must be 0 to 1e+10 s"),
        ("damon", damo_json(intervals={"sample_us": "0", "aggr_us": "5"}), "in snapshot 1: an aggregation interval of"),
        ("damon", REPORT.format("0 ns", "100 ms", "x"), ":7: must be a line of a region"),
        ("damon", REPORT.format("0 ns", "0 ns", "0-1000 ( 4 KiB) 1 1"), "must end after its start"),
        ("damon", REPORT.format("0 ns", "100 ms", "1000-1000 ( 4 KiB) 1 1"), ":7: a region must begin below its end"),
        ("perf-script", "", "holds no observation"),
        ("perf-script", "what is this\n", ":1: must be like '[COMM PID/TID] TIME: [PERIOD] EVENT: ADDRESS'"),
        ("perf-script", PERF_MEM.format(period="", kind="loads", address="7f00") + "bench 1.5\n", ":2: must be like"),
        ("heat-csv", "", "is empty; its first line must name the columns start, end"),
        ("heat-csv", "begin,end,accesses\n", ":1: unknown column 'begin'"),
        ("heat-csv", "start_furlongs,end,accesses\n", ":1: column start: unknown unit 'furlongs'; allowed: b, bytes"),
        ("heat-csv", "start,accesses\n", ":1: must have one of the columns end and size"),
        ("heat-csv", "start,end,size,accesses\n", ":1: must have one of the columns end and size"),
        ("heat-csv", "end,accesses\n", ":1: lacks the column start"),
        ("heat-csv", "start,start,end,accesses\n", ":1: column start is there twice"),
        ("heat-csv", "start,end,accesses\n0,4096\n", ":2: has 2 values; the first line names 3 columns"),
        ("heat-csv", "start,end,accesses\n0,4096,5\n0,4096,-5\n", ":3: accesses='-5': must be a number from 0 to"),
        ("heat-csv", "start,end,accesses\n0,4096,nan\n", ":2: accesses='nan': must be a number"),
        ("heat-csv", "start,end,accesses\n0,4096,1e400\n", ":2: accesses='1e400': must be a number"),
        ("heat-csv", "start_tib,end_tib,accesses\n0,9999999999,1\n", ":2: end='9999999999': must be a number"),
        ("heat-csv", "start,end,accesses\n\n4096,4096,1\n", ":3: a range must end behind its start"),
        ("heat-csv", "start,end,accesses\n0,4096,1\n0,4096,\udcff\n", "not UTF-8"),
        ("heat-csv", "start,end,accesses\n" + "1" * (3 << 20), "a line of more than"),
        ("abench", "{}\n", ":1: event: required key is missing"),
        ("abench", "usage: abench\n", ":1: not valid JSON"),
        ("abench", "", ": holds no line with event 'end'"),
        ("live-record", "", ":1: is empty"),
    ],
)  # fmt: skip
def test_what_is_no_record_is_refused_in_one_line(format_name: str, text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "record"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert message in refusal(format_name, path)


def test_json_without_regions_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(damon_json, "MAX_BYTES_BETWEEN", 1 << 20)
    path = tmp_path / "record"
    path.write_text(json.dumps([{"target_id": "x" * (4 << 20), "snapshots": []}]))
    assert "bytes without a region" in refusal("damon", path)


def test_a_snapshot_is_of_bounded_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MAX_SNAPSHOT_REGIONS", 3)
    path = tmp_path / "record"
    for text in ((RECORDS / f"damo-2.0.0.{name}").read_text() for name in ("json", "report")):
        path.write_text(text)
        assert "a snapshot of more than 3 regions" in refusal("damon", path)


@pytest.mark.parametrize("spoil", [lambda packed: packed[:-20], lambda packed: packed[:40] + b"x" * 9 + packed[49:]])
def test_compressed_data_that_is_spoiled_is_refused(spoil: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "record"
    path.write_bytes(spoil((RECORDS / "damo-3.4.3.json_compressed").read_bytes()))
    assert any(word in refusal("damon", path) for word in ("the compressed data is", "JSON that is"))


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: None])
def test_a_folder_and_a_missing_file_are_refused(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "record"
    make(path)
    assert refusal("damon", path) in (": Is a directory", ": No such file or directory")
