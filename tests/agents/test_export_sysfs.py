"""The scripts of format sysfs run for real, on copies of the file trees of the kernels they are for."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny import setting_of_three
from tests.tools import needs
from tierenv.agents.export import FORMATS, export_policy
from tierenv.agents.export.targets import TARGETS, target_setting
from tierenv.daemon import load_daemon
from tierenv.errors import ConfigError
from tierenv.scenario import load_scenario
from tierenv.tunables import TUNABLES, Setting
from tierenv.units import MIB

SCENARIO = load_scenario("skewed")
SYMBOLS = tuple(row.symbol for row in TUNABLES.values())
POLICY = "static:1000,1024,256"
OTHER_POLICY = "static:2000,512,16"
NOBODY = 65534

KMMSCAND = "sys/kernel/mm/kmmscand/mm_scan_period_ms"
NUMA = "sys/kernel/debug/sched/numa_balancing"
FILES = {
    "kmmscand": {KMMSCAND: 2000},
    "numa-balancing": {
        "proc/sys/kernel/numa_balancing": 1,
        "proc/sys/kernel/numa_balancing_promote_rate_limit_MBps": 65536,
        f"{NUMA}/scan_size_mb": 256,
        f"{NUMA}/scan_period_min_ms": 1001,
        f"{NUMA}/scan_period_max_ms": 60000,
    },
}
"""Files that hold numbers, by target, with what the kernel starts with."""

APPLIED = {
    "kmmscand": {KMMSCAND: 1000},
    "numa-balancing": {
        "proc/sys/kernel/numa_balancing": 2,
        "proc/sys/kernel/numa_balancing_promote_rate_limit_MBps": 256,
        f"{NUMA}/scan_size_mb": 1024,
        f"{NUMA}/scan_period_min_ms": 16000,
        f"{NUMA}/scan_period_max_ms": 16000,
    },
}
"""The same after `POLICY`."""

DAMON = "sys/kernel/mm/damon/admin/kdamonds"
SCHEME = "0/contexts/0/schemes/0"
DAMON_FILES = f"""
nr_kdamonds 0/state 0/contexts/nr_contexts 0/contexts/0/operations
0/contexts/0/monitoring_attrs/intervals/sample_us 0/contexts/0/monitoring_attrs/intervals/aggr_us
0/contexts/0/monitoring_attrs/nr_regions/min 0/contexts/0/monitoring_attrs/nr_regions/max
0/contexts/0/targets/nr_targets 0/contexts/0/targets/0/regions/nr_regions
0/contexts/0/targets/0/regions/0/start 0/contexts/0/targets/0/regions/0/end
0/contexts/0/targets/0/regions/1/start 0/contexts/0/targets/0/regions/1/end
0/contexts/0/schemes/nr_schemes {SCHEME}/action {SCHEME}/target_nid {SCHEME}/apply_interval_us
{SCHEME}/access_pattern/sz/min {SCHEME}/access_pattern/sz/max {SCHEME}/access_pattern/nr_accesses/min
{SCHEME}/access_pattern/nr_accesses/max {SCHEME}/access_pattern/age/min {SCHEME}/access_pattern/age/max
{SCHEME}/quotas/ms {SCHEME}/quotas/bytes {SCHEME}/quotas/reset_interval_ms {SCHEME}/quotas/weights/sz_permil
{SCHEME}/quotas/weights/nr_accesses_permil {SCHEME}/quotas/weights/age_permil
{SCHEME}/filters/nr_filters {SCHEME}/filters/0/type {SCHEME}/filters/0/matching
""".split()


def write_file(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{content}\n")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user may enter, unlike pytest's, with a blank in its name."""
    parent = Path(tempfile.mkdtemp())
    parent.chmod(0o755)
    path = parent / "a tree"
    (path / "run").mkdir(parents=True)
    yield path
    shutil.rmtree(parent)


@pytest.fixture
def damon(folder: Path) -> Path:
    """The tree of a machine with DAMON: node 0 has CPUs, node 1 memory alone, with a hole of one block in it."""
    for name in DAMON_FILES:
        write_file(folder / DAMON / name, 0)
    write_file(folder / DAMON / "0/state", "off")
    write_file(folder / "sys/devices/system/memory/block_size_bytes", 8000000)
    for node, cpus, blocks in ((0, "0-63", range(4)), (1, "", (9, 10, 11, 64, 65, 100)[:5])):
        write_file(folder / f"sys/devices/system/node/node{node}/cpulist", cpus)
        for block in blocks:
            (folder / f"sys/devices/system/node/node{node}/memory{block}").mkdir()
    return folder / DAMON


