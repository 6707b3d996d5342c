"""Static settings as files of other programs, which read them here: sysctl, systemd-tmpfiles and TuneD.

With the rights for it (root), they also act: in a mount namespace of their own, where a copy of the file tree hides
/sys and /proc/sys/kernel. `.ci/fetch-tools` gets the programs.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agents.script_trees import asked_of
from tests.tools import SBIN, needs, unusable
from tierenv.agents.export import FORMATS, export_policy
from tierenv.errors import ConfigError

NUMA = "/sys/kernel/debug/sched/numa_balancing"
SYSCTLS = {"kernel.numa_balancing": "2", "kernel.numa_balancing_promote_rate_limit_MBps": "256"}
SYSFS = {
    "kmmscand": {
        "/sys/kernel/mm/kmmscand/mm_scan_period_ms": "1000",
        "/sys/kernel/mm/kscand/mm_scan_period_ms": "1000",
    },
    "numa-balancing": {
        f"{NUMA}/scan_size_mb": "1024",
        f"{NUMA}/scan_period_min_ms": "16000",
        f"{NUMA}/scan_period_max_ms": "16000",
        f"{NUMA}/scan_delay_ms": "1000",
        f"{NUMA}/hot_threshold_ms": "100",
    },
}
EXPECTED = {
    "kmmscand": {"/sys/kernel/mm/kmmscand/mm_scan_period_ms": "1000"},
    "numa-balancing": {f"/proc/sys/{name.replace('.', '/')}": value for name, value in SYSCTLS.items()}
    | SYSFS["numa-balancing"],
}
"""What the files of a kernel hold after `POLICY`, by target."""
DEMOTION = {"/sys/kernel/mm/numa/demotion_enabled": "true"}
"""And what is added with demotion."""

UNPACKED = Path(__file__).parents[2] / "build/tools"
PACKAGES = [path for path in (Path("/"), UNPACKED) if (path / "usr/lib/python3/dist-packages/tuned").is_dir()]
TUNED = PACKAGES[0] if PACKAGES else Path("/")
PYTHONPATH = {"PATH": os.environ["PATH"], "PYTHONPATH": str(TUNED / "usr/lib/python3/dist-packages")}

needs_sysctl, needs_tmpfiles, needs_tuned = needs("sysctl"), needs("systemd-tmpfiles"), needs("tuned", bool(PACKAGES))


def call(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment or dict(os.environ), capture_output=True, text=True, timeout=60, check=False
    )


def export(format_name: str, target: str, output: Path, *, with_demotion: bool = False) -> Path:
    scenario, policy = asked_of(target)
    export_policy(policy, format_name, output, scenario, target=target, with_demotion=with_demotion)
    return output


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A copy of the trees that the settings are for; the files are empty, for tmpfiles does not cut them off."""
    for path in {*EXPECTED["kmmscand"], *EXPECTED["numa-balancing"], *DEMOTION}:
        (tmp_path / "machine" / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "machine" / path[1:]).touch()
    return tmp_path / "machine"


