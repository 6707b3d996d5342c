"""What each target makes of a setting, and what it refuses."""

import logging
from pathlib import Path

import pytest

from tests.agents.script_trees import NUMA, NUMA_SCENARIO, POLICY, SCENARIO, asked_of
from tierenv.agents.export import FORMATS, export_policy
from tierenv.agents.export.header import Gain
from tierenv.agents.export.targets import TARGETS, KernelFile, target_setting
from tierenv.daemon import load_daemon
from tierenv.errors import ConfigError
from tierenv.live.kernel import scan_windows
from tierenv.scenario import Scenario, load_scenario
from tierenv.tunables import Setting
from tierenv.units import MIB, PAGE_BYTES


@pytest.mark.parametrize(
    ("target", "policy", "reason"),
    [
        ("kmmscand", "static:100,1024,inf", "500 to 5000"),
        ("kmmscand", "static:800,1024,0", "scan_enabled"),
        ("kmmscand", "static:800.4,1024,0", "scan_enabled"),
        ("numa-balancing", "static:8000,1024,1.5,100", "2 is too far off"),
        ("numa-balancing", "static:8000,40.5,100,100", "40 is too far off"),
        ("damon", "static:800,1024,0", "0 bytes means no quota"),
        *[(target, "built-in", "does not hold one setting") for target in TARGETS],
        *[(target, "runs/some-run", "formats for a learned policy: bundle") for target in TARGETS],
        *[(target, "static:1,1024,inf", "kmmscand-tunable allows") for target in ("kmmscand", "damon")],
        ("numa-balancing", "static:1,1024,inf,100", "numa-balancing allows"),
    ],
)
def test_what_the_script_could_not_do_is_refused(tmp_path: Path, target: str, policy: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        export_policy(policy, "sysfs", tmp_path / "a.sh", asked_of(target)[0], target=target)
    assert list(tmp_path.iterdir()) == []


def setting_for(scenario: Scenario, **values: float) -> Setting:
    """Returns the start of the scenario's daemon with other values."""
    return Setting(dict(scenario.daemon.start_setting.values) | values)


def roomy(size: str) -> Scenario:
    """Returns the scenario with so much memory, and a slow node that holds it."""
    platform = {"like": "amd-epyc-cxl", "cxl": {"capacity": "512GiB"}}
    return SCENARIO.replace(size=size, platform=platform)


@pytest.mark.parametrize(("size", "period_ms", "pass_s"), [("64GiB", 20000, 5120), ("16GiB", 2000, 128)])
def test_damon_refuses_a_sample_in_which_everything_is_touched(
    tmp_path: Path, size: str, period_ms: int, pass_s: int
) -> None:
    reason = rf"takes {pass_s} s, and DAMON can tell hot memory in one of 0\.05 to 100 s"
    with pytest.raises(ConfigError, match=reason):
        export_policy(f"static:{period_ms},256,inf", "sysfs", tmp_path / "a.sh", roomy(size), target="damon")


@pytest.mark.parametrize(("access_rule", "passes"), [("second-access", 2), ("first-access", 1)])
def test_damon_looks_at_a_region_as_often_as_it_needs_to_tell_hot_from_warm(access_rule: str, passes: int) -> None:
    scenario = SCENARIO.replace(daemon={"like": "kmmscand-tunable", "access_rule": access_rule})
    setting = Setting({"scan_period": 1000.0, "scan_size": 1024.0 * MIB, "throttle": 256.0 * MIB})
    values = {name: int(value) for name, value in target_setting("damon", setting, scenario).values.items()}
    assert values["AGGREGATION_US"] == 10 * passes * values["SAMPLE_US"] == 16_000_000 * passes
    assert values["HOT_LOOKS"] == passes
    assert values["QUOTA_BYTES"] == 256 * MIB * 16 * passes


@pytest.mark.parametrize(
    ("target", "size", "policy", "warning"),
    [
        (
            "damon",
            "16GiB",
            "static:832.55,256,256",
            "quota of an aggregation, 26.64GiB, is more than the 16GiB there are",
        ),
    ],
)
def test_a_doubtful_setting_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, target: str, size: str, policy: str, warning: str
) -> None:
    export_policy(policy, "sysfs", tmp_path / "a.sh", roomy(size), target=target)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert f"target {target}: " in record.getMessage() and warning in record.getMessage()
    assert warning in " ".join((tmp_path / "a.sh").read_text().replace("\n#", " ").split())


@pytest.mark.parametrize(
    ("target", "name"),
    [
        *[("damon", name) for name in ("skewed", "moving-hot-set", "abench-64g", "noisy-neighbour")],
    ],
)
def test_best_settings_of_packaged_scenarios_look_at_memory_often_enough(
    target: str, name: str, tmp_path: Path
) -> None:
    export_policy("best-static", "sysfs", tmp_path / "a.sh", load_scenario(name), target=target)


