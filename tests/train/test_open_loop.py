"""The study of known futures: what its coordinates stand for."""

import numpy as np

from tests.tiny import tiny
from tierenv.action import ActionCodec
from tierenv.progress import unreported
from tierenv.scenario import Scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.train.episodes import episode_seeds
from tierenv.train.journal import Journal
from tierenv.train.studies.open_loop import PARTS, play, schedule, search, seeds_of_one_order, told

SEEDS = [20_000, 20_001]
HELD = np.array([-0.3, 0.4, 0.2])


def held_s(scenario: Scenario) -> list[float]:
    """Returns the times of the episodes under one setting throughout."""
    system = LumpedSystem([scenario] * len(SEEDS))
    system.reset(episode_seeds(SEEDS), ["training"] * len(SEEDS))
    system.apply(np.tile(ActionCodec(scenario.daemon).decode(HELD), (len(SEEDS), 1)))
    while not system.is_done.all():
        system.advance(scenario.control_interval)
    return system.elapsed_s.tolist()


def test_a_schedule_and_a_script_of_one_setting_are_that_setting() -> None:
    scenario = tiny()
    phases = len(scenario.workload.phases)
    always = np.tile(HELD, phases * len(PARTS))[None]
    assert play(scenario, schedule(scenario), always, SEEDS)[0].tolist() == held_s(scenario)
    all_three = np.concatenate((HELD, HELD, HELD, [0.0]))[None]
    assert play(scenario, told(scenario), all_three, SEEDS)[0].tolist() == held_s(scenario)


def test_parts_of_a_schedule_act_in_their_phase_and_part_alone() -> None:
    scenario = tiny()
    form = schedule(scenario)
    system = LumpedSystem([scenario])
    system.reset(episode_seeds(SEEDS[:1]), ["training"])
    vectors = np.arange(form.first.size, dtype=float)[None]
    per_phase = len(PARTS) * 3
    for done, part in ((0.0, 0), (0.07, 1), (0.5, 4), (1.0, 5)):
        chosen = form.actions(vectors, system, np.array([done]), np.zeros(1))
        assert chosen.tolist() == [[3 * part, 3 * part + 1, 3 * part + 2]]
    system.advance(1.2 * float(system.reference_s[0]) / len(scenario.workload.phases))
    phase = int(system.phase[0])
    assert phase > 0
    assert form.actions(vectors, system, np.zeros(1), np.zeros(1))[0, 0] == phase * per_phase


def test_a_search_is_no_worse_than_where_it_begins_and_the_same_twice() -> None:
    scenario = tiny()
    form = told(scenario)
    found = [search(scenario, form, SEEDS, (3, 6), Journal(), unreported) for _ in range(2)]
    np.testing.assert_array_equal(*found)
    best_s, first_s = play(scenario, form, np.array([found[0], form.first]), SEEDS).mean(axis=1)
    assert best_s <= first_s


def test_seeds_of_one_order_have_that_order() -> None:
    scenario = tiny()
    seeds = seeds_of_one_order(scenario, 3)
    system = LumpedSystem([scenario] * 3)
    system.reset(episode_seeds(seeds), ["training"] * 3)
    assert seeds[0] == 20_000 and len(set(seeds)) == 3
    assert system.phase_names(0) == system.phase_names(1) == system.phase_names(2)
