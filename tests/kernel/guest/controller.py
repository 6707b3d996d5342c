"""What the controller does to this kernel: the commands of docs/live.md, kills, somebody else's write, worse health."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from steps import MODE, RATE, Benchmark, knobs, read, report, run, tiers, write

ARCHIVE = "/exports/quick.pyz"
NOTES = Path("/run/tierenv")
PATIENCE_S = 60


class Controller:
    """One that runs, with a window of one interval."""

    def __init__(self, *options):
        (NOTES / "status.json").unlink(missing_ok=True)
        self._log = open("/tmp/log", "w+")
        self._errors = open("/tmp/errors", "w+")
        command = ["python3", "-I", ARCHIVE, "run", "--apply", "--window", "1", *options]
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._errors, start_new_session=True)

    @property
    def last(self):
        """The last decision."""
        try:
            return json.loads(read(NOTES / "status.json"))
        except FileNotFoundError:
            return {}

    def until(self, is_so):
        """Wait for something that the last decision tells; what it was, or how it has ended."""
        end_s = time.monotonic() + PATIENCE_S
        while self.process.poll() is None and time.monotonic() < end_s:
            last = self.last
            if is_so(last):
                return last
            time.sleep(0.05)
        return {"never": self.last, "errors": read("/tmp/errors")}

    def until_it_steers(self):
        return self.until(lambda last: last.get("state") == "steering" and read(MODE) == "2\n")

    def decisions(self):
        """All of them so far."""
        return [json.loads(line) for line in read("/tmp/log").splitlines()]


def notes():
    """Files of the notes."""
    kept = [path for kind in ("original", "applied") for path in (NOTES / kind).rglob("*")]
    return sorted(str(path.relative_to(NOTES)) for path in kept if path.is_file())


def wait_for_end_of(pid):
    """Until a process that is no child of ours is gone."""
    end_s = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end_s:
        time.sleep(0.05)


def kill(way):
    """Start a controller, kill what the way says while it steers, and see what is left."""
    controller = Controller()
    last = controller.until_it_steers()
    during, child = knobs(), last["pid"]
    if way == "both":
        os.killpg(controller.process.pid, signal.SIGKILL)
    else:
        target = child if way == "loop" else controller.process.pid
        os.kill(target, signal.SIGTERM if way == "sigterm" else signal.SIGKILL)
    code = controller.process.wait()
    wait_for_end_of(child)
    errors = read("/tmp/errors")
    return {"way": way, "code": code, "during": during, "after": knobs(), "notes": notes(), "errors": errors}


report("start", tiers=tiers(), knobs=knobs())

os.chdir("/exports")
for command in read("/exports/live-commands").splitlines():
    report("document", command=command, **run("sh", "-c", command), knobs=knobs())

for way in ("loop", "guard", "sigterm"):
    report("killed", **kill(way))
unit = run("python3", "-I", ARCHIVE, "unit")["output"]
after_stop = re.search(r"^ExecStopPost=(.*)$", unit, re.M)[1].split()
for name, command in (
    ("restore", ["python3", "-I", ARCHIVE, "restore"]),
    ("ExecStopPost", after_stop),
    ("the next start", ["python3", "-I", ARCHIVE, "run", "--apply", "--intervals", "1"]),
    ("an exported script", ["dash", "/exports/setting.sh", "--restore"]),
):
    report("killed", **kill("both"))
    report("restored", by=name, **run(*command), knobs=knobs(), notes=notes())

benchmark = Benchmark("-s", "96", "-m", "moving", "-b", "1", "-d", "1")
controller = Controller()
controller.until_it_steers()
time.sleep(2)
write(RATE, 123)
last = controller.until(lambda last: last.get("outcome") == "yielded")
report("yielded", last=last, knobs=knobs(), notes=notes())
controller.process.terminate()
controller.process.wait()
report("after yielding", knobs=knobs(), decisions=controller.decisions())
write(RATE, 65536)

Path("/tmp/latency").write_text("10\n")
Path("/tmp/health.json").write_text('["/bin/cat", "/tmp/latency"]\n')
controller = Controller("--health", "/tmp/health.json")
controller.until_it_steers()
Path("/tmp/latency").write_text("1000\n")
last = controller.until(lambda last: last.get("state") == "waiting")
report("returned", last=last, knobs=knobs(), notes=notes())
controller.process.terminate()
controller.process.wait()
benchmark.stop()

# The power goes while it steers: what the next boot finds is in the reports of the other guests.
controller = Controller()
controller.until_it_steers()
report("power off", knobs=knobs())
