"""What a Debian 6.12 guest with two tiers promotes: limits that hold, knobs that act, and the model beside it."""

from typing import Any

import pytest

from tests.kernel.qemu import Boot
from tierenv.experiments import PlannedRun, load_experiment
from tierenv.quantities import QUANTITIES
from tierenv.records import with_changes
from tierenv.scenario import Scenario
from tierenv.sim.parameters import access_time_s
from tierenv.train.fidelity import simulate
from tierenv.units import MIB, PAGE_BYTES

PAGES_PER_MIB = MIB // PAGE_BYTES
PROMOTED = "pgpromote_success"
SEEDS = range(10_000, 10_004)

KNOBS = {
    "scan_delay_ms": ("scan_delay", "ms"),
    "scan_period_min_ms": ("scan_period_min", "ms"),
    "scan_period_max_ms": ("scan_period_max", "ms"),
    "scan_size_mb": ("scan_size", "MiB"),
    "hot_threshold_ms": ("hot_threshold", "ms"),
    "numa_balancing_promote_rate_limit_MBps": ("promote_rate_limit", "MiB/s"),
}
"""Of the model, with the units of the kernel's files."""
ALLOWED = {"base": 0.15, "rate 1": 0.15, "rate 4": 0.15, "rate 16": 0.15, "threshold 100": 0.3}
"""Share of what the guest has promoted that the model may be off by."""


def run_of(boot: Boot, name: str) -> dict[str, Any]:
    [row] = (row for row in boot.steps("run") if row["name"] == name)
    return row


def most_allowed(rate_mib_per_s: int, seconds: float) -> float:
    """Pages: of every second that the time touches, whole or not."""
    return rate_mib_per_s * PAGES_PER_MIB * (seconds + 2)


def test_nothing_is_promoted_or_scanned_in_mode_0(changing: Boot) -> None:
    row = changing.step("mode 0")
    assert (row[PROMOTED], row["numa_pte_updates"]) == (0, 0)


@pytest.mark.parametrize("step", ["size 4", "size 16", "rate 0"])
def test_a_limit_of_0_promotes_nothing_of_what_could_be(changing: Boot, step: str) -> None:
    row = changing.step(step)
    assert row["pgpromote_candidate"] > 0 == row[PROMOTED]


@pytest.mark.parametrize("rate", [1, 4, 16])
def test_the_limit_holds(promotion: Boot, rate: int) -> None:
    row = run_of(promotion, f"rate {rate}")
    assert 0 < row[PROMOTED] <= most_allowed(rate, row["seconds"])
    assert row["pgpromote_candidate"] > row[PROMOTED]


def test_a_low_threshold_promotes_less_than_half(promotion: Boot) -> None:
    assert run_of(promotion, "threshold 1")[PROMOTED] < run_of(promotion, "base")[PROMOTED] / 2


def test_a_scan_size_acts_within_2_s(changing: Boot) -> None:
    assert changing.step("size 16")["numa_pte_updates"] > 2 * changing.step("size 4")["numa_pte_updates"]


def test_a_limit_acts_within_2_s_both_ways(changing: Boot) -> None:
    risen = changing.step("rate 4")
    assert 0 < risen[PROMOTED] <= most_allowed(4, risen["seconds"])
    assert changing.step("rate 0")[PROMOTED] == 0


def scenario_of(run: dict[str, Any]) -> Scenario:
    """The model's scenario for what ran in the guest: its size, threads, hot pages, speed and setting."""
    end = run["end"]
    files = {path.rpartition("/")[2]: text.strip() for path, text in run["knobs"].items()}
    hot = end["hot_pages"] / end["pages"]
    hot_accesses = 0.9 + 0.1 * hot
    scenario = with_changes(
        load_experiment("guest").scenario,
        {
            "size": f"{end['pages'] * PAGE_BYTES}B",
            "workload": {
                "threads": end["threads"],
                "think": "0s",
                "classes": [{"name": "hot", "fraction": hot}, {"name": "cold", "fraction": 1 - hot}],
                "phases": [{"name": "run", "access_share": {"hot": hot_accesses, "cold": 1 - hot_accesses}}],
            },
            "daemon": {"knobs": {knob: files[name] + unit for name, (knob, unit) in KNOBS.items()}},
        },
        run["name"],
    )
    think_s = end["threads"] * end["elapsed_s"] / end["accesses"] - float(access_time_s(scenario, 0.5))
    return with_changes(scenario, {"workload": {"think": f"{think_s:.9f}s"}}, run["name"])


@pytest.fixture(scope="module")
def modelled(promotion: Boot) -> dict[str, float]:
    """Pages that the model promotes, by run."""
    planned = {}
    for name in ALLOWED:
        run = run_of(promotion, name)
        planned[name] = PlannedRun(scenario_of(run), 0.0, run["seconds"])
    outcomes = simulate(planned.values(), SEEDS)
    count = QUANTITIES[PROMOTED].of_run
    assert count is not None
    return {name: count(outcomes[run.identity]) for name, run in planned.items()}


@pytest.mark.parametrize("name", ALLOWED)
def test_the_model_promotes_as_much(promotion: Boot, modelled: dict[str, float], name: str) -> None:
    promoted = run_of(promotion, name)[PROMOTED]
    print(f"\n{name}: {promoted} pages promoted, {modelled[name]:.0f} modelled")
    assert modelled[name] == pytest.approx(promoted, rel=ALLOWED[name])
