"""Boots a guest with a fast node and a slow one, and reads what it reports."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kernel.packages import program

NODE_MIB = 512
"""Of either node. Where more than 1 GiB is free the kernel holds back no promotion."""
TIME_LIMIT_S = 600
"""Of the host, for one boot; some take a minute of a free core."""

_NODES = ((100, "100G"), (200, "20G"))
"""Latency [ns] and bandwidth that the firmware's HMAT tells of each node. Emulation makes neither slower: the kernel's
decisions are real, speed is not."""

_CPU = "max,-cx16"
"""Without cmpxchg16b: after it QEMU 7.2 has among the flags what is none, and an interrupt that comes next saves and
restores that. The kernel allocates memory by it where it can; once in some minutes it then traps for no cause."""

_WORDS = "console=ttyS0 quiet nokaslr norandmaps panic=-1 mitigations=off cryptomgr.notests no_timer_check"
"""Of every kernel's command line. Without the last one a kernel on a busy host may find that its timer does not work,
and panic; the two before it save a second of emulated time."""


class BootError(Exception):
    """A guest has not come to its end."""


@dataclass(frozen=True)
class Boot:
    """One run of a guest, from power on to power off."""

    folder: Path
    """Has console.log and report.jsonl."""

    @property
    def logs(self) -> tuple[bytes, bytes]:
        """All it has said: the kernel's console and the reports."""
        return (self.folder / "console.log").read_bytes(), (self.folder / "report.jsonl").read_bytes()

    def steps(self, name: str) -> Iterator[dict[str, Any]]:
        """Reports of a step, in their order."""
        for line in self.logs[1].splitlines():
            row = json.loads(line)
            if row["step"] == name:
                yield row

    def step(self, name: str) -> dict[str, Any]:
        """The report of a step that is reported once."""
        [row] = self.steps(name)
        return row


def boot(
    kernel: Path, initrd: Path, words: str, folder: Path, in_real_time: bool = False, limit_s: float = TIME_LIMIT_S
) -> Boot:
    """Run a guest until it powers off. Raises `BootError` if it does not come to its end, `UnavailableError`.

    Time is counted in instructions, on one thread, so that the same image does the same thing whatever else this
    machine does.

    Args:
        kernel: that is booted.
        initrd: its first file system.
        words: of its command line, the script among them.
        folder: for what it says.
        in_real_time: each processor of the guest is a thread of its own, and time is the host's: no two runs are the
            same, but one is over sooner, and may do what never happens where one processor waits for the other.
        limit_s: time of the host after which it has not come to its end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [program("qemu-system-x86_64"), *_machine(), *_clock(in_real_time), "-kernel", kernel, "-initrd", initrd]
    command += ["-append", f"{_WORDS} {words}"]
    for name in ("console.log", "report.jsonl"):
        command += ["-serial", f"file:{folder / name}"]
    try:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise BootError(f"{folder.name}: has not ended within {limit_s:.0f} s\n{_last_words(folder)}") from None
    boot = Boot(folder)
    if result.returncode != 0 or not list(boot.steps("end")):
        raise BootError(f"{folder.name}: the guest failed\n{result.stderr}{_last_words(folder)}")
    return boot


def _machine() -> Iterator[str]:
    yield from ("-machine", "q35,hmat=on", "-cpu", _CPU, "-smp", "2", "-m", f"{2 * NODE_MIB}M", "-no-reboot")
    yield from ("-nodefaults", "-no-user-config", "-display", "none", "-nic", "none", "-seed", "42")
    for node, (latency_ns, bandwidth) in enumerate(_NODES):
        yield from ("-object", f"memory-backend-ram,id=memory{node},size={NODE_MIB}M")
        where = "cpus=0-1" if node == 0 else "initiator=0"
        yield from ("-numa", f"node,nodeid={node},memdev=memory{node},{where}")
        for kind, value in (("latency", latency_ns), ("bandwidth", bandwidth)):
            data = f"hierarchy=memory,data-type=access-{kind},{kind}={value}"
            yield from ("-numa", f"hmat-lb,initiator=0,target={node},{data}")
    yield from ("-numa", "dist,src=0,dst=1,val=20")


def _clock(in_real_time: bool) -> Iterator[str]:
    if in_real_time:
        yield from ("-accel", "tcg,thread=multi")
    else:
        yield from ("-accel", "tcg,thread=single", "-icount", "shift=1,sleep=off", "-rtc", "base=2026-01-01,clock=vm")


def _last_words(folder: Path) -> str:
    lines = (folder / "console.log").read_text(errors="replace").splitlines()
    return "\n".join(lines[-30:])
