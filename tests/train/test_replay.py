"""A record beside the model: what the model itself recorded it repeats, and what is no record is refused by line."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tiny import tiny
from tierenv.counters import COUNTERS
from tierenv.daemon import load_daemon
from tierenv.errors import ConfigError
from tierenv.scenario import Scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.train import recorded
from tierenv.train.cli import main
from tierenv.train.episodes import episode_seeds
from tierenv.train.recorded import open_record
from tierenv.train.replay import ASLEEP, BACKWARDS, OFF, SEED, replay
from tierenv.tunables import TUNABLES, Setting, setting_of
from tierenv.units import MIB, PAGE_BYTES

Lines = list[dict[str, Any]]

SCENARIO = tiny().under(load_daemon("numa-balancing"), control="tunables")
SETTING = {
    "scan_period_ms": 1000,
    "scan_size_bytes": 64 * MIB,
    "throttle_bytes_per_s": 32 * MIB,
    "hot_threshold_ms": 500,
}
EXPORTED = [counter for counter in COUNTERS if counter.is_exported(SCENARIO.daemon)]
SINCE_BOOT = 1_000_000
"""What each counter had come to before."""
BOOT_NS = 7_000_000_000_000
"""When the record begins, on either clock."""


@pytest.fixture(scope="module")
def scenario_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scenario as a file."""
    path = tmp_path_factory.mktemp("scenario") / "tiny.yaml"
    path.write_text(json.dumps(tiny().model_dump(mode="json")))
    return path


def sample(system: LumpedSystem, time_ns: int, setting: dict[str, Any] | None) -> dict[str, Any]:
    """What a recorder would write of a model's machine."""
    counters = {counter.name: int(system.counters[0, COUNTERS.index(counter)]) for counter in EXPORTED}
    counters = {
        name: value if "free" in name else value + SINCE_BOOT for name, value in counters.items()
    }  # since the boot
    return {
        "monotonic_ns": BOOT_NS + time_ns,
        "boottime_ns": BOOT_NS + time_ns,
        "counters": counters | {"pgfault": 12345},
        "setting": setting,
        "resident_pages": SCENARIO.pages,
        "nodes": {"0": {"free_pages": 100}, "1": {"free_pages": 100}},
    }


def recorded_by_the_model(settings: dict[float, dict[str, Any]], scenario: Scenario = SCENARIO) -> Lines:
    """A record of the scenario, a sample every 0.3 s, with settings from these times on; as booted before any."""
    system = LumpedSystem([scenario])
    system.reset(episode_seeds([SEED]), ["training"])
    setting = setting_of(scenario.daemon.start_setting.row, scenario.daemon.tunables).to_json()
    header = {
        "tierenv_record": 1,
        "kernel": "6.12.1",
        "page_bytes": PAGE_BYTES,
        "nodes": {
            "0": {"tier": "fast", "total_pages": scenario.fast_capacity_pages},
            "1": {"tier": "slow", "total_pages": scenario.pages},
        },
    }
    lines = [header]
    for step in range(1000):
        time_ns = 300_000_000 * step
        if step:
            system.advance(0.3)
        if system.is_done[0]:
            return lines
        if 1e-9 * time_ns in settings:
            setting = settings[1e-9 * time_ns]
            values = {name: setting[TUNABLES[name].symbol] for name in scenario.daemon.tunables}
            row = Setting({name: math.inf if value is None else float(value) for name, value in values.items()}).row
            system.apply(np.array([row]))
        lines.append(sample(system, time_ns, {name: value and int(value) for name, value in setting.items()}))
    raise AssertionError("the scenario has no end")


@pytest.fixture(scope="module")
def lines() -> Lines:
    """A record in which a setting comes into force after 1.5 s, and another one later."""
    return recorded_by_the_model({1.5: SETTING, 3.0: SETTING | {"throttle_bytes_per_s": None}})


def write(path: Path, lines: Lines) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def copied(lines: Lines) -> Lines:
    content: Lines = json.loads(json.dumps(lines))
    return content


def test_what_the_model_recorded_it_repeats(tmp_path: Path, lines: Lines, scenario_path: Path) -> None:
    result = replay(write(tmp_path / "a.jsonl", lines), str(scenario_path))
    assert [row.counter for row in result.rows] == EXPORTED
    assert all(row.modelled == row.recorded and row.misplaced == 0 for row in result.rows)
    assert {row.counter.name for row in result.rows if row.recorded > 0} >= {"pgpromote_success", "numa_hint_faults"}
    assert result.compared_intervals == len(lines) - 2
    assert result.compared_s == pytest.approx(0.3 * (len(lines) - 2))
    assert (result.left_out, result.beyond_s, result.not_recorded, result.remarks) == ({}, 0, [], [])


