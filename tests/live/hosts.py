"""Trees that look like /proc and /sys of a host with two memory tiers, policies for it, the archive as a program."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tierenv.agents.bundle import TrainedOn, write_bundle
from tierenv.agents.export.controller import archive, tables_of
from tierenv.agents.export.learned_source import learned_source
from tierenv.agents.network import Network
from tierenv.agents.tree import DecisionTree
from tierenv.daemon import Daemon, load_daemon
from tierenv.features import feature_columns, observed_columns
from tierenv.live import kernel
from tierenv.live.machine import GUARDED, OBSERVED
from tierenv.live.policy import Tables
from tierenv.observation_spec import Observation, observation_rows

DAEMON = load_daemon("numa-balancing")
COLUMNS = [column.name for column in observed_columns(DAEMON)]

AS_BOOTED = {
    kernel.MODE: 1,
    kernel.RATE_LIMIT: 65536,
    kernel.SCAN_SIZE: 256,
    kernel.PERIOD_MIN: 1000,
    kernel.PERIOD_MAX: 60000,
    kernel.SCAN_DELAY: 1000,
    kernel.HOT_THRESHOLD: 1000,
}
FAST_PAGES, SLOW_PAGES = 1 << 18, 1 << 20


@dataclass
class Host:
    """A tree, with counters that a test moves on."""

    root: Path

    def __post_init__(self) -> None:
        self.vmstat = {name: 1000 for name in (*OBSERVED, *GUARDED)}
        self.free_pages = {0: 20_000, 1: 700_000}
        (self.root / "run/tierenv").mkdir(mode=0o700, parents=True)
        for path, value in AS_BOOTED.items():
            self.put(path, value)
        for node, (tier, pages) in enumerate(((4, FAST_PAGES), (22, SLOW_PAGES))):
            self.put(f"/sys/devices/virtual/memory_tiering/memory_tier{tier}/nodelist", node)
            self.put(f"/sys/devices/system/node/node{node}/meminfo", f"Node {node} MemTotal:       {4 * pages} kB")
        self.put("/sys/devices/system/node/has_cpu", 0)
        self.put("/proc/sys/vm/stat_refresh", "")
        self.put("/proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 total=0")
        self.put("/sys/kernel/mm/numa/demotion_enabled", "true")
        self.show()

    def put(self, path: str, content: object) -> None:
        file = Path(f"{self.root}{path}")
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f"{file.name}.put")
        new.write_text(f"{content}\n")
        new.replace(file)

    def knob(self, path: str) -> int:
        file = Path(f"{self.root}{path}")
        return int(next(text for _ in range(1000) if (text := file.read_text())))  # empty while it is being written

    @property
    def knobs(self) -> dict[str, int]:
        return {path: self.knob(path) for path in kernel.KNOBS}

    def start_process(self, pid: int, pages: int, started: int = 1, state: str = "S") -> None:
        self.put(f"/proc/{pid}/stat", f"{pid} (a b) c) {state} {' '.join(['0'] * 18)} {started} 0")
        self.put(f"/proc/{pid}/statm", f"900 {pages} 100 1 0 90 0")

    @property
    def notes(self) -> list[str]:
        """Files of the journal, relative to its folder."""
        folder = self.root / "run/tierenv"
        kept = [folder / kind for kind in ("original", "applied")]
        return sorted(str(file.relative_to(folder)) for kind in kept for file in kind.rglob("*") if file.is_file())

    def show(self) -> None:
        """Writes the counters."""
        self.put("/proc/vmstat", "\n".join(f"{name} {value}" for name, value in self.vmstat.items()))
        for node, free in self.free_pages.items():
            stats = {"nr_free_pages": free, "nr_anon_pages": 100_000 * (node + 1), "nr_file_pages": 1000}
            text = "\n".join(f"{name} {value}" for name, value in stats.items())
            self.put(f"/sys/devices/system/node/node{node}/vmstat", text)

    def count(self, **increments: int) -> None:
        """Lets time go by: counters grow, page faults always."""
        for name, more in ({"pgfault": 100} | increments).items():
            self.vmstat[name] += more
        self.show()


def tree(**split: Any) -> DecisionTree:
    """Two leaves, told apart by the rate of hint faults: a tenth of the range from either end of every tunable."""
    feature = COLUMNS.index(split.get("column", "faulted_average_4"))
    values = np.zeros((3, len(DAEMON.tunables)), np.float32)
    values[1], values[2] = split.get("low", 0.5), split.get("high", -0.5)
    return DecisionTree(
        len(COLUMNS),
        np.array([feature, -1, -1], np.int32),
        np.array([split.get("threshold", -0.5), 0, 0], np.float32),
        np.array([1, -1, -1], np.int32),
        np.array([2, -1, -1], np.int32),
        values,
    )


def network(
    *hidden: int,
    seed: int = 0,
    activation: Any = "tanh",
    daemon: Daemon = DAEMON,
    observation: Observation = None,
) -> Network:
    """About as steep as trained ones."""
    rng = np.random.default_rng(seed)
    layers = (len(feature_columns(observation_rows(observation, daemon))), *hidden, len(daemon.tunables))
    pairs = list(zip(layers[:-1], layers[1:], strict=True))
    return Network(
        weights=tuple(rng.normal(0, 1.5 / n**0.5, (m, n)).astype(np.float32) for n, m in pairs),
        biases=tuple(rng.normal(0, 0.3, m).astype(np.float32) for _, m in pairs),
        activation=activation,
    )


def bundle(
    folder: Path,
    model: Network | DecisionTree,
    interval_s: float = 2.0,
    daemon: Daemon = DAEMON,
    observation: Observation = None,
) -> Path:
    trained_on = [TrainedOn.model_validate({"name": "moving-hot-set", "control_interval": f"{interval_s}s"})]
    facts: dict[str, Any] = {"name": "a-policy", "scenarios": trained_on, "training": {}}
    write_bundle(folder, model=model, daemon=daemon, observation=observation, **facts)
    return folder


def tables(folder: Path, model: Network | DecisionTree, interval_s: float = 2.0) -> Tables:
    source = learned_source(str(bundle(folder, model, interval_s)))
    content: Tables = json.loads(json.dumps(tables_of("a-policy", source)))
    return content


def write_archive(folder: Path, model: Network | DecisionTree, interval_s: float) -> Path:
    file = folder / "tierenv-live.pyz"
    file.write_bytes(archive(tables(folder / "bundle", model, interval_s)))
    return file


def oldest_python() -> str:
    """The oldest interpreter from 3.9 on that this machine has; the present one where it has no older one."""
    for minor in range(9, sys.version_info.minor):
        found = [
            shutil.which(f"python3.{minor}"),
            *Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3.{minor}"),
        ]
        for program in filter(None, found):
            works = subprocess.run([program, "-I", "-c", ""], capture_output=True, timeout=30)
            if works.returncode == 0:
                return str(program)
    return sys.executable


def command(file: Path, *arguments: str) -> list[str]:
    return [oldest_python(), "-I", str(file), *arguments]


def environment(host: Host, **more: str) -> Mapping[str, str]:
    return os.environ | {"TIERENV_ROOT": str(host.root)} | more


def run(host: Host, file: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(file, *arguments), env=environment(host, **more), capture_output=True, text=True, timeout=60
    )
