"""What the exported files do to this kernel: scripts under two shells, settings by hand, DAMON, policies as modules."""

import hashlib
import os
import re
from pathlib import Path

from steps import DELAY, PERIOD_MIN, THRESHOLD, knobs, read, report, run, tiers, write

DAMON = "/sys/kernel/mm/damon/admin/kdamonds"


def script(step, shell, name, *arguments):
    """Run an exported script; report what it says and what the knobs hold after it."""
    result = run(*shell.split(), f"/exports/{name}", *arguments, TIERENV_ROOT="")
    report(step, shell=shell, call=arguments, **result, knobs=knobs())


def damon_script(*arguments):
    """The same of the one for DAMON, with what has become of DAMON."""
    state = read(f"{DAMON}/0/state").strip() if os.path.exists(f"{DAMON}/0/state") else "none"
    report("damon", call=arguments, **run("dash", "/exports/damon.sh", *arguments), before=state, after=damon())


def damon():
    """Number and state of the kernel's kdamonds."""
    states = [read(path).strip() for path in Path(DAMON).glob("*/state")]
    return [read(f"{DAMON}/nr_kdamonds").strip(), *states]


def start_somebody_elses():
    """DAMON as another program would use it."""
    for name, value in (
        ("nr_kdamonds", 1),
        ("0/contexts/nr_contexts", 1),
        ("0/contexts/0/operations", "paddr"),
        ("0/contexts/0/targets/nr_targets", 1),
        ("0/state", "on"),
    ):
        write(f"{DAMON}/{name}", value)


def decide(name):
    """Settings that an exported policy, loaded as a module, decides on: round after round, the same machines."""
    run("insmod", f"/modules/{name}/tierenv_{name}.ko")
    rounds = sorted(Path("/samples").glob("*"))
    digest, num_bytes = hashlib.sha256(), 0
    with open(f"/sys/kernel/debug/tierenv_{name}/decide", "r+b", buffering=0) as machines:
        for path in rounds:
            machines.write(path.read_bytes())
            machines.seek(0)
            settings = machines.read(1 << 20)
            digest.update(settings)
            num_bytes += len(settings)
    report("policy", name=name, sha256=digest.hexdigest(), num_bytes=num_bytes)
    run("rmmod", f"tierenv_{name}")


for knob, value in ((DELAY, 999), (PERIOD_MIN, 1001), (THRESHOLD, 1002)):
    write(knob, value)  # an administrator's, or what is put back could be the kernel's own
report("start", tiers=tiers(), knobs=knobs())

for shell in ("dash", "busybox sh"):
    for call in ("", "--check", "--apply", "--apply", "--restore"):
        script("script", shell, "setting.sh", *call.split())
    for call in ("--apply", "--restore"):
        script("script", shell, "demoting.sh", *call.split())
script("refused", "dash", "refused.sh", "--apply")
script("clamped", "dash", "clamped.sh", "--apply")
for path in sorted(Path("/exports").glob("killed-*.sh")):
    Path("/count").write_text("0\n")
    script("killed", "dash", path.name, "--apply")
    script("restored", "dash", "demoting.sh", "--restore")

start = knobs()
for name, pattern in (("sysctl.conf", r"^(kernel\S+) = (\S+)$"), ("tmpfiles.conf", r"^w (\S+) - - - - (\S+)$")):
    for knob, value in re.findall(pattern, read(f"/exports/{name}"), re.M):
        write(knob if knob.startswith("/") else f"/proc/sys/{knob.replace('.', '/')}", value)
    report("file", name=name, knobs=knobs())
    for knob, value in start.items():
        write(knob, value.strip())

for arguments in (["--check"], ["--apply"], ["--apply"], ["--restore"]):
    damon_script(*arguments)
start_somebody_elses()
for arguments in (["--check"], ["--apply"], ["--restore"]):
    damon_script(*arguments)
write(f"{DAMON}/0/state", "off")
write(f"{DAMON}/nr_kdamonds", 0)

for name in ("network", "tree"):
    decide(name)
report(
    "complaints", lines=[line for line in run("dmesg")["output"].splitlines() if re.search("WARNING|BUG|Oops", line)]
)