@pytest.mark.parametrize("is_at_start", [True, False])
def test_a_setting_that_the_record_has_otherwise_shows(
    tmp_path: Path, lines: Lines, scenario_path: Path, is_at_start: bool
) -> None:
    other = copied(lines)
    for line in other[1:10] if is_at_start else other[-10:]:
        line["setting"]["throttle_bytes_per_s"] = 0
    result = replay(write(tmp_path / "a.jsonl", other), str(scenario_path))
    promoted = next(row for row in result.rows if row.counter.name == "pgpromote_success")
    assert promoted.modelled != promoted.recorded
    assert promoted.interval_error is not None and promoted.interval_error > 0


def test_errors_are_shares_of_what_was_recorded(tmp_path: Path, lines: Lines, scenario_path: Path) -> None:
    other = copied(lines)
    grown = [line["counters"]["numa_pte_updates"] - SINCE_BOOT for line in lines[1:]]
    for line, total in zip(other[1:], grown, strict=True):
        line["counters"] |= {"numa_pte_updates": SINCE_BOOT + 2 * total, "node0/nr_free_pages": 50}
    result = replay(write(tmp_path / "a.jsonl", other), str(scenario_path))
    rows = {row.counter.name: row for row in result.rows}
    marked, free = rows["numa_pte_updates"], rows["node0/nr_free_pages"]
    assert (marked.recorded, marked.modelled) == (2 * grown[-1], grown[-1])
    assert (marked.error, marked.interval_error) == (-0.5, 0.5)
    assert free.recorded == 50 and free.error == free.modelled / 50 - 1 and free.interval_error is None


def test_growth_in_another_interval_is_an_error_of_intervals_alone(
    tmp_path: Path, lines: Lines, scenario_path: Path
) -> None:
    other = copied(lines)
    total = lines[-1]["counters"]["numa_pte_updates"]
    for line in other[1:-1]:
        line["counters"]["numa_pte_updates"] = SINCE_BOOT
    result = replay(write(tmp_path / "a.jsonl", other), str(scenario_path))
    row = next(row for row in result.rows if row.counter.name == "numa_pte_updates")
    last = total - lines[-2]["counters"]["numa_pte_updates"]
    assert row.error == 0
    assert row.interval_error == pytest.approx(2 * (total - SINCE_BOOT - last) / (total - SINCE_BOOT))


def put_to_sleep(lines: Lines) -> None:
    for line in lines[5:]:
        line["boottime_ns"] += 3600 * 10**9


def turn_back(lines: Lines) -> None:
    for line in lines[5:]:
        line["counters"]["pgpromote_success"] -= SINCE_BOOT


def switch_off(lines: Lines) -> None:
    lines[5]["setting"] = None


@pytest.mark.parametrize(
    ("change", "reason", "number"), [(put_to_sleep, ASLEEP, 1), (turn_back, BACKWARDS, 1), (switch_off, OFF, 2)]
)
def test_what_cannot_be_compared_is_left_out_and_said(
    tmp_path: Path, lines: Lines, scenario_path: Path, change: Callable[[Lines], None], reason: str, number: int
) -> None:
    other = copied(lines)
    change(other)
    result = replay(write(tmp_path / "a.jsonl", other), str(scenario_path))
    assert result.left_out == {reason: number}
    assert result.compared_intervals == len(lines) - 2 - number
    assert f"left out: {number} intervals, {reason}" in result.notes
    if reason != OFF:  # the model went through the interval as the machine did
        assert all(row.misplaced == 0 for row in result.rows)


def test_what_comes_after_the_work_is_left_out_and_said(tmp_path: Path, lines: Lines, scenario_path: Path) -> None:
    other = copied(lines)
    for step in range(1, 11):
        later = copied(lines[-1:])[0]
        for clock in ("monotonic_ns", "boottime_ns"):
            later[clock] += step * 10**9
        later["counters"] = {name: value + 10**6 for name, value in later["counters"].items()}
        other.append(later)
    result = replay(write(tmp_path / "a.jsonl", other), str(scenario_path))
    assert result.beyond_s == pytest.approx(10)
    assert "left out: the last 10.0 s, for by then the scenario's work was done" in result.notes
    assert result.compared_intervals == len(lines) - 2 and all(row.misplaced == 0 for row in result.rows)


