"""The archive: what is in it, what it needs, and what it does as a program of its own."""

import ast
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agents.script_trees import NUMA_SCENARIO
from tests.live.hosts import (
    AS_BOOTED,
    FAST_PAGES,
    Host,
    command,
    environment,
    network,
    oldest_python,
    run,
    tables,
    tree,
    write_archive,
)
from tests.tools import needs
from tierenv import live
from tierenv.agents.export import export_policy
from tierenv.agents.export.controller import archive
from tierenv.errors import ConfigError
from tierenv.live import kernel
from tierenv.live.check import Findings, check_archive
from tierenv.live.files import NOTES, is_written_by_others, root_folder
from tierenv.train.recorded import open_record

SOURCES = sorted(Path(live.__file__).parent.glob("*.py"))
INTERVAL_S = 0.15
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("archive"), tree(), INTERVAL_S)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


class Running:
    """A controller that runs on a host whose counters move on."""

    def __init__(self, host: Host, file: Path, *options: str, **more: str) -> None:
        self.host = host
        line = command(file, "run", "--apply", "--window", "2", *options)
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(line, env=environment(host, **more), start_new_session=True, **pipes)

    @property
    def last(self) -> dict[str, Any]:
        """The last decision, empty before the first."""
        status = self.host.root / "run/tierenv/status.json"
        content: dict[str, Any] = json.loads(status.read_text()) if status.exists() else {}
        return content

    def until(self, is_so: Callable[[], bool]) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < end_s and self.process.poll() is None, (self.last, self.process.poll())
            self.host.count()
            time.sleep(INTERVAL_S / 5)

    def until_it_has_written(self) -> None:
        self.until(
            lambda: self.host.knob(kernel.MODE) == kernel.MEMORY_TIERING and self.last.get("state") == "steering"
        )

    @property
    def child(self) -> int:
        """The process that decides."""
        return int(self.last["pid"])

    def end(self) -> tuple[int, str]:
        """Exit code and stderr."""
        _, errors = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, errors


@pytest.fixture
def start(host: Host, file: Path) -> Iterator[Callable[..., Running]]:
    started = []

    def begin(*options: str, **more: str) -> Running:
        started.append(Running(host, file, *options, **more))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            os.killpg(one.process.pid, signal.SIGKILL)
        if one.process.stdout is not None and not one.process.stdout.closed:
            one.process.communicate()


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}/stat").exists()


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_every_module_is_python_3_9_and_imports_the_standard_library_and_its_own(source: Path) -> None:
    module = ast.parse(source.read_text(), feature_version=(3, 9))
    for node in ast.walk(module):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            assert name.split(".")[0] in sys.stdlib_module_names or name.startswith("tierenv.live"), name


def test_holds_the_controller_and_tables_and_nothing_else(file: Path) -> None:
    with zipfile.ZipFile(file) as packed:
        names = packed.namelist()
        assert packed.read("tierenv/__init__.py") == b""
    modules = [f"tierenv/live/{source.name}" for source in SOURCES]
    assert sorted(names) == sorted(["__main__.py", "tierenv/__init__.py", *modules, "tierenv/live/tables.json"])


def test_one_policy_makes_one_archive_byte_for_byte(tmp_path: Path) -> None:
    content = tables(tmp_path / "bundle", network(8))
    assert archive(content) == archive(content)


def test_a_policy_of_a_daemon_that_no_kernel_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="steers daemon kmmscand-tunable, which no released kernel has"):
        export_policy("moving-hot-set", "controller", tmp_path / "live.pyz")
    assert list(tmp_path.iterdir()) == []


def test_starts_by_itself_in_the_oldest_interpreter_there_is(file: Path, host: Host) -> None:
    result = run(host, file, "--help")
    assert result.returncode == 0, result.stderr
    assert "run" in result.stdout and "restore" in result.stdout
    version = subprocess.run([oldest_python(), "--version"], capture_output=True, text=True, timeout=30).stdout
    assert version.startswith("Python 3.")
    assert run(host, file, "advise", "--intervals", "2").returncode == 0