def make_tree(folder: Path, target: str) -> None:
    for name, value in FILES[target].items():
        write_file(folder / name, value)


def make_script(folder: Path, target: str, policy: str = POLICY, name: str = "setting.sh") -> Path:
    export_policy(policy, "sysfs", folder / name, SCENARIO, target=target)
    return folder / name


@pytest.fixture(params=FILES)
def target(request: pytest.FixtureRequest, folder: Path) -> str:
    make_tree(folder, request.param)
    return str(request.param)


@pytest.fixture
def script(folder: Path, target: str) -> Path:
    return make_script(folder, target)


def run(script: Path, *arguments: str, user: int | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", script, *arguments],
        env={"PATH": os.environ["PATH"], "TIERENV_ROOT": str(script.parent), **environment},
        capture_output=True,
        text=True,
        timeout=20,
        user=user,
    )


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def numbers(folder: Path, target: str) -> dict[str, int]:
    return {name: int((folder / name).read_text()) for name in FILES[target]}


def test_dry_run_is_the_default_and_changes_nothing(script: Path, folder: Path, target: str) -> None:
    before = tree(folder)
    result = run(script)
    assert (result.returncode, result.stderr) == (0, "")
    for name, value in APPLIED[target].items():
        assert f"{folder}/{name}: {FILES[target][name]} -> {value} with --apply\n" in result.stdout
    assert tree(folder) == before


def test_apply_then_restore_returns_to_the_start(script: Path, folder: Path, target: str) -> None:
    before = tree(folder)
    result = run(script, "--apply")
    assert (result.returncode, result.stderr) == (0, "")
    assert numbers(folder, target) == APPLIED[target]
    result = run(script, "--restore")
    assert (result.returncode, result.stderr) == (0, "")
    assert tree(folder) == before


def test_applying_and_restoring_twice_is_as_once(script: Path, folder: Path, target: str) -> None:
    run(script, "--apply")
    once = tree(folder)
    result = run(script, "--apply")
    assert (result.returncode, result.stdout.count("already")) == (0, len(FILES[target]))
    assert tree(folder) == once
    run(script, "--restore")
    result = run(script, "--restore")
    assert (result.returncode, result.stdout.count("nothing to restore")) == (0, len(FILES[target]))
    assert numbers(folder, target) == FILES[target]


def test_second_script_keeps_the_first_original(script: Path, folder: Path, target: str) -> None:
    other = make_script(folder, target, OTHER_POLICY, "other.sh")
    run(script, "--apply")
    assert run(other, "--apply").returncode == 0
    assert numbers(folder, target) != APPLIED[target]
    run(other, "--restore")
    assert numbers(folder, target) == FILES[target]


def test_restore_leaves_what_somebody_else_wrote(script: Path, folder: Path, target: str) -> None:
    last = list(FILES[target])[-1]
    run(script, "--apply")
    (folder / last).write_text("3000\n")
    result = run(script, "--restore")
    assert (result.returncode, result.stdout.count("somebody else")) == (0, 1)
    assert numbers(folder, target) == FILES[target] | {last: 3000}


def test_missing_file_is_reported_before_anything_is_written(script: Path, folder: Path, target: str) -> None:
    last = folder / list(FILES[target])[-1]
    last.unlink()
    before = tree(folder)
    result = run(script, "--apply")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert f"{last} is missing: this kernel has no" in result.stderr and "nothing was changed" in result.stderr
    assert tree(folder) == before


@pytest.mark.parametrize("content", ["", "abc\n", "-5\n", "99\n100\n"])
def test_file_that_holds_no_number_is_refused(script: Path, folder: Path, target: str, content: str) -> None:
    (folder / list(FILES[target])[-1]).write_text(content)
    before = tree(folder)
    result = run(script, "--apply")
    assert (result.returncode, "not a number" in result.stderr) == (1, True)
    assert tree(folder) == before


def test_read_only_file_is_reported_and_the_others_put_back(script: Path, folder: Path, target: str) -> None:
    for name in FILES[target]:
        (folder / name).chmod(0o666)
    (folder / list(FILES[target])[-1]).chmod(0o444)
    (folder / "run").chmod(0o777)
    before = tree(folder)
    result = run(script, "--apply", user=NOBODY if os.geteuid() == 0 else None)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "cannot write" in result.stderr and "are you root?" in result.stderr
    assert ("everything was put back" if len(FILES[target]) > 1 else "nothing was changed") in result.stderr
    assert tree(folder) == before


