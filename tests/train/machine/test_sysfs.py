"""Trees of /sys: real ones of guests, as cp and tar copy them, and spoiled ones."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.tools import needs
from tests.train.machine.made import unpack
from tierenv.errors import ConfigError
from tierenv.train.machine.observed import Observation
from tierenv.train.machine.sysfs import read_sysfs

TWO_TIERS = "sysfs-6.12-two-tiers.txt"
NODE1 = "sys/devices/system/node/node1"


def firmware(seen: Observation) -> dict[str, float]:
    latencies = {f"{each.target} {each.is_store}": 1e9 * each.seconds for each in seen.latencies}
    return latencies | {f"{each.target} {each.read_share:g}": 1e-6 * each.bytes_per_s for each in seen.bandwidths}


def test_a_kernel_tells_nodes_tiers_and_what_the_firmware_says(tmp_path: Path) -> None:
    seen = read_sysfs(unpack(TWO_TIERS, tmp_path))
    assert {number: (node.has_cpus, node.memory_bytes) for number, node in seen.nodes.items()} == {
        0: (True, 476700 << 10),
        1: (False, 514752 << 10),
    }
    assert seen.slow_tier == (1,) and seen.distances == {(0, 0): 10, (0, 1): 20, (1, 0): 20, (1, 1): 10}
    assert firmware(seen) == pytest.approx({
        "0 False": 100, "0 True": 100, "1 False": 200, "1 True": 200,
        "0 1": 102400, "0 0": 102400, "1 1": 20480, "1 0": 20480,
    })  # fmt: skip
    assert all(each.said.kind == "firmware" for each in (*seen.latencies, *seen.bandwidths))
    assert seen.processor == "QEMU TCG CPU version 2.5+"


def test_zeros_are_unknown_and_never_values(tmp_path: Path) -> None:
    seen = read_sysfs(unpack("sysfs-6.12-latencies-alone.txt", tmp_path))
    assert seen.bandwidths == [] and set(firmware(seen)) == {"0 False", "0 True", "1 False", "1 True"}
    assert seen.has_one_tier and seen.slow_tier is None


def test_the_nearest_cpu_comes_before_the_nearest_initiator(tmp_path: Path) -> None:
    root = unpack(TWO_TIERS, tmp_path)
    (root / NODE1 / "access0/initiators/read_latency").write_text("90\n")
    assert firmware(read_sysfs(root))["1 False"] == pytest.approx(200)
    shutil.rmtree(root / NODE1 / "access1")
    assert firmware(read_sysfs(root))["1 False"] == pytest.approx(90)


def test_zeros_with_which_tar_fills_up_are_no_content(tmp_path: Path) -> None:
    plain, padded = unpack(TWO_TIERS, tmp_path / "a"), unpack(TWO_TIERS, tmp_path / "b")
    for file in padded.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes().ljust(4096, b"\0"))
    one, other = read_sysfs(plain), read_sysfs(padded)
    assert (one.nodes, one.distances, firmware(one), one.slow_tier, one.processor) == (
        (other.nodes, other.distances, firmware(other), other.slow_tier, other.processor)
    )


@needs("tar")
@pytest.mark.skipif(not os.path.exists("/sys/devices/system/node/node0/meminfo"), reason="this kernel has no nodes")
def test_copies_of_this_machine_say_what_it_says(tmp_path: Path) -> None:
    here = read_sysfs(Path("/"))
    wanted = "/sys/devices/system/node/node*/{meminfo,cpulist,distance} /proc/cpuinfo"
    copy = f"cp -r --parents {wanted} {tmp_path}/a; tar -cf - {wanted} | tar -xf - -C {tmp_path}/b"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    subprocess.run(["bash", "-c", copy], capture_output=True, timeout=60)
    for name in ("a", "b"):
        there = read_sysfs(tmp_path / name)
        assert (there.nodes, there.distances) == (here.nodes, here.distances)
        assert there.processor == (here.processor if name == "a" else "")  # a file of /proc has no size, says tar


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("meminfo", "", "does not tell the node's size"),
        ("meminfo", "Node 1 MemTotal: 5 MB", "does not tell the node's size (MemTotal, in kB)"),
        ("meminfo", "Node 1 MemTotal: 99999999999999 kB", "a node of more than 64 TiB"),
        ("meminfo", None, "No such file"),
        ("cpulist", None, "no such file"),
        ("distance", "20", "must hold 2 numbers, as there are folders of nodes"),
        ("distance", "20 x", "must hold 2 numbers"),
        ("access1/initiators/read_latency", "200 ns", "must hold a whole number without a unit"),
        ("access1/initiators/read_bandwidth", "-1", "must hold a whole number without a unit"),
    ],
)
def test_files_that_are_not_the_kernels_are_one_line(
    path: str, content: str | None, message: str, tmp_path: Path
) -> None:
    file = unpack(TWO_TIERS, tmp_path) / NODE1 / path
    file.unlink()
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError) as error:
        read_sysfs(tmp_path)
    assert message in str(error.value) and f"{tmp_path}/{NODE1}/{path}" in str(error.value)


def test_a_folder_without_nodes_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--sysfs takes a folder that holds the machine's sys/devices/system/node"):
        read_sysfs(tmp_path)
    (tmp_path / "sys/devices/system/node").mkdir(parents=True)
    with pytest.raises(ConfigError, match="has no node0"):
        read_sysfs(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    file = unpack(TWO_TIERS, tmp_path) / NODE1 / "meminfo"
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ConfigError, match="does not tell the node's size"):
        read_sysfs(tmp_path)


def test_what_no_memory_has_is_unknown(tmp_path: Path) -> None:
    root = unpack(TWO_TIERS, tmp_path)
    (root / NODE1 / "access1/initiators/read_latency").write_text("4294967295\n")
    assert "1 False" not in firmware(read_sysfs(root))
