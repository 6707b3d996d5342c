"""The lumped model against its page-by-page twin, on packaged scenarios shrunk to 8,192 pages.

A two-sample test of outcomes that hardly vary rejects any difference, so where the twin's coefficient of variation is
at most 1 % the means must agree within a margin, and at a resolution finer than the shipped one the spreads within 10 %
beyond sampling error (a region is one place in the list, so fewer regions leave less to chance). Outcomes that vary
more must pass a Kolmogorov-Smirnov test. Seeds are fixed; with others an exact model would fail a comparison in 1,000.

Measured over 100 seeds: completion time within 0.12 %, promotions and demotions within 0.15 % where they hardly vary
and 0.6 % elsewhere, what the list holds within 0.7 %; at the fine resolution 0.04, 0.06 and 0.14 %, but for the 0.7 %
that `LIST_MARGIN` explains.
"""

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from tests.sim.machines import machine_of, without_variation
from tierenv.counters import DEMOTED, IDLEPAGE, MIGADDED, MIGRATE_FAILED, MIGRATED, SLOWTIER, TOPTIER
from tierenv.daemon import DaemonVariant
from tierenv.records import load_record
from tierenv.scenario import Scenario, load_scenario
from tierenv.sim.reference import ReferenceSystem, shrink
from tierenv.sim.state import DUPLICATES, PEAK_LIST, SLOW_CLOCK, WASTED
from tierenv.sim.system import SimulatedSystem
from tierenv.units import GIB, MIB, PAGE_BYTES

PAGES = 8192
NUM_SEEDS = 60
SIGNIFICANCE = 1e-3
STANDARD_ERRORS = 3.3
"""Sampling error allowed for, at this significance."""
MARGIN = 0.005
LIST_MARGIN = 0.01
"""Margin for what passes through the list. The model visits a chunk's pages at its end, by when some have left the list
that the twin still meets there."""
SPREAD_MARGIN = 0.1
MOST_VARIATION = 0.01
"""Coefficient of variation up to which means and spreads are compared."""
FINE = {"max_substep_s": 0.02, "server_quantum_s": 1e-3}
FINE_REGIONS = 512

COUNTED = {
    "migadded": MIGADDED,
    "migrated": MIGRATED,
    "failed": MIGRATE_FAILED,
    "slowtier": SLOWTIER,
    "toptier": TOPTIER,
    "idlepage": IDLEPAGE,
    "demoted": DEMOTED,
}
MODELLED = {"wasted": WASTED, "duplicates": DUPLICATES, "peak_list": PEAK_LIST}
OUTCOMES = ("seconds", *COUNTED, *MODELLED)
LISTED = ("migadded", "failed", "slowtier", "duplicates", "peak_list")

Outcomes = dict[str, NDArray[np.float64]]
Settings = Callable[[int], Iterator[NDArray[np.float64]]]


class Case(NamedTuple):
    """A scenario at full size, and the settings in force during the intervals of a run (period, size, throttle)."""

    scenario: Scenario
    settings: Settings


def kernels_own(seed: int) -> Iterator[NDArray[np.float64]]:
    """No setting: the kernel's rule is in charge."""
    yield from ()


def always(period_ms: float, size_bytes: float, throttle_bytes_per_s: float) -> Settings:
    """One setting for the whole run."""
    return lambda seed: iter([np.array([period_ms, size_bytes, throttle_bytes_per_s])])


def at_random(seed: int) -> Iterator[NDArray[np.float64]]:
    """Another setting every two seconds, sometimes off or unlimited; the same for both models."""
    rng = np.random.default_rng(seed)
    bounds = np.log([(100, 20_000), (256 * MIB, 16 * GIB), (MIB, 4 * GIB)])
    while True:
        setting = np.exp(rng.uniform(*bounds.T))
        setting[2] = rng.choice([0.0, np.inf, setting[2]], p=[0.1, 0.1, 0.8])
        yield setting


def make_cases() -> dict[str, Case]:
    v1 = load_record("daemons", DaemonVariant, "kmmscand-v1")
    fits = load_scenario("abench-8g").replace(daemon=v1, control="kernel-rule")
    skewed, moving = load_scenario("skewed"), without_variation("moving-hot-set")
    return {
        "everything fits": Case(fits, kernels_own),
        "over capacity, throttled": Case(skewed, always(500.0, 4 * GIB, 200 * MIB)),
        "over capacity, unlimited": Case(skewed, always(500.0, GIB, np.inf)),
        "moving, throttled": Case(moving, always(500.0, 4 * GIB, 200 * MIB)),
        "moving, tuned at random": Case(moving, at_random),
    }


CASES = make_cases()


def run(system: Any, settings: Iterator[NDArray[np.float64]], factor: float, seed: int) -> list[float]:
    """What a run to completion ends with, in the order of `OUTCOMES`."""
    system.reset(np.array([seed], np.uint64), ["training"])
    first = next(settings, None)
    if first is not None:
        system.apply(first[np.newaxis] / [1, factor, factor])
    for setting in settings:
        system.advance(2.0)
        system.apply(setting[np.newaxis] / [1, factor, factor])
        if system.is_done[0]:
            break
    system.advance(1e6)
    counters, model = system.counters[0], system.model[0]
    return [system.elapsed_s[0], *counters[list(COUNTED.values())], *model[list(MODELLED.values())]]