def test_settings_outside_the_ranges_are_the_nearest_and_said_once(
    tmp_path: Path, lines: Lines, scenario_path: Path
) -> None:
    near, far = copied(lines), copied(lines)
    for line in near[1:]:
        line["setting"] = SETTING | {"hot_threshold_ms": 100, "throttle_bytes_per_s": None}
    for line in far[1:]:
        line["setting"] = SETTING | {"hot_threshold_ms": 1, "throttle_bytes_per_s": 65536 * MIB}
    results = [replay(write(tmp_path / "a.jsonl", record), str(scenario_path)) for record in (near, far)]
    assert [row.modelled for row in results[0].rows] == [row.modelled for row in results[1].rows]
    assert [result.remarks for result in results] == [
        [],
        ["hot_threshold_ms outside 100ms to 10000ms: the nearest is taken"],
    ]


def test_a_machine_of_other_sizes_is_said(tmp_path: Path, lines: Lines, scenario_path: Path) -> None:
    other = copied(lines)
    other[0]["nodes"]["0"]["total_pages"] *= 2
    other[1]["resident_pages"] *= 3
    result = replay(write(tmp_path / "a.jsonl", other), str(scenario_path))
    assert result.remarks == [
        "the machine's fast nodes: 256MiB, the scenario's: 128MiB",
        "the machine's resident memory: 1.5GiB, the scenario's: 512MiB",
    ]


def test_a_counter_that_a_kernel_lacks_is_said(tmp_path: Path, lines: Lines, scenario_path: Path) -> None:
    other = copied(lines)
    for line in other[1:]:
        del line["counters"]["pgpromote_candidate"]
    result = replay(write(tmp_path / "a.jsonl", other), str(scenario_path))
    assert result.not_recorded == ["pgpromote_candidate"]
    assert "not in the record: pgpromote_candidate" in result.notes


def change_line(number: int, **changes: Any) -> Callable[[Lines], str]:
    """Puts values into a line, in place of others or beside them; the path leads to a part of it."""

    def change(lines: Lines) -> str:
        for path, value in changes.items():
            *places, last = path.split("__")
            part = lines[number - 1]
            for place in places:
                part = part[place]
            part[last] = value
        return ""

    return change


def drop(number: int, *places: str) -> Callable[[Lines], str]:
    def change(lines: Lines) -> str:
        part = lines[number - 1]
        for place in places[:-1]:
            part = part[place]
        del part[places[-1]]
        return ""

    return change


def with_tail(tail: str) -> Callable[[Lines], str]:
    return lambda _lines: tail


def exchange(lines: Lines) -> str:
    lines[4], lines[5] = lines[5], lines[4]
    return ""


def begin_anew(lines: Lines) -> str:
    lines.insert(5, lines[0])
    return ""


def keep(number: int) -> Callable[[Lines], str]:
    def change(lines: Lines) -> str:
        del lines[number:]
        return ""

    return change


END = 21
"""Lines of a record that is to be spoiled."""
SPOILT: list[tuple[Callable[[Lines], str], str]] = [
    (keep(0), ":1: is empty; give a file that `tierenv live record` wrote"),
    (keep(1), "holds no sample"),
    (keep(2), "has no interval between two samples to compare"),
    (drop(1, "tierenv_record"), ":1: tierenv_record: required key is missing; give a file"),
    (change_line(1, tierenv_record=2), ":1: tierenv_record=2: "),
    (change_line(1, page_bytes=65536), ":1: page_bytes=65536: must be 4096"),
    (change_line(1, nodes__0__tier="middle"), ":1: nodes.0.tier='middle': "),
    (change_line(1, nodes={}), ":1: nodes={}: must have at least 1 entry"),
    (change_line(1, nodes__2={"tier": "slow", "total_pages": 5}), ":2: nodes: lacks 2, which lines before have"),
    (drop(4, "setting"), ":4: setting: required key is missing"),
    (drop(4, "setting", "throttle_bytes_per_s"), ":4: setting.throttle_bytes_per_s: required key is missing"),
    (drop(4, "counters", "numa_hint_faults"), ":4: counters: lacks numa_hint_faults, which lines before have"),
    (drop(4, "nodes", "1"), ":4: nodes: lacks 1, which lines before have"),
    (change_line(4, counters__numa_hint_faults="7"), ":4: counters.numa_hint_faults='7': must be a whole number"),
    (change_line(4, counters__numa_hint_faults=7.5), ":4: counters.numa_hint_faults=7.5: must be a whole number"),
    (change_line(4, counters__numa_hint_faults=True), ":4: counters.numa_hint_faults=True: must be a whole number"),
    (change_line(4, counters__numa_hint_faults=-1), ":4: counters.numa_hint_faults=-1: must be greater than or equal"),
    (change_line(4, monotonic_ns=1 << 64), ":4: monotonic_ns=18446744073709551616: must be less than"),
    (change_line(4, counters=[]), ":4: counters=[]: must be a mapping of keys to values"),
    (exchange, ":6: monotonic_ns="),
    (change_line(4, boottime_ns=1), ":4: boottime_ns=1: must be above the"),
    (begin_anew, ":6: tierenv_record: a second record begins here"),
    (with_tail("{}\n"), ":22: monotonic_ns: required key is missing"),
    (with_tail("[]\n"), ":22: must hold an object, got list"),
    (with_tail("\n"), ":22: not valid JSON"),
    (with_tail('{"a": 1, "a": 2}\n'), ":22: not valid JSON: a is given twice"),
    (with_tail('{"monotonic_ns": NaN}\n'), ":22: not valid JSON: NaN is not a number"),
    (with_tail("[" * 100_000 + "\n"), ":22: not valid JSON: nested too deeply"),
    (with_tail('{"monotonic_ns": 70'), ":22: not valid JSON: .*; the line is cut off, remove it to use the others"),
]


