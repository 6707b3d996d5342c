"""Format daemon: what is written of whom, what is refused; tests/kernel builds it and runs it."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.live.hosts import network
from tests.tools import needs
from tierenv.agents.bundle import TrainedOn, write_bundle
from tierenv.agents.export import export_policy
from tierenv.agents.export.daemon import IMPLEMENTED, OWN_COUNTERS
from tierenv.counters import COUNTERS
from tierenv.daemon import AccessedBitDaemon, load_daemon
from tierenv.errors import ConfigError
from tierenv.records import with_changes
from tierenv.scenario import Scenario, load_scenario
from tierenv.sim.lumped import trace
from tierenv.tunables import TUNABLES
from tierenv.units import GIB, MIB

SCENARIO = load_scenario("moving-hot-set")
TUNABLE = load_daemon("kmmscand-tunable")
SOURCES = Path(trace.__file__).parents[3] / "agents/export/daemon_source"


def exported(folder: Path, policy: str, scenario: Scenario | None = SCENARIO) -> Path:
    export_policy(policy, "daemon", folder / "tierd", scenario)
    return folder / "tierd"


def constants(folder: Path) -> dict[str, str]:
    return dict(re.findall(r"^#define TIERD_(\w+) (\S+)", (folder / "settings.h").read_text(), re.M))


def test_a_setting_is_in_force_at_the_start_and_held(tmp_path: Path) -> None:
    folder = exported(tmp_path, "static:500,1024,256")
    found = constants(folder)
    assert found["SCAN_PERIOD_MS_START"] == "500ULL"
    assert found["SCAN_SIZE_BYTES_START"] == f"{GIB}ULL"
    assert found["THROTTLE_BYTES_PER_S_START"] == f"{256 * MIB}ULL"
    assert (found["POLICY_START"], found["HAS_POLICY"]) == ("TIERD_POLICY_OFF", "0")
    assert not (folder / "tierenv_policy.c").exists() and not (folder / "learned.c").exists()
    assert "learned.o" not in (folder / "Kbuild").read_text()


def test_the_rule_begins_as_the_daemon_does(tmp_path: Path) -> None:
    found = constants(exported(tmp_path, "built-in"))
    assert found["POLICY_START"] == "TIERD_POLICY_RULE"
    assert found["SCAN_PERIOD_MS_START"] == f"{TUNABLE.start_setting['scan_period']:.0f}ULL"
    assert found["THROTTLE_BYTES_PER_S_START"] == "TIERD_UNLIMITED"


def test_a_learned_policy_brings_its_ranges_its_interval_and_its_c(tmp_path: Path) -> None:
    folder = exported(tmp_path, "moving-hot-set", None)
    found = constants(folder)
    assert (found["POLICY_START"], found["HAS_POLICY"]) == ("TIERD_POLICY_LEARNED", "1")
    assert found["CONTROL_INTERVAL_MS"] == "2000"
    assert "learned.o tierenv_policy.o" in (folder / "Kbuild").read_text()
    kernel_c = tmp_path / "kernel-c"
    export_policy("moving-hot-set", "kernel-c", kernel_c)
    assert (folder / "tierenv_policy.c").read_text() == (kernel_c / "tierenv_policy.c").read_text()


def test_every_field_of_a_sample_is_filled_in(tmp_path: Path) -> None:
    folder = exported(tmp_path, "moving-hot-set", None)
    header = (folder / "tierenv_policy.h").read_text()
    [sample] = re.findall(r"^struct tierenv_sample {\n(.*?)^};", header, re.M | re.S)
    fields = set(re.findall(r"int64_t (\w+);", sample))
    assert len(fields) > 10
    assert set(re.findall(r"sample->(\w+) =", (folder / "learned.c").read_text())) == fields


@pytest.mark.parametrize("name", sorted(TUNABLE.tunables))
def test_ranges_are_the_daemons(tmp_path: Path, name: str) -> None:
    found, symbol = constants(exported(tmp_path, "built-in")), TUNABLES[name].symbol.upper()
    assert int(found[f"{symbol}_MIN"].removesuffix("ULL")) == TUNABLE.tunables[name].min
    assert int(found[f"{symbol}_MAX"].removesuffix("ULL")) == TUNABLE.tunables[name].max


def test_times_and_the_rule_are_the_records(tmp_path: Path) -> None:
    changed = with_changes(SCENARIO, {"daemon": {"initial_delay": "3s", "decay_shift": 7}}, "changed")
    found = constants(exported(tmp_path, "built-in", changed))
    assert (found["INITIAL_DELAY_MS"], found["DECAY_SHIFT"]) == ("3000ULL", "7")


def test_a_threshold_of_windows_is_more_than_the_module_counts(tmp_path: Path) -> None:
    patient = SCENARIO.replace(daemon="kmmscand-threshold")
    with pytest.raises(ConfigError, match="has the tunables .*access_threshold; the module has scan_period, scan_size"):
        exported(tmp_path, "static:500,1024,inf,4", patient)


def test_no_mark_is_left(tmp_path: Path) -> None:
    for file in exported(tmp_path, "moving-hot-set", None).iterdir():
        assert not re.search("@[A-Z_]+@", file.read_text()), file.name


def test_every_source_is_under_both_licences(tmp_path: Path) -> None:
    for file in exported(tmp_path, "moving-hot-set", None).iterdir():
        if file.suffix in (".c", ".h") or file.name in ("Kbuild", "Makefile"):
            assert "SPDX-License-Identifier: GPL-2.0-only OR MIT" in file.read_text().splitlines()[0], file.name


DIFFERENCES = {
    "access_rule": "first-access",
    "first_visit_resets": False,
    "chunk_rule": "whole-vma",
    "rechecks_hotness": True,
    "target_rule": "fixed",
    "scale_rule": "ignored",
    "failure_window": 1024,
    "has_migration_thread": False,
    "counts_all_slow_pages": True,
}


@pytest.mark.parametrize("field", sorted(DIFFERENCES))
def test_a_daemon_that_the_module_is_not_is_refused_by_what_differs(tmp_path: Path, field: str) -> None:
    other = with_changes(SCENARIO, {"daemon": {field: DIFFERENCES[field]}}, "other")
    with pytest.raises(ConfigError, match=rf"^built-in: daemon \S+: {field}="):
        exported(tmp_path, "built-in", other)
    assert list(tmp_path.iterdir()) == []


def test_every_field_that_says_what_a_daemon_does_is_looked_at() -> None:
    """A field that is added is one that the module is made of, or one that it has to refuse."""
    assert isinstance(TUNABLE, AccessedBitDaemon)
    templates = (SOURCES / "settings.h").read_text().lower()
    described = {"name", "summary", "mechanism", "tunables"}
    of_other_rules = {"walks_on_without_hits", "list_entry"}  # of whole VMAs; of the memory that the model takes for it
    for field in set(AccessedBitDaemon.model_fields) - described - of_other_rules - set(IMPLEMENTED):
        assert f"@{field}@" in templates or f"@{field}_ms@" in templates, field


@pytest.mark.parametrize(
    ("policy", "scenario", "message"),
    [
        ("static:1000,1024,256,100", SCENARIO.under(load_daemon("numa-balancing")), "which kernels have themselves"),
        ("numa-balancing", None, "which kernels have themselves"),
        ("kmmscand-v1", SCENARIO, "does not hold one setting"),
        ("built-in", None, "--scenario"),
        ("moving-hot-set", SCENARIO, "leave it out"),
        ("built-in", SCENARIO.under(load_daemon("kmmscand-v1")), "access_rule=first-access"),
    ],
)
def test_what_it_cannot_be_is_refused(tmp_path: Path, policy: str, scenario: Scenario | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        exported(tmp_path, policy, scenario)
    assert list(tmp_path.iterdir()) == []


def learned(folder: Path, name: str = "a-policy", intervals_s: tuple[float, ...] = (2.0,)) -> str:
    trained_on = [
        TrainedOn.model_validate({"name": f"scenario-{seconds}", "control_interval": f"{seconds}s"})
        for seconds in intervals_s
    ]
    model = network(8, daemon=TUNABLE)
    write_bundle(folder, name=name, model=model, daemon=TUNABLE, scenarios=trained_on, training={})
    return str(folder)


def test_two_control_intervals_are_refused(tmp_path: Path) -> None:
    policy = learned(tmp_path / "bundle", intervals_s=(2.0, 3.0))
    with pytest.raises(ConfigError, match="2 control intervals"):
        exported(tmp_path, policy, None)


def test_hostile_names_stay_in_their_comment_and_their_string(tmp_path: Path) -> None:
    policy = learned(tmp_path / "bundle", name='*/ int a; /* \\" %s ??/ @SAMPLE@')
    settings = (exported(tmp_path, policy, None) / "settings.h").read_text()
    assert settings.index("*/", settings.index("/*\n")) > settings.index("caveat")
    assert re.search(r'^#define TIERD_POLICY_NAME "[^"\\]*"$', settings, re.M)


KERNEL = {"LINUX_VERSION_CODE": "(6 * 65536 + 12 * 256 + 117)"} | dict.fromkeys(
    ("CONFIG_X86_64", "CONFIG_DEVICE_MIGRATION", "CONFIG_NUMA", "CONFIG_MEMCG", "CONFIG_PAGE_IDLE_FLAG"), "1"
)
"""What a kernel that it is written for defines."""


@needs("gcc")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"LINUX_VERSION_CODE": "(6 * 65536 + 13 * 256)"}, "written for Linux 6.12"),
        ({"LINUX_VERSION_CODE": "(6 * 65536 + 1 * 256 + 140)"}, "written for Linux 6.12"),
        ({"CONFIG_X86_64": None}, "x86-64"),
        ({"CONFIG_DEVICE_MIGRATION": None}, "CONFIG_DEVICE_MIGRATION"),
        ({"CONFIG_NUMA": None}, "CONFIG_NUMA"),
        ({"CONFIG_MEMCG": None}, "CONFIG_MEMCG"),
        ({"CONFIG_PAGE_IDLE_FLAG": None}, "CONFIG_PAGE_IDLE_FLAG"),
    ],
)
def test_a_kernel_that_it_is_not_for_is_refused_at_build(change: dict[str, str | None], reason: str | None) -> None:
    [conditions] = re.findall(r"^(#if LINUX_VERSION_CODE.*?)^#define", (SOURCES / "tierd.h").read_text(), re.M | re.S)
    defined = [f"-D{name}={value}" for name, value in (KERNEL | change).items() if value is not None]
    version = "-DKERNEL_VERSION(a,b,c)=((a)*65536+(b)*256+(c))"
    result = subprocess.run(
        ["gcc", "-E", version, *defined, "-"], input=conditions, capture_output=True, text=True, timeout=60
    )
    assert (result.returncode == 0) == (reason is None)
    assert reason is None or reason in result.stderr


def test_counters_of_the_c_are_those_of_the_table() -> None:
    symbols = re.findall(r"^\tX\((\w+)\)", (SOURCES / "tierd.h").read_text(), re.M)
    known = {row.symbol for row in COUNTERS if row.is_exported(TUNABLE)}
    assert set(OWN_COUNTERS) <= set(symbols)
    assert {symbol for symbol in symbols if symbol.startswith("nr_") or symbol.endswith("_ns")} == OWN_COUNTERS
    assert known >= OWN_COUNTERS


def test_tracepoints_of_the_c_are_the_models() -> None:
    text = (SOURCES / "trace.h").read_text()
    for name, fields in trace.EVENTS:
        [printed] = re.findall(rf"EVENT\((?:\w+, )?{name}\b.*?(?:TP_printk\((\".*?\")|TP_ARGS\((\w+)\))", text, re.S)
        names = re.findall(r"(\w+)=%", printed[0]) if printed[0] else [printed[1]]
        assert tuple(names) == fields, name


def test_results_of_entries_are_the_models() -> None:
    codes = dict(re.findall(r"^\tTIERD_(\w+) = (\d+),", (SOURCES / "tierd.h").read_text(), re.M))
    assert int(codes["PROMOTED"]) == trace.RC_SUCCESS
    assert int(codes["MM_GONE"]) == trace.RC_MM_GONE
    assert int(codes["FOLIO_INVALID"]) == trace.RC_FOLIO_INVALID
    assert int(codes["NOT_PREPARED"]) == trace.RC_PREPARE_FAILED
    assert int(codes["THROTTLED"]) == trace.RC_THROTTLED