def test_failed_second_setting_leaves_the_first_one_in_force(script: Path, folder: Path, target: str) -> None:
    (folder / "run").chmod(0o777)
    for name in FILES[target]:
        (folder / name).chmod(0o666)
    user = NOBODY if os.geteuid() == 0 else None
    other = make_script(folder, target, OTHER_POLICY, "other.sh")
    run(script, "--apply", user=user)
    (folder / list(FILES[target])[-1]).chmod(0o444)
    before = tree(folder)
    assert run(other, "--apply", user=user).returncode == 1
    assert tree(folder) == before
    (folder / list(FILES[target])[-1]).chmod(0o666)
    assert run(script, "--restore", user=user).returncode == 0
    assert numbers(folder, target) == FILES[target]


def test_value_the_kernel_clamps_is_put_back(script: Path, folder: Path, target: str) -> None:
    # a file that never reads 1000 or 16000, whatever is written: the kernel's answer to a value it does not take
    clamping = script.with_name("clamping.sh")
    clamping.write_text(script.read_text().replace('$(cat "$1")', '$(sed "s/^1000$/500/;s/^16000$/500/" "$1")'))
    before = tree(folder)
    result = run(clamping, "--apply")
    assert result.returncode == 1
    assert "the kernel took 500 instead of 1" in result.stderr and "everything was put back" in result.stderr
    assert tree(folder) == before


@pytest.mark.parametrize("arguments", [["--aply"], ["--apply", "now"], ["-h"]])
def test_bad_usage_changes_nothing(script: Path, folder: Path, arguments: list[str]) -> None:
    before = tree(folder)
    result = run(script, *arguments)
    assert (result.returncode, result.stderr) == (2, "usage: setting.sh [--apply | --restore]\n")
    assert tree(folder) == before


def test_later_series_are_found_under_their_name(folder: Path) -> None:
    make_tree(folder, "kmmscand")
    (folder / "sys/kernel/mm/kmmscand").rename(folder / "sys/kernel/mm/kscand")
    assert run(make_script(folder, "kmmscand"), "--apply").returncode == 0
    assert (folder / "sys/kernel/mm/kscand/mm_scan_period_ms").read_text() == "1000\n"


def test_damon_dry_run_shows_every_file_and_changes_nothing(damon: Path, folder: Path) -> None:
    script = make_script(folder, "damon")
    before = tree(folder)
    result = run(script)
    assert (result.returncode, result.stderr) == (0, "")
    shown = dict(line.removesuffix(" with --apply").split(": ") for line in result.stdout.splitlines())
    assert set(shown) == {str(damon / name) for name in DAMON_FILES}
    assert tree(folder) == before


def test_damon_applies_and_stops(damon: Path, folder: Path) -> None:
    script = make_script(folder, "damon")
    result = run(script, "--apply")
    assert (result.returncode, result.stderr) == (0, "")
    content = {name: text.strip() for name, text in tree(damon).items()}
    context = "0/contexts/0"
    expected = {
        "nr_kdamonds": "1",
        "0/state": "on",
        f"{context}/operations": "paddr",
        f"{context}/monitoring_attrs/intervals/sample_us": "16000000",  # 16 chunks of 1 s
        f"{context}/monitoring_attrs/intervals/aggr_us": "32000000",
        f"{context}/targets/0/regions/nr_regions": "2",
        f"{context}/targets/0/regions/0/start": str(9 << 27),  # in the order of addresses, not of names
        f"{context}/targets/0/regions/0/end": str(12 << 27),
        f"{context}/targets/0/regions/1/start": str(64 << 27),
        f"{context}/targets/0/regions/1/end": str(66 << 27),
        f"{SCHEME}/action": "migrate_hot",
        f"{SCHEME}/target_nid": "0",
        f"{SCHEME}/access_pattern/nr_accesses/min": "2",
        f"{SCHEME}/quotas/bytes": str(256 * MIB * 32),
        f"{SCHEME}/quotas/reset_interval_ms": "32000",
    }
    assert {name: content[name] for name in expected} == expected
    applied = tree(folder)
    again = run(script, "--apply")
    assert (again.returncode, "already" in again.stdout, tree(folder)) == (0, True, applied)
    result = run(script, "--restore")
    assert (result.returncode, result.stdout) == (0, "stopped migrating node 1 to node 0\n")
    assert ((damon / "0/state").read_text(), (damon / "nr_kdamonds").read_text()) == ("off\n", "0\n")
    assert list((folder / "run").rglob("*damon*")) == []
    assert "nothing to restore" in run(script, "--restore").stdout


def test_damon_unlimited_is_no_quota(damon: Path, folder: Path) -> None:
    run(make_script(folder, "damon", "static:100,16384,inf"), "--apply")
    assert (damon / SCHEME / "quotas/bytes").read_text() == "0\n"
    assert (damon / SCHEME / "quotas/reset_interval_ms").read_text() == "1000\n"