def run_inside(machine: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script where the machine's trees hide ours."""
    unshare = ("unshare", "--mount", "sh", "-euc")
    if call(*unshare, "mount --bind /sys /sys").returncode != 0:
        pytest.skip("no right to make a mount namespace: run the tests as root")
    bind = f"mount --bind '{machine}/sys' /sys; mount --bind '{machine}/proc/sys/kernel' /proc/sys/kernel\n"
    return call(*unshare, bind + script, **PYTHONPATH)


def contents(machine: Path, target: str) -> dict[str, str]:
    return {path: (machine / path[1:]).read_text().strip() for path in (*EXPECTED[target], *DEMOTION)}


@needs_sysctl
def test_sysctl_reads_the_file(tmp_path: Path) -> None:
    path = export("sysctl.d", "numa-balancing", tmp_path / "a.conf")
    result = call("sysctl", "--dry-run", f"--load={path}", LC_ALL="C", PATH=f"{os.environ['PATH']}:{SBIN}")
    read = dict(line.split(" = ") for line in result.stdout.splitlines())
    # a kernel without NUMA balancing has no such files; whatever else sysctl complains of is our fault
    missing = [line for line in result.stderr.splitlines() if "No such file" in line]
    assert len(read) + len(missing) == len(SYSCTLS) and len(missing) == len(result.stderr.splitlines())
    assert read.items() <= SYSCTLS.items()


def test_sysctl_file_says_what_it_leaves_out(tmp_path: Path) -> None:
    text = export("sysctl.d", "numa-balancing", tmp_path / "a.conf").read_text()
    comment = " ".join(text.replace("\n#", " ").split())
    assert comment.count("NOT applied by this file") == 3
    assert all(
        f"NOT written by this file: {value} to {path}" in comment for path, value in SYSFS["numa-balancing"].items()
    )
    assert dict(line.split(" = ") for line in text.splitlines() if line[:1] not in ("", "#")) == SYSCTLS


@pytest.mark.parametrize("name", [name for name, row in FORMATS.items() if not row.can_demote])
def test_demotion_is_refused_by_what_does_not_reach_it(tmp_path: Path, name: str) -> None:
    scenario, policy = asked_of("numa-balancing")
    with pytest.raises(
        ConfigError, match=f"--with-demotion: format {name} .*; parameters, sysfs, tuned, tmpfiles.d do"
    ):
        export_policy(policy, name, tmp_path / "a", scenario, with_demotion=True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_says_whether_it_sets_the_demotion_that_was_modelled(tmp_path: Path) -> None:
    scenario, policy = asked_of("numa-balancing")
    for is_modelled, with_demotion, words in [
        (True, False, "demotion_enabled true, which is left as it is"),
        (False, True, "demotion_enabled false, which is written as well"),
    ]:
        path = tmp_path / words
        of_model = scenario.replace(demotion=is_modelled)
        export_policy(policy, "tmpfiles.d", path, of_model, target="numa-balancing", with_demotion=with_demotion)
        assert words in " ".join(path.read_text().replace("\n#", " ").split())


@needs_sysctl
def test_sysctl_applies_the_file(tmp_path: Path, machine: Path) -> None:
    path = export("sysctl.d", "numa-balancing", tmp_path / "a.conf")
    result = run_inside(machine, f"sysctl --load={path}")
    assert (result.returncode, result.stderr) == (0, "")
    expected = {name: value for name, value in EXPECTED["numa-balancing"].items() if name.startswith("/proc")}
    untouched = dict.fromkeys([*EXPECTED["numa-balancing"], *DEMOTION], "")
    assert contents(machine, "numa-balancing") == untouched | expected


@needs_tmpfiles
@pytest.mark.parametrize("with_demotion", [False, True])
@pytest.mark.parametrize("target", FORMATS["tmpfiles.d"].targets)
def test_tmpfiles_writes_the_setting(tmp_path: Path, machine: Path, target: str, with_demotion: bool) -> None:
    path = export("tmpfiles.d", target, tmp_path / "a.conf", with_demotion=with_demotion)
    result = call("systemd-tmpfiles", f"--root={machine}", "--create", path)
    assert (result.returncode, result.stderr) == (0, "")
    demotion = DEMOTION if with_demotion else dict.fromkeys(DEMOTION, "")
    assert contents(machine, target) == EXPECTED[target] | demotion


@needs_tmpfiles
def test_tmpfiles_makes_no_file_that_the_kernel_lacks(tmp_path: Path, machine: Path) -> None:
    shutil.rmtree(machine / "sys/kernel/mm")
    path = export("tmpfiles.d", "kmmscand", tmp_path / "a.conf")
    assert call("systemd-tmpfiles", f"--root={machine}", "--create", path).returncode == 0
    assert not (machine / "sys/kernel/mm").exists()
    assert "says nothing of a file that does not exist" in path.read_text()


READ_PROFILE = """
import json, logging, sys
logging.disable()
from tuned.plugins.plugin_sysfs import SysfsPlugin
from tuned.profiles import Factory, Loader, Locator, Merger
from tuned.profiles.variables import Variables
loader = Loader(Locator([sys.argv[1]]), Factory(), Merger(), None, Variables())
profile = loader.load(sys.argv[2])
units = {name: dict(unit.options) for name, unit in profile.units.items()}
assert all(SysfsPlugin._check_sysfs(None, path) for path in units.get("sysfs", {}))
print(json.dumps({"main": dict(profile.options), **units}))
"""


@needs_tuned
@pytest.mark.parametrize("with_demotion", [False, True])
@pytest.mark.parametrize("target", FORMATS["tuned"].targets)
def test_tuned_reads_the_profile(tmp_path: Path, target: str, with_demotion: bool) -> None:
    export("tuned", target, tmp_path / "profiles/tierenv-test", with_demotion=with_demotion)
    result = call(sys.executable, "-c", READ_PROFILE, tmp_path / "profiles", "tierenv-test", **PYTHONPATH)
    assert (result.returncode, result.stderr) == (0, "")
    profile = json.loads(result.stdout)
    assert profile.pop("main") == {"summary": f"{asked_of(target)[1]} for skewed; modelled"}
    assert profile.pop("sysctl", {}) == (SYSCTLS if target == "numa-balancing" else {})
    assert profile == {"sysfs": SYSFS[target] | (DEMOTION if with_demotion else {})}


@needs_tuned
@pytest.mark.parametrize("target", FORMATS["tuned"].targets)
def test_tuned_applies_the_profile_and_takes_it_back(tmp_path: Path, machine: Path, target: str) -> None:
    export("tuned", target, tmp_path / "tierenv-test", with_demotion=True)
    before = dict.fromkeys([*EXPECTED[target], *DEMOTION], "7")
    for path in before:
        (machine / path[1:]).write_text("7\n")
    for name in ("etc/tuned", "run/tuned", "log/tuned"):
        (tmp_path / name).mkdir(parents=True)
    expected = EXPECTED[target] | DEMOTION
    last = list(EXPECTED[target])[-1]
    result = run_inside(
        machine,
        f"""
        mount --bind '{tmp_path}/etc' /etc
        mount --bind '{tmp_path}/run' /run
        mount --bind '{tmp_path}/log' /var/log
        cp '{TUNED}/etc/tuned/tuned-main.conf' /etc/tuned/
        cp -r '{tmp_path}/tierenv-test' /etc/tuned/
        /usr/bin/python3 -c 'import tuned.daemon' || exit 77
        /usr/bin/python3 '{TUNED}/usr/sbin/tuned' --no-dbus --profile tierenv-test &
        for second in 1 2 3 4 5 6 7 8 9 10; do
            sleep 1
            if grep -q {EXPECTED[target][last]} {last}; then break; fi
        done
        sleep 1
        cp -r /sys/kernel '{tmp_path}/applied'
        cp -r /proc/sys/kernel '{tmp_path}/applied-sysctl'
        kill -TERM $!
        wait $! || true
        """,
    )
    if result.returncode == 77:
        unusable("TuneD does not run on this machine's Python: " + result.stderr.strip().splitlines()[-1])
    assert result.returncode == 0, result.stderr
    applied = {
        path: Path(
            path.replace("/proc/sys/kernel", f"{tmp_path}/applied-sysctl").replace("/sys/kernel", f"{tmp_path}/applied")
        )
        for path in before
    }
    assert {path: copy.read_text().strip() for path, copy in applied.items()} == expected
    assert contents(machine, target) == before


@pytest.mark.parametrize("name", ["my profile", "a#b", "ä"])
def test_profile_that_tuned_would_not_load_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="TuneD takes profile names"):
        export("tuned", "kmmscand", tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format_name", ["tuned", "sysctl.d", "tmpfiles.d"])
@pytest.mark.parametrize("name", ["x\n[sysctl]\nkernel.panic=1", "#", "${f:exec:touch:evil}"])
def test_names_stay_where_they_do_no_harm(tmp_path: Path, format_name: str, name: str) -> None:
    target = FORMATS[format_name].targets[0]
    texts = []
    own, policy = asked_of(target)
    for scenario in (own, own.model_copy(update={"name": name})):
        export_policy(policy, format_name, tmp_path / "a", scenario, target=target)
        path = tmp_path / "a/tuned.conf" if format_name == "tuned" else tmp_path / "a"
        texts.append([line for line in path.read_text().splitlines() if line[:1] != "#" and "summary=" not in line])
        assert "${" not in "".join(line for line in path.read_text().splitlines() if line[:1] != "#")
        if format_name == "tuned":
            shutil.rmtree(tmp_path / "a")
    assert texts[0] == texts[1]
