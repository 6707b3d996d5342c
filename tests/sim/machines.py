"""Views into simulated machines, and small scenarios, for the tests of the model."""

import numpy as np
from numpy.typing import NDArray

from tierenv.scenario import Process, Scenario, load_scenario
from tierenv.sim.lumped.state import Machine
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.pages.state import Pages
from tierenv.sim.pages.system import PagesSystem
from tierenv.tunables import Setting


def start(scenario: Scenario, seed: int = 0, **resolution: float) -> LumpedSystem:
    """One machine at the start of an episode."""
    system = LumpedSystem([scenario], **resolution)
    system.reset(np.array([seed], np.uint64), ["training"])
    return system


def machine_of(system: LumpedSystem, index: int = 0) -> Machine:
    """Views of one machine's state in the lumped model."""
    return system._machine(index)


def pages_of(system: PagesSystem) -> Pages:
    """The state of the pages model."""
    return system._pages


def setting(period_ms: float, size_bytes: float, throttle_bytes_per_s: float) -> NDArray[np.float64]:
    """Tunables of a daemon that scans, as a batch of one."""
    values = {"scan_period": period_ms, "scan_size": size_bytes, "throttle": throttle_bytes_per_s}
    return np.array([Setting(values).row])


def with_workload(scenario: Scenario, **changes: object) -> Scenario:
    """The scenario with another workload."""
    return scenario.model_copy(update={"workload": scenario.workload.model_copy(update=changes)})


def process_of(scenario: Scenario, **changes: object) -> Process:
    """A process with the workload and size of a scenario's application, fields as in YAML."""
    fields = {"workload": scenario.workload, "size": f"{scenario.size}B"} | changes
    return Process.model_validate(fields)


def without_variation(name: str) -> Scenario:
    """A packaged scenario with one phase order and phases of equal length."""
    return with_workload(load_scenario(name), phase_order="fixed", phase_length_jitter=0.0)