def test_second_damon_setting_replaces_the_first(damon: Path, folder: Path) -> None:
    first, second = make_script(folder, "damon"), make_script(folder, "damon", OTHER_POLICY, "other.sh")
    run(first, "--apply")
    result = run(second, "--apply")
    assert (result.returncode, result.stderr) == (0, "")
    assert (damon / "0/contexts/0/monitoring_attrs/intervals/sample_us").read_text() == "64000000\n"
    assert run(first, "--restore").returncode == 0  # either script knows how to stop it
    assert (damon / "nr_kdamonds").read_text() == "0\n"


@pytest.mark.parametrize("arguments", [[], ["--apply"], ["--restore"]])
def test_damon_in_use_by_somebody_else_is_left_alone(damon: Path, folder: Path, arguments: list[str]) -> None:
    script = make_script(folder, "damon")
    (damon / "nr_kdamonds").write_text("1\n")
    before = tree(folder)
    result = run(script, *arguments)
    assert "somebody else" in result.stdout + result.stderr
    assert result.returncode == (0 if arguments == ["--restore"] else 1)
    assert tree(folder) == before


def test_damon_setting_that_somebody_else_changed_is_left_alone(damon: Path, folder: Path) -> None:
    script = make_script(folder, "damon")
    run(script, "--apply")
    (damon / SCHEME / "target_nid").write_text("5\n")
    assert run(script, "--apply").returncode == 1
    result = run(script, "--restore")
    assert (result.returncode, "somebody else" in result.stdout) == (0, True)
    assert (damon / "0/state").read_text() == "on\n"


@pytest.mark.parametrize("name", ["nr_kdamonds", f"{SCHEME}/target_nid", "0/state"])
def test_damon_read_only_file_stops_what_was_begun(damon: Path, folder: Path, name: str) -> None:
    script = make_script(folder, "damon")
    for path in damon.rglob("*"):
        path.chmod(0o777 if path.is_dir() else 0o666)
    (folder / "run").chmod(0o777)
    (damon / name).chmod(0o444)
    result = run(script, "--apply", user=NOBODY if os.geteuid() == 0 else None)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert f"{damon / name} (are you root?)" in result.stderr
    assert ((damon / "0/state").read_text(), (damon / "nr_kdamonds").read_text()) == ("off\n", "0\n")
    assert list((folder / "run").rglob("*damon*")) == []


@pytest.mark.parametrize("name", ["nr_kdamonds", f"{SCHEME}/filters/0/type"])
def test_damon_missing_file_is_reported(damon: Path, folder: Path, name: str) -> None:
    script = make_script(folder, "damon")
    (damon / name).unlink()
    result = run(script, "--apply")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert str(damon / name) in result.stderr
    assert not (damon / name).exists()
    assert (damon / "0/state").read_text() == "off\n"


def test_damon_asks_which_node_is_meant(damon: Path, folder: Path) -> None:
    script = make_script(folder, "damon")
    shutil.copytree(folder / "sys/devices/system/node/node1", folder / "sys/devices/system/node/node2")
    result = run(script, "--apply")
    assert (result.returncode, result.stdout) == (1, "")
    assert "set TIERENV_SLOW_NODE (without CPUs: 1 2); nothing was changed" in result.stderr
    assert run(script, "--apply", TIERENV_SLOW_NODE="7").returncode == 1
    result = run(script, "--apply", TIERENV_SLOW_NODE="2")
    assert result.stdout == "DAMON migrates hot memory of node 2 to node 0\n"


@pytest.mark.parametrize("target", TARGETS)
def test_script_says_what_it_is_and_what_becomes_of_each_tunable(folder: Path, target: str) -> None:
    script = make_script(folder, target)
    header = script.read_text().split("set -eu")[0]
    for words in (POLICY, "skewed", "16GiB", "modelled, not measured on your machine", "not evaluated for this target"):
        assert words in header
    assert all(line.startswith("#") for line in header.splitlines())
    for name, value in zip(SYMBOLS, ("1000:", "1GiB:", "256MiB/s:"), strict=True):
        assert any(line.split()[1:3] == [name, value] for line in header.splitlines() if len(line.split()) > 2)
    assert header.count("NOT applied") == (2 if target == "kmmscand" else 0)
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize("target", TARGETS)
@needs("shellcheck")
def test_script_is_clean(folder: Path, target: str) -> None:
    result = subprocess.run(
        ["shellcheck", "--shell=sh", make_script(folder, target)], capture_output=True, text=True, timeout=60
    )
    assert result.stdout == ""


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["x\ntouch evil #", "@EACH@", "$(touch evil)"])
def test_names_stay_in_the_comment(folder: Path, target: str, name: str) -> None:
    scenario = SCENARIO.model_copy(update={"name": name})
    export_policy(POLICY, "sysfs", folder / "a.sh", scenario, target=target)
    assert all(line.startswith("#") for line in (folder / "a.sh").read_text().split("set -eu")[0].splitlines())


