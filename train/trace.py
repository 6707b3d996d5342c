"""The kernel's trace events of an episode, one JSON object a line."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from tierenv.agents.policies import PolicyLoader, load_policy
from tierenv.files import atomic_write_text
from tierenv.scenario import Scenario
from tierenv.train.episodes import run_episodes
from tierenv.train.evaluate import evaluation_task

MAX_EVENTS = 1 << 20
"""Events kept of one episode."""

_log = logging.getLogger(__name__)


def write_trace(
    path: Path, entries: Sequence[tuple[Scenario, str]], seed: int, load: PolicyLoader = load_policy
) -> None:
    """Write the events of one episode of each scenario and policy, in order of time within each.

    Raises `ConfigError` for an unknown policy; `load` makes a policy of a name.
    """
    lines = []
    for scenario, name in entries:
        policy = load(name, scenario)
        task = evaluation_task(policy, scenario, 1, trace_events=MAX_EVENTS)
        run_episodes(task, policy, [seed])
        events, lost = task.system.trace(0)
        if lost:
            _log.warning("%s: %s, %s: %d events more than the %d kept", path, scenario.name, name, lost, MAX_EVENTS)
        lines += [json.dumps({"scenario": scenario.name, "policy": name} | event) for event in events]
    atomic_write_text(path, "".join(f"{line}\n" for line in lines))