def test_check_tells_what_is_there_and_forbids_nothing(file: Path, host: Host) -> None:
    result = run(host, file, "check")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "fast tier: nodes 0, 1.0 GiB" in result.stdout
    assert result.stdout.splitlines()[-1] == "nothing forbids run --apply"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda host: host.put("/sys/devices/virtual/memory_tiering/memory_tier22/nodelist", ""),
            "all memory is in one",
        ),
        (lambda host: host.put("/sys/kernel/security/lockdown", "none [integrity] confidentiality"), "under lockdown"),
        (lambda host: shutil.rmtree(host.root / "sys/kernel/debug"), "debugfs is not mounted"),
        (lambda host: (host.root / "proc/sys/kernel/numa_balancing").unlink(), "has no NUMA balancing of memory tiers"),
        (lambda host: host.put(kernel.HOT_THRESHOLD, "many"), "hot_threshold_ms holds nothing that could be put back"),
        (lambda host: (host.vmstat.pop("pgpromote_candidate"), host.show()), "lacks pgpromote_candidate"),
    ],
    ids=["tiers", "lockdown", "debugfs", "knob", "number", "counter"],
)
def test_what_forbids_it_is_named_and_nothing_is_written(
    change: Callable[[Host], object], said: str, file: Path, host: Host
) -> None:
    change(host)
    result = run(host, file, "check")
    assert result.returncode == 1
    assert said in result.stdout
    refused = run(host, file, "run", "--apply")
    assert refused.returncode == 1
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert host.notes == []


def test_doubts_are_warnings(file: Path, host: Host) -> None:
    host.put("/sys/kernel/mm/numa/demotion_enabled", "false")
    host.put("/proc/77/comm", "numad")
    host.put("/etc/tuned/active_profile", "throughput")
    (host.root / "proc/pressure/memory").unlink()
    host.free_pages[0] = 1 << 20
    host.show()
    result = run(host, file, "check")
    assert result.returncode == 0
    warned = [line for line in result.stdout.splitlines() if line.startswith("warning: ")]
    for word in (
        "demotion_enabled is false",
        "numad runs",
        "TuneD's profile 'throughput'",
        "/proc/pressure",
        "4.0 GiB free",
    ):
        assert any(word in line for line in warned), word


