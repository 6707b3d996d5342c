"""However a controller ends, the knobs are as they were found; and who writes one meanwhile is given his time."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.agents.script_trees import NUMA_SCENARIO
from tests.live.hosts import AS_BOOTED, Host, environment, run
from tests.live.running import PATIENCE_S, Running, is_gone
from tierenv.agents.export import export_policy
from tierenv.live import kernel


def test_who_wrote_a_knob_of_a_killed_one_is_given_his_time(
    start: Callable[..., Running], file: Path, host: Host
) -> None:
    running = start()
    running.until_it_has_written()
    running.kill_both()
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
    running.kill_both()
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
    running.kill_both()
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
    running.kill_both()
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
