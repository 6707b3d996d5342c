"""Orders of shuffled phases: two splits that never meet, drawn in bounded time for any number of phases."""

import itertools
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.tiny import tiny
from tierenv.errors import ConfigError
from tierenv.phase_orders import MOST_LISTED_PHASES, PhaseOrders, ShuffledOrders, is_held_out
from tierenv.scenario import load_scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.workload import Workload

SPLITS: tuple[PhaseOrders, PhaseOrders] = ("training", "held-out")


def workload_of(hottest: list[str]) -> Workload:
    """A workload whose phases have these hottest classes."""
    names = sorted(set(hottest))
    cold = {name: 0.2 / len(names) for name in names}
    phases = [
        {"name": f"p{index}", "access_share": cold | {name: cold[name] + 0.8}} for index, name in enumerate(hottest)
    ]
    classes = [{"name": name, "fraction": 1 / len(names)} for name in names]
    changes = {"classes": classes, "phases": phases, "phase_order": "shuffled", "like": "moving-hot-set"}
    return tiny(workload=changes).workload


def drawn(hottest: list[str], split: PhaseOrders, count: int) -> list[tuple[int, ...]]:
    orders, rng = ShuffledOrders(hottest), np.random.default_rng(1)
    return [orders.draw(split, rng) for _ in range(count)]


@pytest.mark.parametrize(
    "hottest", ["ab", "aba", "abc", "abcde", "abcdef", "aaaabbb", "aaaabbbb", "abcdefgh", "aabbccdd"]
)
def test_the_splits_are_not_empty_and_never_meet(hottest: str) -> None:
    training, held_out = (set(drawn(list(hottest), split, 9000)) for split in SPLITS)
    assert training and held_out and not training & held_out
    for order in training | held_out:
        assert sorted(order) == list(range(len(hottest)))
        assert all(hottest[before] != hottest[after] for before, after in itertools.pairwise(order))
    if len(hottest) <= MOST_LISTED_PHASES:
        every = itertools.permutations(range(len(hottest)))
        valid = [o for o in every if all(hottest[a] != hottest[b] for a, b in itertools.pairwise(o))]
        assert training | held_out == set(valid)


def test_any_order_of_many_phases_may_come() -> None:
    seen = set(drawn(list("aaaabbb"), "training", 4000)) | set(drawn(list("aaaabbb"), "held-out", 4000))
    assert len(seen) == 24 * 6  # a has the odd places
    assert 0.1 < np.mean([is_held_out(order) for order in seen]) < 0.3


def test_the_orders_of_the_packaged_workload_are_those_that_results_rest_on() -> None:
    workload = load_scenario("moving-hot-set").workload
    rng = np.random.default_rng(0)
    training, held_out = ([workload.draw_phase_order(split, rng) for _ in range(2000)] for split in SPLITS)
    assert (len(set(training)), len(set(held_out))) == (58, 14)
    assert training[:3] == [(4, 2, 0, 3, 1), (3, 0, 2, 4, 1), (2, 3, 0, 1, 4)]
    assert min(held_out) == (0, 1, 4, 2, 3) and max(held_out) == (4, 3, 1, 2, 0)


@pytest.mark.parametrize("num_phases", [2, 7, 10, 30, 100])
def test_thousands_of_draws_take_seconds(num_phases: int) -> None:
    started = time.process_time()
    for split in SPLITS:
        assert len(drawn([f"c{index % 25}" for index in range(num_phases)], split, 500)) == 500
    assert time.process_time() - started < 10


def test_a_workload_of_many_shuffled_phases_runs() -> None:
    workload = workload_of(list("abcdefghij"))
    system = LumpedSystem([tiny(workload=workload)] * 2)
    system.reset(np.array([1, 2], dtype=np.uint64), SPLITS)
    system.run_to_end()
    assert system.is_done.all() and len(set(system.phase_names(0))) == 10


def test_which_orders_are_held_out_does_not_depend_on_the_process() -> None:
    code = (
        "import numpy as np; from tierenv.phase_orders import ShuffledOrders;"
        "print(ShuffledOrders('abcdefgh').draw('held-out', np.random.default_rng(3)))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {f"{ShuffledOrders('abcdefgh').draw('held-out', np.random.default_rng(3))}\n"}


@pytest.mark.parametrize("hottest", ["aa", "aaab", "aaaaabbb"])
def test_phases_that_cannot_be_shuffled_are_refused(hottest: str) -> None:
    with pytest.raises(ConfigError, match=r"phases: class a is the hottest in \d of \d, so that no order"):
        workload_of(list(hottest))


def test_a_single_phase_is_in_both_splits() -> None:
    assert {drawn(["a"], split, 1)[0] for split in SPLITS} == {(0,)}
