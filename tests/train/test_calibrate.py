"""The command: what it writes, keeps, prints and goes on from."""

import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from tierenv import calibration as calibration_module
from tierenv.calibration import Calibration
from tierenv.platform import Platform
from tierenv.records import load_record
from tierenv.scenario import Scenario
from tierenv.train.calibrate import calibration_tables, report_path, run_calibration, workload_path
from tierenv.train.cli import main
from tierenv.train.fitted_text import fitted_text, start_of
from tierenv.workload import Workload

PLATFORM = """\
# my machine
like: base.yaml   # the lab's
sockets: 1
dram: {capacity: 64GiB, idle_latency: 95ns} # dmidecode
cxl:
  capacity: 128GiB      # HMAT
  idle_latency: {value: 0.25us, prior: 1.05, source: "MLC # idle"}
page_walk_per_doubling: {value: 10ns, prior: 1.2}  # guessed
numa_shared_move_share:    0.02 # fitted, 95 % interval 1 to 2
numa_fault: "2us"
"""
WORKLOAD = """\
# my program
like: abench
think: 0.05us # perf says
threads: 32
accesses_per_page: 2000
"""
SCENARIO = """\
platform: platform.yaml
daemon: numab2
workload: program.yaml
size: 512MiB
fast_capacity: 256MiB
"""
ROWS = "system,seconds\nno-migration,0.46\nnumab2,0.50\nall-slow,0.46\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a machine, a program and four measured rows."""
    files = {
        "base.yaml": "like: amd-epyc-cxl\n",
        "platform.yaml": PLATFORM,
        "program.yaml": WORKLOAD,
        "mine.yaml": SCENARIO,
        "times.csv": ROWS,
    }
    for name, text in files.items():
        (tmp_path / name).write_bytes(text.encode())
    return tmp_path


def arguments(folder: Path, output: str = "fitted.yaml") -> tuple[str, str, Path, str]:
    return str(folder / "times.csv"), str(folder / "platform.yaml"), folder / output, str(folder / "mine.yaml")


def command(folder: Path, output: str = "fitted.yaml") -> list[str]:
    rows, platform, target, scenario = arguments(folder, output)
    return ["calibrate", rows, "--platform", platform, "--scenario", scenario, "--output", str(target)]


def changed_lines(old: str, new: str) -> tuple[list[str], list[str]]:
    """Returns the lines that only the old and those that only the new text has."""
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    return [line for line in before if line not in after], [line for line in after if line not in before]


