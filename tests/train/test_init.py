"""`tierenv init`: three files that refer to each other and run, or none at all."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from tierenv.errors import ConfigError
from tierenv.scenario import load_scenario
from tierenv.train import init
from tierenv.train.cli import main


def test_what_is_written_without_a_terminal_is_read_and_takes_two_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["init"]) == 0
    output = capsys.readouterr().out
    assert "no terminal to ask on" in output and "tierenv evaluate mine/scenario.yaml --policy" in output
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == [
        "platform.yaml",
        "scenario.yaml",
        "workload.yaml",
    ]
    mine = load_scenario("mine/scenario.yaml")
    assert mine.daemon.name == "numa-balancing" and mine.platform.name == "platform"
    [seconds] = [mine.total_accesses / mine.workload.threads * float(init.access_time_s(mine, 1.0))]
    assert seconds == pytest.approx(init.RUN_S, rel=0.05)


@pytest.mark.parametrize("heat", init.HEATS)
def test_every_option_stands_in_the_file_that_it_is_about(heat: str, tmp_path: Path) -> None:
    options = {
        "memory": "48GiB",
        "threads": "12",
        "heat": heat,
        "like": "one-x8-card",
        "dram": "20GiB",
        "cxl": "40GiB",
        "dram-latency": "101ns",
        "cxl-latency": "333 ns",
        "dram-bandwidth": "99GB/s",
        "cxl-bandwidth": "11GB/s",
        "daemon": "numab2",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    assert main(["init", str(tmp_path / "new" / "mine"), *words]) == 0
    mine = load_scenario(str(tmp_path / "new" / "mine" / "scenario.yaml"))
    platform = mine.platform
    assert (mine.size, mine.fast_capacity, platform.cxl.capacity) == (48 << 30, 20 << 30, 40 << 30)
    assert (mine.workload.threads, mine.daemon.name, platform.sockets) == (12, "numab2", 1)
    assert (platform.dram.idle_latency, platform.cxl.idle_latency) == pytest.approx((101e-9, 333e-9))
    assert (platform.dram.bandwidth, platform.cxl.bandwidth) == pytest.approx((99e9, 11e9))
    form = init.HEATS[heat][0]
    assert form in (tmp_path / "new" / "mine" / "workload.yaml").read_text()
    assert set(init.QUESTIONS) == {name.replace("-", "_") for name in options}


def test_files_that_exist_are_referred_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my machine: 1.yaml").write_text("like: one-x8-card\n")
    Path("program.yaml").write_text("like: skewed\nthreads: 7\n")
    own = ["--platform", "my machine: 1.yaml", "--workload", "program.yaml"]
    assert main(["init", "deep/mine", *own, "--memory", "32GiB", "--dram", "8GiB"]) == 0
    assert [path.name for path in Path("deep/mine").iterdir()] == ["scenario.yaml"]
    mine = load_scenario("deep/mine/scenario.yaml")
    assert (mine.platform.name, mine.workload.threads, mine.fast_capacity) == ("my machine: 1", 7, 8 << 30)
    assert main(["init", "other", "--workload", "gups", "--memory", "32GiB"]) == 0
    assert sorted(path.name for path in Path("other").iterdir()) == ["platform.yaml", "scenario.yaml"]
    assert load_scenario("other/scenario.yaml").workload.name == "gups"
    capsys.readouterr()
    assert main(["init", "third", *own, "--heat", "zipf"]) == 2
    assert capsys.readouterr().err == (
        "tierenv: --heat: is what program.yaml says (--workload); leave one of them out\n"
    )
    assert not Path("third").exists()


def test_lines_that_are_comments_are_valid_when_they_are_none(tmp_path: Path) -> None:
    init.write_scenario(tmp_path / "mine", init.with_defaults({}))
    for line in ("# drift:", "# load:", "# growth:"):
        path = tmp_path / "mine" / "workload.yaml"
        text = path.read_text()
        assert line in text
        path.write_text(text.replace(line, line[2:]))
        assert load_scenario(str(tmp_path / "mine" / "scenario.yaml")).workload
        path.write_text(text)
    path = tmp_path / "mine" / "scenario.yaml"
    path.write_text(path.read_text().replace("# corunners:", "corunners:"))
    assert len(load_scenario(str(path)).corunners) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--memory", "4 parsecs"], "--memory: '4parsecs' is not a quantity in B, KiB"),
        (["--memory", "1TiB"], "scenario.yaml: size=1TiB: 1008GiB of all processes would start"),
        (["--memory", "0B"], "scenario.yaml: size='0B': must be greater than or equal to 256KiB"),
        (["--threads", "0"], "--threads: '0': must be a whole number of threads, 1 to 1048576"),
        (["--threads", "3: x"], "--threads: '3:x': must be a whole number of threads"),
        (["--heat", "zpif"], "--heat: unknown heat 'zpif'; did you mean 'zipf'?; allowed: zipf, hot-cold, normal"),
        (["--like", "amd"], "--like: unknown platform 'amd'"),
        (["--like", "./mine.yaml"], "--like: './mine.yaml': must be a packaged one; run: tierenv list platforms"),
        (["--daemon", "numab"], "--daemon: unknown daemon 'numab'; did you mean 'numab"),
        (["--daemon", "./x.yaml"], "--daemon: './x.yaml': must be a packaged one; run: tierenv list daemons"),
        (["--cxl-latency", "0ns"], "platform.cxl.idle_latency='0ns': must be greater than or equal to 1ns"),
        (["--dram-bandwidth", "10GB"], "--dram-bandwidth: '10GB' is not a quantity in B/s"),
        (["--dram-bandwidth", ""], "--dram-bandwidth: '' is not a quantity in B/s"),
    ],
)
def test_a_bad_option_is_one_line_and_nothing_is_written(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "mine", *words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("folder", "message"),
    [("full", "full: already exists; name a new folder"), (".", ".: is the working folder"), ("file", "file: already")],
)
def test_nothing_is_overwritten(
    folder: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "other.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert main(["init", folder, "--threads", "2"]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "other.txt"]


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def fail(path: Path, text: str, encoding: str) -> None:
        if written:
            raise OSError(28, "No space left on device")
        written.append(path)

    answers = init.with_defaults({})
    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(OSError, match="No space"):
        init.write_scenario(tmp_path / "mine", answers)
    assert list(tmp_path.iterdir()) == []


def test_questions_are_asked_until_there_is_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    typed = {"memory": ["lots", "8 GiB"], "threads": ["2"], "like": ["persistent-memory"], "cxl": [""]}
    lines = iter([line for name in init.QUESTIONS for line in typed.get(name, [""])])
    monkeypatch.setattr("builtins.input", lambda *_: next(lines))
    answers = init.ask(Console(file=output, width=200))
    assert (answers["memory"], answers["threads"], answers["cxl"], answers["cxl_latency"]) == (
        *("8GiB", "2", "128GiB"),
        "305ns",  # of the platform that was named before
    )
    assert "'lots' is not a quantity" in output.getvalue()
    [*_, scenario] = init.write_scenario(tmp_path / "mine", answers)
    assert load_scenario(str(scenario)).platform.cxl.bandwidth == pytest.approx(10e9)


def test_help_names_every_form_of_heat(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--help"]) == 0
    output = capsys.readouterr().out
    assert all(name in output for name in init.HEATS)


def test_input_that_ends_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: (_ for _ in ()).throw(EOFError))
    with pytest.raises(ConfigError, match="no answer to: Memory the program uses"):
        init.ask(Console(file=io.StringIO()))


@pytest.mark.parametrize("heat", ["zipf", "hot-cold"])
def test_a_scenario_that_was_written_runs(heat: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    *_, path = init.write_scenario(tmp_path / "mine", init.with_defaults({"heat": heat}))
    text = path.read_text().replace("size: 64GiB", "size: 640MiB").replace("capacity: 16GiB", "capacity: 160MiB")
    path.write_text(f"{text}regions: 2\n")
    assert main(["evaluate", str(path), "--policy", "no-migration", "--policy", "numab2", "--seeds", "1"]) == 0
    assert "numab2" in capsys.readouterr().out
