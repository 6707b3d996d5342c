"""The archive: what is in it, what it needs, and what it does as a program of its own."""

import ast
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

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
from tests.live.running import INTERVAL_S
from tests.tools import needs
from tierenv import live
from tierenv.agents.export import export_policy
from tierenv.agents.export.controller import archive
from tierenv.errors import ConfigError
from tierenv.live import kernel
from tierenv.live.arithmetic import UNLIMITED
from tierenv.live.check import Findings, check_archive
from tierenv.live.files import NOTES, is_written_by_others, root_folder
from tierenv.live.policy import Policy
from tierenv.scenario import load_scenario
from tierenv.train.recorded import open_record

SOURCES = sorted(Path(live.__file__).parent.glob("*.py"))


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


def test_a_setting_is_held_to_the_unit_whatever_is_observed(tmp_path: Path) -> None:
    file = tmp_path / "live.pyz"
    export_policy("static:26455,320,inf,150", "controller", file, NUMA_SCENARIO)
    with zipfile.ZipFile(file) as packed:
        policy = Policy(json.loads(packed.read("tierenv/live/tables.json")))
    assert policy.decide({}) == {
        "scan_period_ms": 26455,
        "scan_size_bytes": 320 << 20,
        "throttle_bytes_per_s": UNLIMITED,
        "hot_threshold_ms": 150,
    }
    assert policy.counts == {}
    with pytest.raises(ConfigError, match="steers daemon kmmscand-tunable"):
        export_policy("best-static", "controller", file, load_scenario("skewed"))


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