@pytest.mark.parametrize(
    ("target", "policy", "reason"),
    [
        ("kmmscand", "static:100,1024,inf", "500 to 5000"),
        ("kmmscand", "static:800,1024,0", "scan_enabled"),
        ("kmmscand", "static:800.4,1024,0", "scan_enabled"),
        ("numa-balancing", "static:400,1024,256", "no more often than every 500 ms"),
        ("numa-balancing", "static:800,16384,256", "no more often than every 1000 ms"),
        ("numa-balancing", "static:800,1024,0", "kernel.numa_balancing=0"),
        ("numa-balancing", "static:800,1024,1.5", "2 is too far off"),
        ("damon", "static:800,1024,0", "0 bytes means no quota"),
        *[(target, "built-in", "does not hold one setting") for target in TARGETS],
        *[(target, "runs/some-run", "--format bundle") for target in TARGETS],
        *[(target, "static:1,1024,inf", "kmmscand-tunable allows") for target in TARGETS],
    ],
)
def test_what_the_script_could_not_do_is_refused(tmp_path: Path, target: str, policy: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        export_policy(policy, "sysfs", tmp_path / "a.sh", SCENARIO, target=target)
    assert list(tmp_path.iterdir()) == []


def test_damon_refuses_a_pass_its_sleep_would_wrap(tmp_path: Path) -> None:
    scenario = SCENARIO.replace(size="64GiB")
    with pytest.raises(ConfigError, match="samples at least every 4294967295"):
        export_policy("static:20000,256,inf", "sysfs", tmp_path / "a.sh", scenario, target="damon")


def test_unlimited_is_refused_where_the_largest_limit_would_bind(tmp_path: Path) -> None:
    cxl = SCENARIO.platform.cxl.model_copy(update={"bandwidth": 100.0 * 2**30})
    scenario = SCENARIO.replace(platform=SCENARIO.platform.model_copy(update={"cxl": cxl}))
    with pytest.raises(ConfigError, match="100 GiB/s"):
        export_policy("static:1000,1024,inf", "sysfs", tmp_path / "a.sh", scenario, target="numa-balancing")


@pytest.mark.parametrize("target", TARGETS)
def test_every_tunable_has_its_say_for_every_target(target: str) -> None:
    setting = target_setting(target, setting_of_three(1000, 1024 * MIB, 256 * MIB), SCENARIO)
    assert tuple(setting.applied) == tuple(TUNABLES)
    assert target in FORMATS["sysfs"].targets


@pytest.mark.parametrize("target", TARGETS)
def test_a_tunable_that_the_daemon_lacks_is_not_spoken_of(target: str) -> None:
    setting = Setting({"scan_period": 1000.0, "scan_size": 1024.0 * MIB})
    assert list(target_setting(target, setting, SCENARIO).applied) == ["scan_period", "scan_size"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_setting_without_what_a_target_needs_is_refused(target: str) -> None:
    scenario = SCENARIO.replace(daemon=load_daemon("numab2"))
    with pytest.raises(ConfigError, match=f"target {target}: needs scan_period.*which daemon numab2 has not"):
        target_setting(target, Setting({}), scenario)


def test_a_period_of_a_daemon_of_the_series_lies_in_its_own_range() -> None:
    v3 = load_daemon("kscand-v3")
    scenario = SCENARIO.replace(daemon=v3)
    setting = v3.start_setting
    assert target_setting("kmmscand", setting, scenario).files[0].value == setting["scan_period"]
    too_long = Setting(dict(setting.values) | {"scan_period": 2 * v3.tunables["scan_period"].max})
    with pytest.raises(ConfigError, match=r"the kernel clamps it to .*\(kscand-v3\)"):
        target_setting("kmmscand", too_long, scenario)


def test_unknown_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--target=damn: format sysfs: allowed: kmmscand.*did you mean 'damon'"):
        export_policy(POLICY, "sysfs", tmp_path / "a.sh", SCENARIO, target="damn")
    with pytest.raises(ConfigError, match="has no target"):
        export_policy(POLICY, "parameters", tmp_path / "a.json", SCENARIO, target="damon")
    assert list(tmp_path.iterdir()) == []