def test_run_needs_its_word_and_an_isolated_interpreter(file: Path, host: Host) -> None:
    assert "say so with --apply" in run(host, file, "run").stderr
    line = [word for word in command(file, "run", "--apply") if word != "-I"]
    result = subprocess.run(line, env=environment(host), capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert "start it as python3 -I" in result.stderr
    assert host.knobs == AS_BOOTED


def test_what_an_exported_script_has_set_is_neither_overwritten_nor_taken_back(
    file: Path, host: Host, tmp_path: Path
) -> None:
    script = tmp_path / "setting.sh"
    export_policy("static:16000,1024,256,100", "sysfs", script, NUMA_SCENARIO, target="numa-balancing")
    for arguments in (["--apply"], ["--apply"]):
        subprocess.run(["sh", script, *arguments], env=environment(host), check=True, capture_output=True, timeout=60)
    as_set = host.knobs
    refused = run(host, file, "run", "--apply")
    assert refused.returncode == 1
    assert "an exported script's setting is in force" in refused.stderr
    assert "left to its own --restore" in run(host, file, "restore").stderr
    assert host.knobs == as_set != AS_BOOTED
    subprocess.run(["sh", script, "--restore"], env=environment(host), check=True, capture_output=True, timeout=60)
    assert (host.knobs, host.notes) == (AS_BOOTED, [])


def test_who_wrote_a_knob_of_a_killed_one_is_given_his_time(
    start: Callable[..., Running], file: Path, host: Host
) -> None:
    running = start()
    running.until_it_has_written()
    os.killpg(running.process.pid, signal.SIGKILL)
    running.process.wait()
    host.put(kernel.RATE_LIMIT, 777)
    before = running.child
    second = start()
    second.until(lambda: second.last.get("pid") != before)
    assert "somebody else wrote" in second.last["waits"]["reason"]
    assert second.last["state"] == "waiting"
    assert host.knobs == AS_BOOTED | {kernel.RATE_LIMIT: 777}


def test_a_script_whose_apply_fails_leaves_a_killed_controller_s_notes_to_it(
    start: Callable[..., Running], file: Path, host: Host, tmp_path: Path
) -> None:
    running = start()
    running.until_it_has_written()
    os.killpg(running.process.pid, signal.SIGKILL)
    running.process.wait()
    script = tmp_path / "setting.sh"
    export_policy("static:16000,1024,256,100", "sysfs", script, NUMA_SCENARIO, target="numa-balancing")
    line = ["sh", "-c", f"ulimit -f 0; sh {script} --apply"]
    assert subprocess.run(line, env=environment(host), capture_output=True, timeout=60).returncode != 0
    assert run(host, file, "restore").returncode == 0
    assert (host.knobs, host.notes) == (AS_BOOTED, [])


def test_a_start_that_is_refused_puts_back_what_a_killed_one_has_left(
    start: Callable[..., Running], file: Path, host: Host
) -> None:
    running = start()
    running.until_it_has_written()
    os.killpg(running.process.pid, signal.SIGKILL)
    running.process.wait()
    assert run(host, file, "run", "--apply", "--pid", "999999").returncode == 1
    assert (host.knobs, host.notes) == (AS_BOOTED, [])


def test_a_supervisor_that_stands_still_ends_it(start: Callable[..., Running], host: Host) -> None:
    running = start()
    running.until_it_has_written()
    child = running.child
    running.process.send_signal(signal.SIGSTOP)
    end_s = time.monotonic() + PATIENCE_S
    while not is_gone(child) and time.monotonic() < end_s and host.knobs != AS_BOOTED:
        host.count()
        time.sleep(0.05)
    running.process.send_signal(signal.SIGCONT)
    assert running.end()[0] == 1
    assert (host.knobs, host.notes) == (AS_BOOTED, [])


def test_a_wait_outlasts_a_restart(start: Callable[..., Running], host: Host) -> None:
    first = start()
    first.until_it_has_written()
    host.put(kernel.RATE_LIMIT, 77)
    first.until(lambda: first.last["state"] == "waiting")
    before = first.child
    first.process.terminate()
    first.end()
    second = start()
    second.until(lambda: second.last.get("pid") != before)
    assert second.last["state"] == "waiting"
    assert "somebody else wrote" in second.last["waits"]["reason"]
    assert host.knobs == AS_BOOTED | {kernel.RATE_LIMIT: 77}


def test_root_of_the_machine_is_no_copy_of_it(file: Path) -> None:
    for root in ("/", "//", "/proc/..", "/./"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TIERENV_ROOT", root)
            assert root_folder() == ""


def test_an_archive_that_others_can_write_is_refused(file: Path, host: Host, tmp_path: Path) -> None:
    findings = Findings()
    program = tmp_path / "live.pyz"
    program.write_text("")
    program.chmod(0o777)
    check_archive(findings, "", str(program))
    assert "can be written by others than root" in findings.refusals[0]


def test_a_path_that_others_can_write_is_found_in_any_parent(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    program = folder / "live.pyz"
    program.write_text("")
    for place in (program, folder, folder.parent):
        before = place.stat().st_mode
        place.chmod(0o777)
        assert is_written_by_others(str(program)) == str(place)
        place.chmod(before)
    link = tmp_path / "other" / "link.pyz"
    link.parent.mkdir()
    link.symlink_to(program)
    link.parent.chmod(0o777)
    assert is_written_by_others(str(link)) == str(link.parent)


def test_an_end_by_sigterm_puts_all_back(start: Callable[..., Running], host: Host) -> None:
    running = start()
    running.until_it_has_written()
    running.process.send_signal(signal.SIGTERM)
    code, errors = running.end()
    assert code == 0, errors
    assert (host.knobs, host.notes) == (AS_BOOTED, [])
    assert is_gone(running.child)


def test_an_end_by_itself_puts_all_back(start: Callable[..., Running], host: Host) -> None:
    running = start("--intervals", "12")
    running.until_it_has_written()
    code, errors = running.end()
    assert code == 0, errors
    assert (host.knobs, host.notes) == (AS_BOOTED, [])


def test_a_kill_of_the_deciding_process_puts_all_back(start: Callable[..., Running], host: Host) -> None:
    running = start()
    running.until_it_has_written()
    os.kill(running.child, signal.SIGKILL)
    code, errors = running.end()
    assert code == 1
    assert "ended by itself (signal 9)" in errors
    assert (host.knobs, host.notes) == (AS_BOOTED, [])


def test_a_kill_of_the_supervisor_puts_all_back(start: Callable[..., Running], host: Host) -> None:
    running = start()
    running.until_it_has_written()
    child = running.child
    running.process.kill()
    running.process.wait()
    end_s = time.monotonic() + PATIENCE_S
    while not is_gone(child) and time.monotonic() < end_s:
        time.sleep(0.02)
    assert (host.knobs, host.notes) == (AS_BOOTED, [])


@pytest.mark.parametrize("way", ["restore", "the next start", "an exported script"])
def test_after_a_kill_of_both_what_was_found_can_be_put_back(
    way: str, start: Callable[..., Running], host: Host, file: Path, tmp_path: Path
) -> None:
    running = start()
    running.until_it_has_written()
    os.killpg(running.process.pid, signal.SIGKILL)
    running.process.wait()
    assert host.knobs != AS_BOOTED
    status = run(host, file, "status")
    assert "left by a killed one" in status.stdout
    if way == "restore":
        assert run(host, file, "restore").returncode == 0
    elif way == "the next start":
        following = run(host, file, "run", "--apply", "--intervals", "2")
        assert following.returncode == 0
        assert "puts back what a killed one has left" in following.stderr
    else:
        script = tmp_path / "setting.sh"
        export_policy("static:16000,1024,256,100", "sysfs", script, NUMA_SCENARIO, target="numa-balancing")
        restored = subprocess.run(["sh", script, "--restore"], env=environment(host), capture_output=True, timeout=60)
        assert restored.returncode == 0, restored.stderr
    assert (host.knobs, host.notes) == (AS_BOOTED, [])


def test_restore_without_notes_is_no_failure(host: Host, file: Path) -> None:
    result = run(host, file, "restore")
    assert (result.returncode, result.stderr) == (0, "tierenv live: nothing to restore\n")
    assert run(host, file, "status").stdout.splitlines() == ["not running", "no knob is set"]


def test_one_controller_at_a_time(start: Callable[..., Running], host: Host, file: Path) -> None:
    running = start()
    running.until_it_has_written()
    second = run(host, file, "run", "--apply")
    assert second.returncode == 1
    assert "is locked: a controller runs" in second.stderr
    assert run(host, file, "status").stdout.startswith("running\nlast decision: {")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that the account nobody can read, which pytest's are not."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_returns_when_a_health_command_says_it_is_worse(
    start: Callable[..., Running], host: Host, open_folder: Path
) -> None:
    number, health = open_folder / "latency", open_folder / "health.json"
    number.write_text("10\n")
    health.write_text(json.dumps(["/bin/cat", str(number)]))
    running = start("--health", str(health))
    running.until_it_has_written()
    number.write_text("100\n")
    running.until(lambda: running.last["state"] == "waiting")
    assert "health_command 100 is above" in running.last["reason"]
    assert (host.knobs, host.notes) == (AS_BOOTED, [])


def test_tells_systemd_that_it_is_ready_lives_and_stops(start: Callable[..., Running], tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(PATIENCE_S)
        running = start(NOTIFY_SOCKET=address)
        running.until_it_has_written()
        running.process.send_signal(signal.SIGTERM)
        assert running.end()[0] == 0
        heard = []
        while not heard or heard[-1] != "STOPPING=1":
            heard.append(listener.recv(100).decode())
    assert heard[0] == "READY=1"
    assert "WATCHDOG=1" in heard


def test_a_record_is_a_header_and_a_line_an_interval(file: Path, host: Host) -> None:
    result = run(host, file, "record", "--intervals", "3", "--interval-s", "0.1")
    header, *samples = map(json.loads, result.stdout.splitlines())
    assert header["tierenv_record"] == 1
    assert header["nodes"]["1"]["tier"] == "slow"
    assert len(samples) == 3
    assert samples[0]["setting"] is None  # mode 1 promotes nothing
    host.put(kernel.MODE, 2)
    sample = json.loads(run(host, file, "record", "--intervals", "1").stdout.splitlines()[1])
    assert sample["setting"] == {
        "scan_period_ms": 60000,
        "scan_size_bytes": 256 << 20,
        "throttle_bytes_per_s": None,
        "hot_threshold_ms": 1000,
        "scan_period_min_ms": 1000,
    }
    assert sample["counters"]["pgpromote_success"] == 1000


def test_a_record_is_what_replay_reads(file: Path, host: Host, tmp_path: Path) -> None:
    host.put(kernel.MODE, 2)
    output = tmp_path / "record.jsonl"
    assert run(host, file, "record", "--intervals", "3", "--interval-s", "0.1", "--output", str(output)).returncode == 0
    with open_record(output) as (header, samples):
        assert header.fast_pages == FAST_PAGES
        settings = [sample.setting for sample in samples]
    assert len(settings) == 3
    assert all(setting is not None and setting.scan_period_ms == 60_000 for setting in settings)


def test_a_record_overwrites_nothing(file: Path, host: Host, tmp_path: Path) -> None:
    output = tmp_path / "record.jsonl"
    output.write_text("mine")
    result = run(host, file, "record", "--output", str(output))
    assert (result.returncode, output.read_text()) == (1, "mine")
    assert result.stderr == f"tierenv live: --output {output}: File exists\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--pid", "0"],
        ["check", "--pid", "x"],
        ["check", "--cgroup", "../.."],
        ["advise", "--intervals", "-1"],
        [],
    ],
)
def test_bad_usage_is_exit_code_2(arguments: list[str], file: Path, host: Host) -> None:
    result = run(host, file, *arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_the_unit_runs_and_takes_back_this_very_archive(file: Path, host: Host) -> None:
    options = [
        "--cgroup",
        "system.slice/postgresql@15-main.service",
        "--metrics",
        "/var/lib/node_exporter/tierenv.prom",
    ]
    unit = run(host, file, "unit", *options).stdout
    assert f"ExecStart=/usr/bin/python3 -I {file} run --apply {' '.join(options)}\n" in unit
    assert f"ExecStopPost=/usr/bin/python3 -I {file} restore\n" in unit
    assert "ReadWritePaths=/var/lib/node_exporter\n" in unit
    assert NOTES.rpartition("/")[2] in re.findall(r"RuntimeDirectory=(\S+)", unit)


def test_a_unit_takes_no_process_for_its_number_is_another_s_after_a_boot(file: Path, host: Host) -> None:
    assert run(host, file, "unit", "--pid", "7").returncode == 2


def test_a_path_that_means_something_in_a_unit_is_refused(host: Host, tmp_path: Path) -> None:
    folder = tmp_path / "50%s $HOME\nExecStartPre=rm"
    folder.mkdir()
    result = run(host, write_archive(folder, tree(), INTERVAL_S), "unit")
    assert (result.returncode, result.stdout) == (1, "")
    assert "rename it" in result.stderr


@needs("systemd-analyze")
@pytest.mark.parametrize(
    ("options", "most"), [([], 2.5), (["--health", "/etc/tierenv/health.json"], 3.0)], ids=["alone", "with a command"]
)
def test_the_unit_is_one_and_is_hardened(
    options: list[str], most: float, file: Path, host: Host, tmp_path: Path
) -> None:
    unit = tmp_path / "tierenv-live.service"
    unit.write_text(run(host, file, "unit", *options).stdout)
    analysis = ["systemd-analyze", "--offline=true", "security", unit]
    report = subprocess.run(analysis, capture_output=True, text=True, timeout=60).stdout
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", report)
    assert exposure is not None and float(exposure[1]) <= most, report
