"""Search for the best static setting."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from tests.tiny import setting_of_three
from tierenv.action import ActionCodec
from tierenv.agents import best_static
from tierenv.agents.heuristics import StaticPolicy
from tierenv.agents.policies import load_policy
from tierenv.agents.policy import scenario_for
from tierenv.daemon import load_daemon
from tierenv.errors import ConfigError
from tierenv.scenario import Scenario, load_scenario
from tierenv.task import simulated_task
from tierenv.train import seeds
from tierenv.train.config import load_suite
from tierenv.train.episodes import run_episodes
from tierenv.train.search import (
    SearchResult,
    SuiteSearchResult,
    save_best_static,
    save_search,
    screening,
    search,
    search_target,
)
from tierenv.train.search.samplers import grid, grid_size, random
from tierenv.train.search.screening import Tried
from tierenv.tunables import TUNABLES, setting_of

DAEMON = load_daemon("kmmscand-tunable")
SCENARIO = load_scenario("skewed")


def test_grid_spans_the_ranges_with_both_special_settings() -> None:
    settings = grid(DAEMON, grid_size(DAEMON))
    assert settings.shape == (144, len(TUNABLES)) and np.isnan(settings[:, 3:]).all()
    settings = settings[:, :3]
    assert len(np.unique(settings, axis=0)) == 144
    for column, bounds in zip(settings.T, DAEMON.tunables.values(), strict=True):
        inner = column[(column > 0) & np.isfinite(column)]
        assert (inner.min(), inner.max()) == pytest.approx((bounds.min, bounds.max))
    assert [len(np.unique(column)) for column in settings.T] == [6, 4, 6]
    assert {0.0, math.inf} <= set(settings[:, 2])
    for setting in settings:
        DAEMON.check_setting(setting_of_three(*setting))


def test_random_settings_lie_in_the_ranges_and_repeat() -> None:
    settings = random(DAEMON, 50)
    np.testing.assert_array_equal(settings, random(DAEMON, 50))
    for setting in settings:
        DAEMON.check_setting(setting_of(setting, DAEMON.tunables))


def test_a_kernel_s_defaults_are_a_point_of_its_grid_more_and_it_can_promote_nothing() -> None:
    daemon = load_daemon("numa-balancing")
    settings = grid(daemon, grid_size(daemon))
    assert len(settings) == grid_size(daemon) == 6 * 4 * 6 * 4 + 1
    assert setting_of(settings[-1], daemon.tunables) == daemon.start_setting
    assert 0.0 in settings[:, list(TUNABLES).index("throttle")]
    for setting in settings:
        daemon.check_setting(setting_of(setting, daemon.tunables))


def test_the_grid_of_a_counted_tunable_has_whole_numbers() -> None:
    settings = grid(load_daemon("kmmscand-threshold"), 0)
    assert len(settings) == 576
    assert set(settings[:, list(TUNABLES).index("access_threshold")]) == {2, 4, 8, 16}


def test_another_daemon_can_take_the_place_of_the_scenario_s(scenario_path: Path) -> None:
    result = search_target(str(scenario_path), "random", trials=3, num_seeds=1, daemon="numa-balancing")
    assert isinstance(result, SearchResult)
    assert result.scenario.daemon.name == "numa-balancing"
    assert set(result.winner.setting.values) == set(load_daemon("numa-balancing").tunables)


def test_winner_is_the_best_of_fresh_episodes(scenario_path: Path) -> None:
    result = search(load_scenario(str(scenario_path)), num_seeds=2)
    seconds = [finalist.seconds.value for finalist in result.finalists]
    assert len(seconds) == 8 and seconds == sorted(seconds) and result.winner.seconds.value == seconds[0]
    assert result.fresh_seeds == [seeds.TUNING + index for index in range(2, 6)]
    assert result.budget.trials == 144
    assert result.budget.episodes == 144 * 2 + 8 * 4
    assert result.budget.env_steps > result.budget.episodes
    content = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert content["finalists"][0]["policy"].startswith("static:")


def test_batches_do_not_change_the_result(scenario_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = search(load_scenario(str(scenario_path)), "random", trials=7, num_seeds=2)
    monkeypatch.setattr(screening, "MACHINES_AT_ONCE", 5)
    parts = search(load_scenario(str(scenario_path)), "random", trials=7, num_seeds=2)
    assert whole.finalists == parts.finalists


def test_winner_can_be_stored_and_played(scenario_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    result = search(load_scenario(str(scenario_path)), "random", trials=3, num_seeds=1)
    save_best_static(result, "tierenv tune", best_static.check_storage())
    found = best_static.find_best_static(load_scenario(str(scenario_path)))
    assert found.setting_for(DAEMON) == result.winner.setting
    assert (found.scenario, found.trials, found.command) == (result.scenario.name, 3, "tierenv tune")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "tpee"}, "--sampler=tpee: must be one of grid, random, tpe, cmaes, gp; did you mean 'tpe'"),
        ({"sampler": "tpe", "trials": 0}, "--trials=0: must be 1 to 10000 of --sampler tpe"),
        ({"sampler": "tpe", "sampler_seed": -1}, "--sampler-seed=-1: must be 0 to 999999"),
        ({"sampler_seed": 1}, "--sampler-seed=1: the grid is the same for every seed"),
        ({"trials": 10}, "the grid has 144 points"),
        ({"sampler": "random", "trials": 0}, "--trials=0: must be 1 to 100000"),
        ({"sampler": "random", "trials": 10**11}, "--trials=100000000000: must be 1 to 100000"),
        ({"num_seeds": 0}, "--seeds=0"),
    ],
)
def test_bad_requests_say_what_is_wrong(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        search(SCENARIO, **options)  # type: ignore[arg-type]


@pytest.fixture
def suite_path(scenario_path: Path) -> Path:
    """A suite of the tiny scenario and one with twice its fast tier."""
    other = scenario_path.with_name("other.yaml")
    other.write_text(f"like: {scenario_path}\nfast_capacity: 256MiB\n")
    path = scenario_path.with_name("both.yaml")
    path.write_text(f"scenarios: [{scenario_path}, {other}]\n")
    return path


def test_of_a_suite_each_scenario_is_searched_as_alone_and_one_setting_is_best_for_all(suite_path: Path) -> None:
    result = search_target(str(suite_path), "random", trials=12, num_seeds=2)
    assert isinstance(result, SuiteSearchResult)
    alone = [search(scenario, "random", 12, 2) for scenario in load_suite(str(suite_path)).scenarios]
    assert [each.finalists for each in result.results] == [each.finalists for each in alone]
    left_alone_s = [left_alone(each.scenario, each.fresh_seeds) for each in alone]
    assert [row.relative_time for row in result.finalists] == sorted(row.relative_time for row in result.finalists)
    for finalist in result.finalists:
        shares = [
            seconds.value / unmoved_s
            for each, unmoved_s in zip(alone, left_alone_s, strict=True)
            for row in each.finalists
            for setting, seconds in [(row.setting, row.seconds)]
            if setting == finalist.setting
        ]
        if len(shares) == len(alone):
            assert finalist.relative_time == pytest.approx(np.mean(shares))
    json.dumps(result.to_json(), allow_nan=False)


def left_alone(scenario: Scenario, seeds: list[int]) -> float:
    """Mean time without migration [s]."""
    policy = load_policy("no-migration", scenario)
    task = simulated_task([scenario_for(policy, scenario)] * len(seeds), max_time_multiple=20)
    return float(run_episodes(task, policy, seeds).seconds.mean())


def test_what_a_suite_s_search_found_is_stored_and_played(
    suite_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    result = search_target(str(suite_path), "random", trials=3, num_seeds=1)
    assert isinstance(result, SuiteSearchResult)
    save_search(result, "tierenv tune", best_static.check_storage())
    for each in result.results:
        assert best_static.find_best_static(each.scenario).setting_for(DAEMON) == each.winner.setting
        policy = load_policy("one-static:both", each.scenario)
        assert isinstance(policy, StaticPolicy) and policy.setting == result.winner.setting
    with pytest.raises(ConfigError, match="suite 'bth' with daemon .*; did you mean 'both'"):
        load_policy("one-static:bth", result.results[0].scenario)


def test_one_setting_for_all_needs_one_daemon(suite_path: Path) -> None:
    mixed = suite_path.with_name("mixed.yaml")
    mixed.write_text("scenarios: [skewed, pmbench]\n")
    with pytest.raises(ConfigError, match="one setting for all needs one daemon, got kmmscand-tunable, numa-balancing"):
        search_target(str(mixed))


def test_a_setting_that_promotes_nothing_is_always_judged() -> None:
    throttle = list(TUNABLES).index("throttle")
    settings = np.full((12, len(TUNABLES)), 7.0)
    settings[[2, 9], throttle] = 0.0
    objective = np.arange(12.0)
    objective[2:4] = 3.0, 2.0
    tried = Tried(settings, objective, objective, np.ones(12, np.int64), np.ones(12))
    assert tried.best(3).tolist() == [0, 1, 2]
    assert tried.best(4).tolist() == [0, 1, 3, 2]
    settings[2, throttle] = 7.0
    assert tried.best(4).tolist() == [0, 1, 3, 9]
    settings[:, throttle] = 1.0
    assert tried.best(4).tolist() == [0, 1, 3, 2]


def test_the_grid_still_holds_every_packaged_best_setting_and_random_draws_as_ever() -> None:
    packaged = best_static.read_best_static(best_static.packaged_path()).scenarios.values()
    stored = [best for best in packaged if "--sampler random" not in str(best.command)]
    assert len(stored) > 10
    for name in {best.daemon for best in stored}:
        daemon = load_daemon(name)
        rows = grid(daemon, grid_size(daemon))
        for best in stored:
            if best.daemon == name and set(best.setting) == {TUNABLES[each].symbol for each in daemon.tunables}:
                assert (np.nan_to_num(rows, nan=-1) == np.nan_to_num(best.setting_for(daemon).row, nan=-1)).all(1).any()
    draws = np.random.default_rng(20_000).uniform(-1, 1, (9, 3))
    np.testing.assert_array_equal(random(DAEMON, 9), ActionCodec(DAEMON).decode(draws))
