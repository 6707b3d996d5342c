"""Where the pages of each class lie and start, in both models."""

from typing import Any

import numpy as np
import pytest

from tests.sim.patches import PAGES, SYSTEMS, begin, beside, classes, model_of, phases, small
from tierenv.scenario import Scenario
from tierenv.sim.lumped.state import CLASS
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.pages.state import SLOW
from tierenv.units import PAGE_BYTES

both_models = pytest.mark.parametrize("system_type", SYSTEMS)
REGIONS = 64


def placed(fast: dict[str, float | None], fast_pages: int, **workload: object) -> Scenario:
    """Three classes of a quarter, a quarter and a half of the pages, of which these shares start fast."""
    fractions = dict(zip(fast, (0.25, 0.25, 0.5), strict=True))
    own = tuple(
        page_class.model_copy(update={"fast_at_start": fast[page_class.name]}) for page_class in classes(**fractions)
    )
    kind = {"classes": own, "phases": phases(" ".join(fast), fractions)} | workload
    # kswapd_target is 2 % of the capacity
    return small(workload=kind, fast_capacity=round(fast_pages / 0.98) * PAGE_BYTES, control="off", regions=REGIONS)


UNSAID: dict[str, float | None] = {"first": None, "second": None, "third": None}


def by_address(system: Any) -> tuple[np.ndarray, np.ndarray]:
    """float64[REGIONS, classes], twice: pages of each class in each region, and those of them that start fast."""
    machine = model_of(system)
    if isinstance(system, LumpedSystem):
        lumps = REGIONS * 3
        fast = machine.counts[:lumps, 12:16].sum(axis=1)
        every = machine.counts[:lumps, :4].sum(axis=1) + fast
        assert (machine.counts[:lumps, CLASS].reshape(REGIONS, 3) == [0, 1, 2]).all()
        return every.reshape(REGIONS, 3), fast.reshape(REGIONS, 3)
    region = np.arange(PAGES) * REGIONS // PAGES
    every, fast = np.zeros((REGIONS, 3)), np.zeros((REGIONS, 3))
    np.add.at(every, (region, machine.page_class), 1)
    np.add.at(fast, (region, machine.page_class), machine.node != SLOW)
    return every, fast


@both_models
def test_in_address_order_classes_lie_as_they_are_listed(system_type: type) -> None:
    every, _ = by_address(begin(system_type, placed(UNSAID, 500, layout="address-order")))
    quarter = REGIONS // 4
    full = PAGES // REGIONS
    assert (every[:quarter] == [full, 0, 0]).all() and (every[quarter : 2 * quarter] == [0, full, 0]).all()
    assert (every[2 * quarter :] == [0, 0, full]).all()


@both_models
def test_contiguous_classes_lie_in_any_order_and_scattered_ones_everywhere(system_type: type) -> None:
    system = begin(system_type, placed(UNSAID, 500, layout="contiguous"))
    firsts = set()
    for seed in range(12):
        system.reset(np.array([seed], np.uint64), ["training"])
        every, _ = by_address(system)
        assert ((every > 0).sum(axis=1) == 1).all()
        firsts.add(int(every[0].argmax()))
    assert firsts == {0, 1, 2}
    every, _ = by_address(begin(system_type, placed(UNSAID, 500)))
    assert (every > 0).all()


@both_models
@pytest.mark.parametrize("layout", ["address-order", "scattered"])
def test_in_address_order_the_lowest_addresses_fill_the_fast_nodes(system_type: type, layout: str) -> None:
    # 21 regions and a half
    count = 21 * PAGES // REGIONS + PAGES // REGIONS // 2
    scenario = placed(UNSAID, count, layout=layout, initial_placement="address-order")
    every, fast = by_address(begin(system_type, scenario))
    assert (fast[:21] == every[:21]).all() and (fast[22:] == 0).all()
    assert fast.sum() == pytest.approx(count, abs=1) and fast[21].sum() == pytest.approx(PAGES // REGIONS // 2, abs=1)


@both_models
def test_address_order_goes_on_from_node_to_node(system_type: type) -> None:
    scenario = placed(UNSAID, 600, layout="address-order", initial_placement="address-order")
    two = scenario.model_copy(update={"remote_fast_capacity": round(900 / 0.98) * PAGE_BYTES})
    fast = model_of(begin(system_type, two)).fast_by_class
    expected = [[600, PAGES // 4 - 600], [0, 900 - (PAGES // 4 - 600)], [0, 0]]
    np.testing.assert_allclose(fast, expected, atol=2)


@both_models
@pytest.mark.parametrize("placement", ["slow", "random", "address-order"])
def test_a_class_that_says_so_starts_with_a_share_of_its_pages_on_the_fast_tier(
    system_type: type, placement: str
) -> None:
    scenario = placed({"first": 0.25, "second": 0.0, "third": None}, 1024, initial_placement=placement)
    every, fast = by_address(begin(system_type, scenario))
    room = 0 if placement == "slow" else 1024 - 256
    np.testing.assert_allclose(fast.sum(axis=0), [256, 0, room], atol=1)
    where = np.flatnonzero(fast[:, 0])
    assert len(where) > REGIONS / 2, "which pages these are is drawn"
    if placement == "address-order":
        whole = fast[:, 2] == every[:, 2]
        assert whole[: whole.argmin()].all() and not fast[whole.argmin() + 1 :, 2].any()


@both_models
def test_each_process_is_placed_as_its_own_workload_says(system_type: type) -> None:
    scenario = placed(UNSAID, 1000, initial_placement="slow")
    other = placed(UNSAID, 1000, initial_placement="address-order")
    both = scenario.model_copy(update={"corunners": (beside(other, 512),)})
    fast = model_of(begin(system_type, both)).fast_by_class[:, 0]
    assert fast.tolist() == [0, 0, 0, 128, 128, 256]