def outcomes(system: Any, case: Case, first_seed: int) -> Outcomes:
    """Outcomes of many runs; the settings depend on the run alone, the seeds of the models differ."""
    factor = case.scenario.pages / PAGES
    runs = [run(system, case.settings(index), factor, first_seed + index) for index in range(NUM_SEEDS)]
    return dict(zip(OUTCOMES, np.array(runs, dtype=np.float64).T, strict=True))


@cache
def twin_outcomes(name: str) -> Outcomes:
    """Outcomes of the page-by-page twin."""
    return outcomes(ReferenceSystem(shrink(CASES[name].scenario, PAGES)), CASES[name], first_seed=1000)


def hardly_varies(sample: NDArray[np.float64]) -> bool:
    return bool(sample.std() <= MOST_VARIATION * sample.mean())


def differences(model: Outcomes, twin: Outcomes) -> dict[str, str]:
    """Outcomes whose means (where they hardly vary) or distributions differ, and by how much."""
    found = {}
    for name in OUTCOMES:
        if hardly_varies(twin[name]):
            relative = model[name].mean() / twin[name].mean() - 1 if twin[name].any() else model[name].mean()
            margin = LIST_MARGIN if name in LISTED else MARGIN
            if abs(relative) > margin:
                found[name] = f"mean {relative:+.2%}"
        elif ks_2samp(model[name], twin[name]).pvalue < SIGNIFICANCE:
            found[name] = f"mean {model[name].mean() / twin[name].mean() - 1:+.2%}, Kolmogorov-Smirnov"
    return found


def spread_differences(model: Outcomes, twin: Outcomes) -> dict[str, str]:
    """Outcomes that hardly vary but whose standard deviations differ, and by how much."""
    found = {}
    for name in OUTCOMES:
        if hardly_varies(twin[name]) and twin[name].std() > 0:
            ratio = model[name].std() / twin[name].std()
            sampling_error = math.sqrt(0.5 / len(model[name]) + 0.5 / len(twin[name]))
            if abs(math.log(ratio)) > math.log1p(SPREAD_MARGIN) + STANDARD_ERRORS * sampling_error:
                found[name] = f"spread x {ratio:.2f}"
    return found


@pytest.mark.parametrize("name", CASES)
def test_lumped_model_equals_its_twin(name: str) -> None:
    case, twin = CASES[name], twin_outcomes(name)
    small = shrink(case.scenario, PAGES)
    assert differences(outcomes(SimulatedSystem([small]), case, first_seed=0), twin) == {}
    fine = SimulatedSystem([small.model_copy(update={"regions": FINE_REGIONS})], **FINE)
    model = outcomes(fine, case, first_seed=0)
    assert differences(model, twin) == {}
    assert spread_differences(model, twin) == {}


def rarely_touched(case: Case) -> tuple[SimulatedSystem, Case]:
    """A wrong probability: pages of the third class are touched a tenth more rarely."""
    phase = case.scenario.workload.phases[0]
    share = phase.access_share | {"hot": 0.9113, "cool": 0.0135}
    phases = (phase.model_copy(update={"access_share": share}),)
    workload = case.scenario.workload.model_copy(update={"phases": phases})
    return SimulatedSystem([shrink(case.scenario.model_copy(update={"workload": workload}), PAGES)]), case


class Forgetful(SimulatedSystem):
    """Merges pages without resolving them: what was touched since the last visit is forgotten every ten seconds."""

    def advance(self, duration_s: float) -> None:
        """As the model, with the mistake."""
        machine = machine_of(self)
        num_classes = len(machine.hazard)
        until_s = self.elapsed_s[0] + duration_s
        while not self.is_done[0] and self.elapsed_s[0] < until_s:
            super().advance(10.0)
            machine.clocks[:, SLOW_CLOCK] = np.tile(machine.hazard, len(machine.clocks) // num_classes)


def dropped_state(case: Case) -> tuple[SimulatedSystem, Case]:
    """A dropped state."""
    return Forgetful([shrink(case.scenario, PAGES)]), case


def short_chunk(case: Case) -> tuple[SimulatedSystem, Case]:
    """An off-by-one error: chunks are a page short, so that a lap takes one more."""
    full_size = case.scenario.pages / PAGES * PAGE_BYTES
    settings: Settings = lambda seed: (setting - [0, full_size, 0] for setting in case.settings(seed))  # noqa: E731
    return SimulatedSystem([shrink(case.scenario, PAGES)]), case._replace(settings=settings)


@pytest.mark.parametrize("make_wrong", [rarely_touched, dropped_state, short_chunk])
def test_the_comparison_notices_a_mistake(make_wrong: Callable[[Case], tuple[SimulatedSystem, Case]]) -> None:
    name = "over capacity, throttled"
    system, case = make_wrong(CASES[name])
    assert differences(outcomes(system, case, first_seed=0), twin_outcomes(name)) != {}