@pytest.mark.parametrize(
    ("resident_mib", "size_mib", "windows"),
    [
        (16384, 1024, 16),
        (16384, 256, 64),
        (16384, 12000, 1),  # and not 2: the kernel rounds up with a bit mask
        (16384, 3000, 5),
        (16000, 3000, 5),
        (100, 256, 1),
        (257, 256, 2),
        (1, 1, 1),
    ],
)
def test_windows_are_counted_as_the_kernel_does(resident_mib: int, size_mib: int, windows: int) -> None:
    assert scan_windows(resident_mib * MIB // PAGE_BYTES, size_mib * MIB // PAGE_BYTES) == windows


def test_threads_start_with_what_the_kernel_will_make_of_a_pass() -> None:
    setting = setting_for(NUMA_SCENARIO, scan_period=10_000, scan_size=3000 * MIB)
    files = {file.path: file.value for file in target_setting("numa-balancing", setting, NUMA_SCENARIO).files}
    assert files[f"/{NUMA}/scan_period_min_ms"] == files[f"/{NUMA}/scan_period_max_ms"] == 10_000
    assert files[f"/{NUMA}/scan_delay_ms"] == 2000


def test_a_setting_of_numa_balancing_goes_to_its_files_as_it_is(tmp_path: Path) -> None:
    values = {"scan_period": 26_000.0, "scan_size": 2048.0 * MIB, "throttle": 256.0 * MIB, "hot_threshold": 100.0}
    files = {file.path: file.value for file in target_setting("numa-balancing", Setting(values), NUMA_SCENARIO).files}
    assert files == {
        "/proc/sys/kernel/numa_balancing": 2,
        "/proc/sys/kernel/numa_balancing_promote_rate_limit_MBps": 256,
        f"/{NUMA}/scan_size_mb": 2048,
        f"/{NUMA}/scan_period_min_ms": 26_000,
        f"/{NUMA}/scan_period_max_ms": 26_000,
        f"/{NUMA}/scan_delay_ms": 3250,  # 16 GiB are eight windows
        f"/{NUMA}/hot_threshold_ms": 100,
    }
    policy = "static:26000,2048,256,100"
    gains = (Gain(scenario="skewed", against="no-migration", share=0.067, ci95=None, episodes=4),)
    for name in FORMATS["sysfs"].targets:
        if name == "numa-balancing":
            export_policy(
                "static:26000,2048,256,100", "sysfs", tmp_path / "a.sh", NUMA_SCENARIO, target=name, gains=gains
            )
        else:
            with pytest.raises(ConfigError, match=f"{name}: takes no setting of daemon numa-balancing"):
                export_policy(policy, "sysfs", tmp_path / "b.sh", NUMA_SCENARIO, target=name)
    text = " ".join((tmp_path / "a.sh").read_text().split())
    assert "6.7 % less time than no-migration" in text and "not evaluated for this target" not in text
    assert "which no released kernel has" not in text


def test_a_pass_shorter_than_the_kernel_s_floor_becomes_that(tmp_path: Path) -> None:
    values = {"scan_period": 1000.0, "scan_size": 2048.0 * MIB, "throttle": 0.0, "hot_threshold": 1000.0}
    files = {file.path: file.value for file in target_setting("numa-balancing", Setting(values), NUMA_SCENARIO).files}
    assert files[f"/{NUMA}/scan_period_min_ms"] == 8000 and files[f"/{NUMA}/scan_delay_ms"] == 1000


def test_numa_balancing_takes_a_throttle_of_0() -> None:
    setting = target_setting("numa-balancing", setting_for(NUMA_SCENARIO, throttle=0), NUMA_SCENARIO)
    limit = "/proc/sys/kernel/numa_balancing_promote_rate_limit_MBps"
    assert KernelFile(limit, 0, tunable="throttle") in setting.files
    assert setting.applied["throttle"] == "0: promotes nothing, but the kernel spares nodes with plenty of free memory"


def test_unlimited_is_refused_where_the_largest_limit_would_bind(tmp_path: Path) -> None:
    cxl = SCENARIO.platform.cxl.model_copy(update={"bandwidth": 100.0 * 2**30})
    scenario = NUMA_SCENARIO.replace(platform=SCENARIO.platform.model_copy(update={"cxl": cxl}))
    with pytest.raises(ConfigError, match="100 GiB/s"):
        export_policy("static:8000,1024,inf,100", "sysfs", tmp_path / "a.sh", scenario, target="numa-balancing")


@pytest.mark.parametrize("name", [name for name, row in FORMATS.items() if "numa-balancing" in row.targets])
def test_a_setting_of_another_daemon_is_refused_with_the_command_that_finds_one(tmp_path: Path, name: str) -> None:
    words = "takes no setting of daemon kmmscand-tunable.*run: tierenv tune skewed --daemon numa-balancing --save"
    with pytest.raises(ConfigError, match=words):
        export_policy(POLICY, name, tmp_path / "a", SCENARIO, target="numa-balancing")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", TARGETS)
def test_every_tunable_has_its_say_for_every_target(target: str) -> None:
    scenario = asked_of(target)[0]
    values = {"scan_period": 4000, "scan_size": 1024 * MIB, "throttle": 256 * MIB}
    setting = target_setting(target, setting_for(scenario, **values), scenario)
    assert tuple(setting.applied) == tuple(scenario.daemon.tunables)
    assert target in FORMATS["sysfs"].targets


@pytest.mark.parametrize("target", ["kmmscand", "damon"])
def test_a_tunable_that_the_daemon_lacks_is_not_spoken_of(target: str) -> None:
    setting = Setting({"scan_period": 1000.0, "scan_size": 1024.0 * MIB})
    assert list(target_setting(target, setting, SCENARIO).applied) == ["scan_period", "scan_size"]


def test_a_setting_without_what_a_target_needs_is_refused() -> None:
    scenario = SCENARIO.under(load_daemon("numab2"))
    with pytest.raises(ConfigError, match="target numa-balancing: needs scan_period.*which daemon numab2 has not"):
        target_setting("numa-balancing", Setting({}), scenario)


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
