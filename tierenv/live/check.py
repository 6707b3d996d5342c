"""The preflight: what forbids a controller on this machine, and what makes its success doubtful."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tierenv.live.facts import NODES, untold
from tierenv.live.files import Refused, is_written_by_others, read_number, read_text
from tierenv.live.kernel import (
    KNOBS,
    MEMORY_TIERING,
    MODE,
    PAGE_BYTES,
    RATE_LIMIT,
    UNLIMITED_MIB_PER_S,
    is_value_of,
)
from tierenv.live.machine import STAT_REFRESH, VMSTAT, Machine

_DEBUGFS = "/sys/kernel/debug"
_LOCKDOWN = "/sys/kernel/security/lockdown"
_DEMOTION = "/sys/kernel/mm/numa/demotion_enabled"
_GIB = 1 << 30
_OTHER_PLACERS = ("numad",)
"""Programs that place memory on nodes by themselves."""


@dataclass
class Findings:
    """What was found, a line each."""

    refusals: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    machine: Machine | None = None
    """None where it cannot be read."""


def check(
    root: str,
    pids: list[int],
    cgroups: list[str],
    archive: str | None,
    needed: Sequence[str] = (),
    given: Mapping[str, int] | None = None,
) -> Findings:
    """Look at everything.

    Args:
        root: put before every path.
        pids: processes that are to be steered.
        cgroups: likewise.
        archive: file that is executed, None to leave it out.
        needed: what the policy has to know of the tiers (`tierenv.live.facts`).
        given: what of it the operator knows.
    """
    findings = Findings()
    kernel = os.uname().release
    findings.facts.append(f"kernel {kernel}")
    _check_account(findings)
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    if page_bytes != PAGE_BYTES:
        findings.refusals.append(f"pages of {page_bytes} bytes: policies are trained for pages of {PAGE_BYTES}")
    check_archive(findings, root, archive)
    _check_knobs(findings, root)
    _check_named(findings, root, pids, cgroups)
    try:
        findings.machine = Machine(root, pids, cgroups, given)
        _check_machine(findings, findings.machine, root)
        _check_facts(findings, findings.machine, needed)
    except (Refused, OSError) as error:
        findings.refusals.append(str(error))
    _check_others(findings, root)
    return findings


def _check_account(findings: Findings) -> None:
    if os.geteuid() != 0:
        findings.refusals.append("not root: knobs can only be written, and some only be read, by root")


def check_archive(findings: Findings, root: str, archive: str | None) -> None:
    """Refuse one that another account could replace."""
    if archive is None or root:
        return  # in a copy of the tree nothing of the machine is at stake
    others = is_written_by_others(archive)
    if others is not None:
        findings.refusals.append(
            f"{others} can be written by others than root, who could put another program there: copy the archive into "
            "a folder of root's, such as /usr/local/lib"
        )


def _check_knobs(findings: Findings, root: str) -> None:
    try:
        lockdown = read_text(root + _LOCKDOWN)
    except OSError:
        lockdown = ""
    if "[integrity]" in lockdown or "[confidentiality]" in lockdown:
        findings.refusals.append(
            f"{_LOCKDOWN} is '{lockdown.strip()}': under lockdown the kernel opens no file of {_DEBUGFS} to write"
        )
        return
    if not os.path.isdir(f"{root}{_DEBUGFS}/sched"):
        findings.refusals.append(
            f"{_DEBUGFS}/sched is missing: debugfs is not mounted (mount -t debugfs none {_DEBUGFS})"
        )
        return
    for path in KNOBS:
        if not os.path.lexists(root + path):
            findings.refusals.append(
                f"{path} is missing: this kernel has no NUMA balancing of memory tiers (Linux 6.1)"
            )
        elif not is_value_of(path, read_number(root + path)):
            findings.refusals.append(f"{path} holds nothing that could be put back")
        elif not os.access(root + path, os.W_OK):
            findings.refusals.append(f"{path} cannot be written")


def _check_named(findings: Findings, root: str, pids: list[int], cgroups: list[str]) -> None:
    for pid in pids:
        if not os.path.exists(f"{root}/proc/{pid}/stat"):
            findings.refusals.append(f"--pid {pid}: no such process")
    for cgroup in cgroups:
        file = f"/sys/fs/cgroup/{cgroup}/memory.stat"
        try:
            tells = read_text(root + file).startswith("anon ")
        except OSError:
            tells = False
        if not tells:
            findings.refusals.append(f"--cgroup {cgroup}: {file} is no memory.stat of cgroup v2")


def _check_machine(findings: Findings, machine: Machine, root: str) -> None:
    for label, nodes in (("fast", machine.fast_nodes), ("slow", machine.slow_nodes)):
        pages = sum(machine.total_pages[node] for node in nodes)
        names = ", ".join(map(str, nodes))
        findings.facts.append(f"{label} tier: nodes {names}, {pages * PAGE_BYTES / _GIB:.1f} GiB")
    missing = machine.missing_counters()
    if missing:
        findings.refusals.append(f"{VMSTAT} lacks {', '.join(missing)} (Linux 6.12 and newer have them all)")
        return
    reading = machine.read()
    if reading.resident_pages == 0:
        findings.refusals.append("what is to be steered has no resident memory")
    mode = reading.knobs.get(MODE, MEMORY_TIERING)
    if mode & 1:
        findings.warnings.append(
            f"{MODE} is {mode}: balancing between sockets stops while it steers ({MEMORY_TIERING})"
        )
    findings.facts.append(f"resident: {reading.resident_pages * PAGE_BYTES / _GIB:.2f} GiB to be steered")
    findings.facts += [f"{path} = {value}" for path, value in reading.knobs.items()]
    if reading.knobs.get(RATE_LIMIT, 0) < UNLIMITED_MIB_PER_S:
        findings.facts.append("the rate limit is not that of boot: somebody has set it")
    if not os.access(root + STAT_REFRESH, os.R_OK):
        findings.warnings.append(f"{STAT_REFRESH} cannot be read: counters of nodes are up to a second old")
    if reading.pressure_us is None:
        findings.warnings.append("no /proc/pressure/memory (boot with psi=1): the guard does not watch memory pressure")
    for node in machine.fast_nodes:
        spared = max(_GIB // PAGE_BYTES, machine.total_pages[node] // 16)
        if reading.free_pages[node] > spared:
            findings.warnings.append(
                f"{NODES}/node{node} has {reading.free_pages[node] * PAGE_BYTES / _GIB:.1f} GiB free: with more than "
                f"{spared * PAGE_BYTES / _GIB:.1f} GiB the kernel obeys neither rate limit nor hot threshold there"
            )


def _check_facts(findings: Findings, machine: Machine, needed: Sequence[str]) -> None:
    findings.facts += [f"{name} = {machine.facts[name]}" for name in needed if name in machine.facts]
    refusal = untold(needed, machine.facts)
    if refusal is not None:
        findings.refusals.append(refusal)


def _check_others(findings: Findings, root: str) -> None:
    try:
        demotion = read_text(root + _DEMOTION).strip()
    except OSError:
        demotion = ""
    if demotion == "false":
        findings.warnings.append(
            f"{_DEMOTION} is false: promotion stops once the fast tier is full (echo true into it)"
        )
    for file in glob.glob(f"{glob.escape(root)}/proc/[0-9]*/comm"):
        try:
            name = read_text(file).strip()
        except OSError:
            continue
        if name in _OTHER_PLACERS:
            findings.warnings.append(f"{name} runs: it places memory on nodes by itself; stop it")
    findings.warnings += _tuned_warnings(root)


def _tuned_warnings(root: str) -> list[str]:
    try:
        profile = read_text(f"{root}/etc/tuned/active_profile").strip()
    except OSError:
        return []
    if not profile:
        return []
    return [
        f"TuneD's profile '{profile}' is active: where it sets these knobs, the controller yields to it (tuned-adm off)"
    ]