@pytest.mark.parametrize(("change", "reason"), SPOILT)
def test_a_line_that_is_not_as_it_should_be_is_named(
    tmp_path: Path,
    lines: Lines,
    scenario_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Lines], str],
    reason: str,
) -> None:
    spoilt = copied(lines[:END])
    tail = change(spoilt)
    path = write(tmp_path / "a.jsonl", spoilt)
    path.write_text(path.read_text() + tail)
    assert main(["replay", str(path), "--scenario", str(scenario_path), "--json", str(tmp_path / "out.json")]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    expected, _, rest = reason.partition(".*")
    assert f"tierenv: {path}" in captured.err and expected in captured.err and rest in captured.err
    assert not (tmp_path / "out.json").exists()


def test_a_line_after_the_work_is_read_all_the_same(tmp_path: Path, lines: Lines, scenario_path: Path) -> None:
    later = copied(lines[-1:])[0] | {"monotonic_ns": BOOT_NS + 10**12, "boottime_ns": BOOT_NS + 10**12}
    path = write(tmp_path / "a.jsonl", [*lines, later, {"monotonic_ns": 1}])
    with pytest.raises(ConfigError, match=rf"a\.jsonl:{len(lines) + 2}: "):
        replay(path, str(scenario_path))


def test_a_record_that_was_cut_off_between_lines_is_whole(tmp_path: Path, lines: Lines, scenario_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", lines[:10])
    path.write_text(path.read_text().removesuffix("\n"))
    assert replay(path, str(scenario_path)).compared_intervals == 8


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"\xff\xfe\n", ":1: not UTF-8"), (b"\x80" * 10, ":1: not UTF-8"), (b"root:x:0\n", ":1: not valid")],
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ConfigError, match=reason), open_record(tmp_path / "a"):
        pass


def test_a_record_is_read_a_line_at_a_time(tmp_path: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "MAX_LINE_BYTES", 4096)
    path = write(tmp_path / "a.jsonl", lines)
    path.write_text(path.read_text() + '{"comment": "' + "x" * 5000)
    with open_record(path) as (header, samples):
        assert header.fast_pages == SCENARIO.fast_capacity_pages
        seen = _taken(samples, len(lines) - 1)
        with pytest.raises(ConfigError, match=rf":{len(lines) + 1}: a line of more than 4096 bytes"):
            next(samples)
    assert [each.counters for each in seen] == [line["counters"] for line in lines[1:]]


def _taken(samples: Iterator[recorded.Sample], number: int) -> list[recorded.Sample]:
    return [next(samples) for _ in range(number)]


@pytest.mark.parametrize("name", ["none.jsonl", "."])
def test_what_is_no_file_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["replay", name, "--scenario", "skewed"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_balancing_that_was_off_throughout_leaves_nothing(tmp_path: Path, lines: Lines, scenario_path: Path) -> None:
    off = [lines[0], *({**line, "setting": None} for line in lines[1:])]
    with pytest.raises(ConfigError, match=f"no interval between two samples to compare; {OFF} in {len(lines) - 2}"):
        replay(write(tmp_path / "a.jsonl", off), str(scenario_path))


def test_the_command_prints_every_counter_and_writes_what_it_prints(
    tmp_path: Path, lines: Lines, scenario_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write(tmp_path / "a.jsonl", lines), tmp_path / "out.json"
    assert main(["replay", str(path), "--scenario", str(scenario_path), "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    content = json.loads(out.read_text())
    assert (content["scenario"], content["daemon"], content["kernel"]) == ("moving-hot-set", "numa-balancing", "6.12.1")
    for row in content["rows"]:
        assert row["counter"] in printed
        assert row["recorded"] == row["modelled"] and row["error"] in (0, None)
    assert "the record wherever its machine was" in printed
    assert content["notes"] == replay(path, str(scenario_path)).notes