@pytest.mark.parametrize("output", ["fitted.yaml", "out/fitted.yaml"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_files_keep_all_but_the_fitted_values_byte_for_byte(folder: Path, output: str, newline: str) -> None:
    for name in ("platform.yaml", "program.yaml"):
        path = folder / name
        path.write_bytes(path.read_text().replace("\n", newline).encode())
    found = run_calibration(*arguments(folder, output))
    target = folder / output
    values = {row.parameter.field.rpartition(".")[2]: row for row in found.estimates}
    gone, new = changed_lines(PLATFORM.replace("\n", newline), target.read_bytes().decode())
    like = [] if target.parent == folder else ['like: "../base.yaml"   # the lab\'s' + newline]
    latency, walk, share, start = (
        values[name]
        for name in ("idle_latency", "page_walk_per_doubling", "numa_shared_move_share", "numa_start_period_factor")
    )
    assert len(gone) == 3 + len(like)
    interval = "fitted, 95 % interval"
    assert new == [
        *like,
        f'  idle_latency: {{value: {latency.value:g}us, prior: 1.05, source: "MLC # idle"}} # idle_latency {interval} '
        f"{latency.low:.3g} to {latency.high:.3g}{newline}",
        f"page_walk_per_doubling: {{value: {walk.value:g}ns, prior: 1.2}}  # page_walk_per_doubling {interval} "
        f"{walk.low:.3g} to {walk.high:.3g}; before: guessed{newline}",
        f"numa_shared_move_share:    {share.value:g} # {interval} {share.low:.3g} to {share.high:.3g}{newline}",
        f"{f'numa_start_period_factor: {start.value:g}':<30} # {interval} {start.low:.3g} to {start.high:.3g}{newline}",
    ]
    program = workload_path(target).read_bytes().decode()
    think = values["think"]
    assert f"think: {think.value / 1000:.5g}us # {interval} {think.low / 1000:.3g} to " in program
    assert "; before: perf says" in program and program.startswith(f"# my program{newline}like: abench{newline}")
    assert f"{newline}memory_parallelism: {values['memory_parallelism'].value:g} " in program


def test_what_is_written_loads_as_what_was_fitted(folder: Path) -> None:
    found = run_calibration(*arguments(folder))
    platform = load_record("platforms", Platform, str(folder / "fitted.yaml"))
    workload = load_record("workloads", Workload, str(folder / "fitted.workload.yaml"))
    for record, name in ((platform, "platform"), (workload, "workload")):
        for row in found.estimates:
            part, *rest = row.parameter.field.split(".")
            if part == name:
                value = record
                for key in rest:
                    value = getattr(value, key)
                assert value == pytest.approx(row.value * row.parameter.scale, rel=1e-9)
    assert platform.cxl.capacity == 128 << 30 and workload.threads == 32
    report = json.loads(report_path(folder / "fitted.yaml").read_text())
    assert report["schema"] == 2 and report["measurements"] == "times.csv"
    assert len(report["cells"]) == 3 and len(report["parameters"]) == len(found.estimates)


@pytest.mark.parametrize(
    "text",
    [
        "like: amd-epyc-cxl\n",
        "{like: amd-epyc-cxl, cxl: {capacity: 64GiB}}\n",
        "like: amd-epyc-cxl\ncxl:\n  capacity: 64GiB   # HMAT",
        "like: amd-epyc-cxl\ncxl: {\n  capacity: 64GiB, # HMAT\n  idle_latency: 240ns }\n",
        "like: amd-epyc-cxl\nnuma_fault: &two 2us\npage_walk_per_doubling: *two\n",
        "summary: >\n  a text\n  of lines\nlike: amd-epyc-cxl\n",
    ],
)
def test_a_text_of_any_layout_gains_the_values_and_loads_as_what_was_fitted(
    folder: Path, calibration: Calibration, text: str
) -> None:
    path = folder / "start.yaml"
    path.write_text(text)
    start = load_record("platforms", Platform, str(path))
    fields = ("page_walk_per_doubling", "numa_shared_move_share", "numa_start_period_factor")

    def with_fitted(platform: Platform, scenario: Scenario) -> Platform:
        latency = scenario.platform.cxl.idle_latency
        updates = {name: getattr(scenario.platform, name) for name in fields}
        return platform.model_copy(update=updates | {"cxl": platform.cxl.model_copy(update={"idle_latency": latency})})

    scenario = calibration.scenario
    scenario = scenario.model_copy(update={"platform": with_fitted(start, scenario)})
    target, start_text = folder / "new.yaml", start_of("platforms", path, text)
    target.write_text(fitted_text(start_text, "platform", scenario, calibration.estimates, target))
    found = load_record("platforms", Platform, str(target))
    for name in fields:
        assert getattr(found, name) == pytest.approx(getattr(scenario.platform, name))
    assert found.cxl.idle_latency == pytest.approx(scenario.platform.cxl.idle_latency)
    assert with_fitted(found, scenario).identity == scenario.platform.identity
    if "&two" not in text:  # an alias stands for two things
        assert yaml.safe_load(target.read_text())["like"] == "amd-epyc-cxl"
        assert all(line in target.read_text() for line in text.splitlines() if "#" in line and "{" not in line)


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    folder = tmp_path_factory.mktemp("calibration")
    for name, text in (("base.yaml", "like: amd-epyc-cxl\n"), ("platform.yaml", PLATFORM), ("program.yaml", WORKLOAD)):
        (folder / name).write_text(text)
    (folder / "mine.yaml").write_text(SCENARIO)
    (folder / "times.csv").write_text(ROWS)
    return run_calibration(*arguments(folder))


def test_a_program_that_stands_in_its_scenario_gets_a_file(folder: Path) -> None:
    (folder / "mine.yaml").write_text(
        SCENARIO.replace("program.yaml", "{like: ./program.yaml, threads: {value: 16, prior: fixed}}")
    )
    run_calibration(*arguments(folder, "out/fitted.yaml"))
    content = yaml.safe_load((folder / "out/fitted.workload.yaml").read_text())
    assert content["like"] == "../program.yaml" and content["threads"] == {"value": 16, "prior": "fixed"}
    assert load_record("workloads", Workload, str(folder / "out/fitted.workload.yaml")).threads == 16
    fixed = json.loads((folder / "out/fitted.calibration.json").read_text())["fixed"]
    assert [row["field"] for row in fixed] == ["workload.threads"]


def test_the_table_says_what_moved_and_what_did_not(calibration: Calibration) -> None:
    console = Console(width=400)
    with console.capture() as capture:
        console.print(calibration_tables(calibration)[2])
    lines = {row.parameter.field: "" for row in calibration.estimates}
    lines = {name: next(line for line in capture.get().splitlines() if name in line) for name in lines}
    assert "little more than its prior" in lines["platform.numa_shared_move_share"]
    assert " 0% " in lines["platform.numa_shared_move_share"]
    moved = [name for name, line in lines.items() if " moved " in line]
    assert moved == [row.parameter.field for row in calibration.estimates if row.is_informed]


MODELLED = calibration_module._Runs.modelled


class Stopping:
    """Stands for the model until it has been asked some times."""

    def __init__(self, calls: int) -> None:
        self.calls, self.made = calls, 0

    def __call__(self, runs: object, *arguments: object) -> object:
        if self.made == self.calls:
            raise KeyboardInterrupt
        self.made += 1
        return MODELLED(runs, *arguments)  # type: ignore[arg-type]


def test_a_stopped_calibration_goes_on_and_ends_as_one_that_was_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    whole = Stopping(10**6)
    monkeypatch.setattr(calibration_module._Runs, "modelled", lambda *given: whole(*given))
    assert main(command(folder, "whole.yaml")) == 0
    stopped = Stopping(3)
    monkeypatch.setattr(calibration_module._Runs, "modelled", lambda *given: stopped(*given))
    assert main(command(folder)) == 130
    assert not (folder / "fitted.yaml").exists()
    assert len(list((folder / "state/tierenv/journals").iterdir())) == 1
    rest = Stopping(10**6)
    monkeypatch.setattr(calibration_module._Runs, "modelled", lambda *given: rest(*given))
    assert main(command(folder)) == 0
    assert rest.made == whole.made - 3
    for suffix in (".yaml", ".workload.yaml", ".calibration.json"):
        assert (folder / f"fitted{suffix}").read_bytes() == (folder / f"whole{suffix}").read_bytes()
    assert not list((folder / "state/tierenv/journals").iterdir())


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("times.csv", "numab2", "numab3", "times.csv:3: system='numab3': unknown"),
        ("times.csv", "0.50", "-3", "times.csv:3: seconds='-3': must be a number above 0"),
        ("times.csv", ROWS, "system,seconds\n", "times.csv: has no row below its header"),
        ("platform.yaml", "prior: 1.05", "prior: 0.9", "cxl.idle_latency.prior: got 0.9, must be a factor"),
        ("platform.yaml", "sockets: 1", "sockets: {value: 1, prior: 2}", "platform.sockets: is a whole number"),
        ("program.yaml", "threads: 32", "threads: 0", "program.yaml: threads=0: must be greater than or equal to 1"),
        ("mine.yaml", "size: 512MiB", "size: 512GiB", "would start, or start anew, on the slow node"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, message: str
) -> None:
    path = folder / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    before = sorted(folder.iterdir())
    assert main(command(folder)) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert sorted(folder.iterdir()) == before


def test_if_one_file_cannot_be_written_none_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "fitted.calibration.json").mkdir()
    assert main(command(folder)) == 2
    assert "fitted.calibration.json: is a folder" in capsys.readouterr().err
    assert not (folder / "fitted.yaml").exists() and not (folder / "fitted.workload.yaml").exists()


@pytest.mark.parametrize("output", ["times.csv", "platform.yaml", "mine.yaml", "program.yaml"])
def test_what_is_read_is_not_written_over(folder: Path, capsys: pytest.CaptureFixture[str], output: str) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(command(folder, output)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "itself, which is read; choose another path to write" in error
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_file_of_heat_is_found_from_where_the_fitted_program_stands(folder: Path) -> None:
    (folder / "heat.csv").write_text("pages,accesses\n0.1,0.9\n0.9,0.1\n")
    (folder / "program.yaml").write_text(WORKLOAD + "heat: {file: heat.csv}\n")
    (folder / "out").mkdir()
    run_calibration(*arguments(folder, "out/fitted.yaml"))
    text = (folder / "out/fitted.workload.yaml").read_text()
    assert 'heat: {file: "../heat.csv"}' in text
    assert len(load_record("workloads", Workload, str(folder / "out/fitted.workload.yaml")).classes) == 2
