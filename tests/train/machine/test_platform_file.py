"""The file: a machine comes back from what MLC prints of it, each value has its source, nothing is half-written."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.train.machine.made import (
    FILES,
    latency_matrix,
    loaded_latency,
    mix_at_most,
    peak_bandwidths,
    unpack,
)
from tierenv.errors import ConfigError
from tierenv.files import atomic_write_text
from tierenv.platform import MemoryTier, Platform
from tierenv.records import load_record, validate_record
from tierenv.train.machine.platform_file import MachinePlatform, platform_of
from tierenv.units import GIB

LIKE = load_record("platforms", Platform, "amd-epyc-cxl")
INPUTS = {
    "mlc": [FILES / "mlc-3.11-default.txt", FILES / "mlc-3.11-cxl.txt"],
    "numactl": [FILES / "numactl-2.0.16-two-sockets.txt"],
}


def write_platform(output: Path, given: dict[str, list[Path]], like: str = "amd-epyc-cxl") -> MachinePlatform:
    """As the verb does."""
    made = platform_of(given, like, output)
    atomic_write_text(output, made.text)
    return made


def marks(values: dict[str, Any]) -> list[dict[str, Any]]:
    inner = [value for value in values.values() if isinstance(value, dict)]
    return [value for value in inner if "value" in value] + [
        mark for value in inner if "value" not in value for mark in marks(value)
    ]


tiers = st.builds(
    lambda idle_ns, rise, gb_per_s, writes: MemoryTier(
        idle_latency=f"{idle_ns}ns",
        queueing_latency=f"{idle_ns * rise}ns",
        bandwidth=f"{gb_per_s}GB/s",
        store_bandwidth=f"{gb_per_s * writes}GB/s",
        capacity=f"{GIB}B",
    ),
    st.floats(70, 500),
    st.floats(0.1, 1),
    st.floats(5, 500),
    st.floats(0.3, 3),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dram=tiers, cxl=tiers, sockets=st.integers(1, 2))
def test_a_machine_comes_back_from_what_is_printed_of_it(
    dram: MemoryTier, cxl: MemoryTier, sockets: int, tmp_path: Path
) -> None:
    fast, slow = 1e9 * dram.idle_latency, 1e9 * cxl.idle_latency
    rows = [[fast, fast + 60, slow], [fast + 60, fast, slow + 60]] if sockets == 2 else [[fast, slow]]
    node = f" -c0 -j{sockets}"
    text = latency_matrix(rows) + loaded_latency(dram, num_nodes=sockets) + peak_bandwidths(dram, sockets)
    text += loaded_latency(cxl, options=node).replace("v3.11b", "v3.9")
    # what is read at most is told at that mix, too, or writes could not be told from what delays leave
    text += loaded_latency(cxl, most=0.999, options=node)
    for mix, share in (("3", 3 / 4), ("2", 2 / 3), ("5", 1 / 2)):
        text += mix_at_most(cxl, mix, share, node)
    (tmp_path / "mlc.txt").write_text(text)
    made = platform_of({"mlc": [tmp_path / "mlc.txt"]}, "amd-epyc-cxl", tmp_path / "m.yaml").platform
    assert made.sockets == sockets
    for tier, given_tier in ((made.dram, dram), (made.cxl, cxl)):
        assert tier.idle_latency == pytest.approx(given_tier.idle_latency, abs=1e-10)
        assert tier.queueing_latency == pytest.approx(given_tier.queueing_latency, rel=0.02)
        assert tier.bandwidth == pytest.approx(given_tier.bandwidth, rel=0.01)
        assert tier.writes == pytest.approx(given_tier.writes, rel=0.03)
    assert sockets == 1 or made.remote_latency == pytest.approx(60e-9, abs=0.2e-9)


def test_every_value_has_its_source_and_all_else_is_said_to_be_assumed(tmp_path: Path) -> None:
    made = write_platform(tmp_path / "m.yaml", INPUTS)
    text = (tmp_path / "m.yaml").read_text()
    values = yaml.safe_load(text)
    assert list(values) == ["summary", "like", "dram", "cxl", "sockets", "remote_latency"]
    assert len(marks(values)) == 12
    assert all(mark["prior"] == "fixed" or mark["prior"] > 1 for mark in marks(values))
    assert all("MLC --" in mark["source"] or mark["prior"] == "fixed" for mark in marks(values))
    given = {f"{key}.{inner}" for key in ("dram", "cxl") for inner in values[key]} | {"sockets", "remote_latency"}
    assumed = {line[4:].partition(":")[0] for line in text.partition("# Assumed, from amd-epyc-cxl:\n")[2].splitlines()}
    fields = {name for name in Platform.model_fields if name not in ("name", "summary", "dram", "cxl")}
    tier_fields = {f"{tier}.{name}" for tier in ("dram", "cxl") for name in MemoryTier.model_fields}
    assert given | assumed == (fields | tier_fields) - {"dram.store_latency", "cxl.store_latency"}
    assert not given & assumed
    assert {row.field for row in made.rows if row.kind == "assumed"} == assumed


def test_the_file_is_the_platform_it_was_checked_as(tmp_path: Path) -> None:
    made = write_platform(tmp_path / "m.yaml", INPUTS)
    read = load_record("platforms", Platform, str(tmp_path / "m.yaml"))
    assert read == made.platform and read.name == "m"
    assert (read.cxl.idle_latency, read.scan_per_page) == (pytest.approx(262.7e-9), LIKE.scan_per_page)


def test_json_holds_fields_remarks_and_the_platform(tmp_path: Path) -> None:
    made = write_platform(tmp_path / "m.yaml", {"sysfs": [unpack("sysfs-6.1-one-tier.txt", tmp_path)]}, "one-x8-card")
    content = made.to_json()
    assert (content["fast_node"], content["slow_nodes"]) == (0, [1])
    rows = {row["field"]: row for row in content["fields"]}
    assert rows["cxl.idle_latency"] == {
        "field": "cxl.idle_latency",
        "value": "200ns",
        "kind": "firmware",
        "source": "HMAT, access1 read_latency of node 1",
        "prior": 1.3,
    }
    assert rows["scan_per_page"]["kind"] == "assumed" and rows["scan_per_page"]["source"] == "one-x8-card"
    assert validate_record(Platform, content["platform"], "json") == made.platform


def test_a_platform_of_ones_own_is_named_from_where_the_file_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("like: one-x8-card\nscan_per_page: 41ns\n")
    made = write_platform(Path("deep/folder/m.yaml"), INPUTS, "./mine.yaml")
    values = yaml.safe_load(Path("deep/folder/m.yaml").read_text())
    assert values["like"] == "../../mine.yaml" and made.platform.scan_per_page == pytest.approx(41e-9)
    write_platform(Path("m.yaml"), INPUTS, str(tmp_path / "mine.yaml"))
    assert yaml.safe_load(Path("m.yaml").read_text())["like"] == "mine.yaml"


@pytest.mark.parametrize("like", ["mine.yaml", "other.yaml"])
def test_a_file_that_would_be_like_itself_is_refused(
    like: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("like: one-x8-card\n")
    (tmp_path / "other.yaml").write_text("like: ./mine.yaml\n")
    with pytest.raises(ConfigError, match="--like: "):
        write_platform(Path("mine.yaml"), INPUTS, like)
    assert (tmp_path / "mine.yaml").read_text() == "like: one-x8-card\n"


def test_what_is_refused_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "mlc.txt").write_text(latency_matrix([[100.0, 250.0]]).replace("250.0", "999999999999"))
    (tmp_path / "m.yaml").write_text("as before")
    with pytest.raises(ConfigError, match="mlc.txt:8: "):
        write_platform(tmp_path / "m.yaml", {"mlc": [tmp_path / "mlc.txt"]})
    assert (tmp_path / "m.yaml").read_text() == "as before"
    assert sorted(os.listdir(tmp_path)) == ["m.yaml", "mlc.txt"]


@pytest.mark.parametrize("name", ["a\nlike: x: {", "a # b: 'c' \"", "%\x1b[2J", "é\udcff.txt", "- [", "&x *y"])
def test_names_of_files_reach_the_file_and_its_comments_as_text(name: str, tmp_path: Path) -> None:
    mlc = tmp_path / name
    text = (FILES / "mlc-3.9-modes.txt").read_text() + "Command line parameters: -W6\nMeasuring Loaded Latencies\n"
    mlc.write_text(f"{text}Inject Latency Bandwidth\nDelay (ns) MB/sec\n00000 9.0 5.0\n")
    made = write_platform(tmp_path / "m.yaml", {"mlc": [mlc]})
    values = yaml.safe_load((tmp_path / "m.yaml").read_text())
    source = values["cxl"]["idle_latency"]["source"]
    assert source.startswith("MLC --latency_matrix, ") and source.isprintable() and values["like"] == "amd-epyc-cxl"
    assert made.remarks and all(remark.isprintable() for remark in made.remarks)


def test_a_processors_name_is_text_of_bounded_length(tmp_path: Path) -> None:
    root = unpack("sysfs-6.12-two-tiers.txt", tmp_path)
    (root / "proc/cpuinfo").write_text("model name : {a: [\x07" + "x" * 500 + "\n")
    write_platform(tmp_path / "m.yaml", {"sysfs": [root]})
    summary = yaml.safe_load((tmp_path / "m.yaml").read_text())["summary"]
    assert summary.startswith("{a: [x") and len(summary) < 120
