"""The lumped model against the pages model, on packaged scenarios shrunk to 8,192 pages.

A two-sample test of outcomes that hardly vary rejects any difference, so where the pages model's coefficient of
variation is at most 1 % the means must agree within a margin, and at a resolution finer than the shipped one the
spreads within 10 % beyond sampling error (a region is one place in the list, so fewer regions leave less to chance).
Outcomes that vary more must pass a Kolmogorov-Smirnov test. Seeds are fixed; with others an exact model would fail a
comparison in 1,000.

Cases, their margins and the outcomes stand in train/studies/equivalence.py, which measures them for docs/model.md.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from tests.sim.machines import machine_of
from tierenv.shrink import shrink
from tierenv.sim.lumped.state import SLOW_CLOCK
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.train.studies.equivalence import (
    CASES,
    OUTCOMES,
    PAGES,
    Case,
    Outcomes,
    Settings,
    coarse_and_fine,
    outcomes,
    pages_outcomes,
)
from tierenv.units import PAGE_BYTES

SIGNIFICANCE = 1e-3
STANDARD_ERRORS = 3.3
"""Sampling error allowed for, at this significance."""
MARGIN = 0.005
LISTED = ("migadded", "failed", "slowtier", "duplicates", "peak_list")
LIST_MARGIN = 0.01
"""Margin for what passes through the list. The model visits a chunk's pages at its end, by when some have left the list
that the pages model still meets there."""
SPREAD_MARGIN = 0.1
MOST_VARIATION = 0.01
"""Coefficient of variation up to which means and spreads are compared."""


def hardly_varies(sample: NDArray[np.float64]) -> bool:
    return bool(sample.std() <= MOST_VARIATION * sample.mean())


def differences(lumped: Outcomes, pages: Outcomes, approximate: dict[str, float]) -> dict[str, str]:
    """Outcomes whose means (where they hardly vary) or distributions differ, and by how much."""
    found = {}
    for name in OUTCOMES:
        relative = lumped[name].mean() / pages[name].mean() - 1 if pages[name].any() else lumped[name].mean()
        if name in approximate or hardly_varies(pages[name]):
            margin = approximate.get(name, LIST_MARGIN if name in LISTED else MARGIN)
            if abs(relative) > margin:
                found[name] = f"mean {relative:+.2%}"
        elif ks_2samp(lumped[name], pages[name], method="asymp").pvalue < SIGNIFICANCE:
            found[name] = f"mean {relative:+.2%}, Kolmogorov-Smirnov"
    return found


def spread_differences(lumped: Outcomes, pages: Outcomes) -> dict[str, str]:
    """Outcomes that hardly vary but whose standard deviations differ, and by how much."""
    found = {}
    for name in OUTCOMES:
        if hardly_varies(pages[name]) and pages[name].std() > 0:
            ratio = lumped[name].std() / pages[name].std()
            sampling_error = math.sqrt(0.5 / len(lumped[name]) + 0.5 / len(pages[name]))
            if abs(math.log(ratio)) > math.log1p(SPREAD_MARGIN) + STANDARD_ERRORS * sampling_error:
                found[name] = f"spread x {ratio:.2f}"
    return found


@pytest.mark.parametrize("name", CASES)
def test_lumped_model_equals_the_pages_model(name: str) -> None:
    case, pages = CASES[name], pages_outcomes(name)
    coarse, fine = (outcomes(system, case, first_seed=0) for system in coarse_and_fine(case))
    assert differences(coarse, pages, case.approximate | case.coarse) == {}
    assert differences(fine, pages, case.approximate) == {}
    spreads = spread_differences(fine, pages)
    assert {name: spreads[name] for name in spreads if name not in case.approximate} == {}


def rarely_touched(case: Case) -> tuple[LumpedSystem, Case]:
    """A wrong probability: pages of the third class are touched a tenth more rarely."""
    phase = case.scenario.workload.phases[0]
    share = phase.access_share | {"hot": 0.9113, "cool": 0.0135}
    phases = (phase.model_copy(update={"access_share": share}),)
    workload = case.scenario.workload.model_copy(update={"phases": phases})
    return LumpedSystem([shrink(case.scenario.model_copy(update={"workload": workload}), PAGES)]), case


class Forgetful(LumpedSystem):
    """Merges pages without resolving them: what was touched since the last visit is forgotten every ten seconds."""

    def advance(self, duration_s: float) -> None:
        """As the model, with the mistake."""
        machine = machine_of(self)
        hazard = machine.classes["hazard"]
        until_s = self.elapsed_s[0] + duration_s
        while not self.is_done[0] and self.elapsed_s[0] < until_s:
            super().advance(10.0)
            machine.clocks[:, SLOW_CLOCK] = np.tile(hazard, len(machine.clocks) // len(hazard))


def dropped_state(case: Case) -> tuple[LumpedSystem, Case]:
    """A dropped state."""
    return Forgetful([shrink(case.scenario, PAGES)]), case


def short_chunk(case: Case) -> tuple[LumpedSystem, Case]:
    """An off-by-one error: chunks are a page short, so that a lap takes one more."""
    full_size = case.scenario.pages / PAGES * PAGE_BYTES
    settings: Settings = lambda seed: (setting - [0, full_size, 0, 0, 0] for setting in case.settings(seed))  # noqa: E731
    return LumpedSystem([shrink(case.scenario, PAGES)]), case._replace(settings=settings)


@pytest.mark.parametrize("make_wrong", [rarely_touched, dropped_state, short_chunk])
def test_the_comparison_notices_a_mistake(make_wrong: Callable[[Case], tuple[LumpedSystem, Case]]) -> None:
    name = "over capacity, throttled"
    system, case = make_wrong(CASES[name])
    assert differences(outcomes(system, case, first_seed=0), pages_outcomes(name), {}) != {}
