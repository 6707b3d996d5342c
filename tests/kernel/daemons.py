"""Modules of format `daemon` for the guests: what they are steered by, and what is written in their sources."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.live.hosts import bundle, network
from tierenv.agents.export import export_policy
from tierenv.agents.network import Network
from tierenv.daemon import Daemon, load_daemon
from tierenv.scenario import load_scenario

INTERVAL_S = 0.25
"""Of the learned policy, so that it decides often in the few seconds that a guest runs."""
RECORD = """\
summary: kmmscand-tunable for a guest, whose processes are small and whose time is dear
like: kmmscand-tunable
initial_delay: 100ms
tunables:
  scan_period: {min: 10ms, max: 20s}
  scan_size: {min: 4MiB}
  throttle: {min: 256KiB/s}
"""
OBSERVATION = {
    "stack": 3,
    "averages": [4, 16],
    "machine": ["fast_share", "latency_gap", "slow_bandwidth", "bandwidth_ratio"],
}
"""Of the learned policy: a past, and what modules are told of the machine by their parameters."""
SETTING = "static:500,1024,inf"


def sources(folder: Path) -> dict[str, Path]:
    """Folders of sources, by the name of the module's folder in the guest.

    Args:
        folder: for the record, the bundle and the sources.
    """
    record = folder / "guest-daemon.yaml"
    record.write_text(RECORD)
    daemon = load_daemon(str(record))
    model = scanning_often(network(32, 32, daemon=daemon, observation=OBSERVATION), daemon)
    policy = bundle(folder / "daemon-bundle", model, INTERVAL_S, daemon, OBSERVATION)
    exports = {name: folder / name for name in ("static", "learned")}
    export_policy(SETTING, "daemon", exports["static"], load_scenario("moving-hot-set").under(daemon))
    export_policy(str(policy), "daemon", exports["learned"])
    return exports


def scanning_often(model: Network, daemon: Daemon) -> Network:
    """The network with short scan periods whatever it observes: with long ones a slow guest counts nothing in time."""
    row = list(daemon.tunables).index("scan_period")
    weights, biases = model.weights[-1].copy(), model.biases[-1].copy()
    weights[row] *= 0.2
    biases[row] = -0.5
    return replace(model, weights=(*model.weights[:-1], weights), biases=(*model.biases[:-1], biases))


def spoil_policy(source: Path) -> None:
    """Let the learned policy decide on a scan period below every range."""
    rewrite(source / "tierenv_policy.c", r"(setting->scan_period_ms = ).*;", r"\g<1>7;")


def rewrite(file: Path, pattern: str, replacement: str | Callable[[re.Match[str]], str]) -> None:
    """Change a source where a pattern matches, which it has to do once."""
    text, count = re.subn(pattern, replacement, file.read_text())
    assert count == 1, f"{file.name}: {pattern} matches {count} times"
    file.write_text(text)
