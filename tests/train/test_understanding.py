"""What a policy goes by and does: features from another machine, settings in words, a small tree, and the study."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.tiny import tiny
from tests.tiny_family import tiny_family, write_family
from tierenv.action import ActionCodec
from tierenv.agents.best_static import suites_of
from tierenv.agents.bundle import BundlePolicy, TrainedOn, write_bundle
from tierenv.agents.tree import LEAF, DecisionTree
from tierenv.daemon import load_daemon
from tierenv.features import Feature, feature_columns
from tierenv.observation_spec import observation_rows
from tierenv.train import seeds as seed_blocks
from tierenv.train.episodes import Recorder, Stateless
from tierenv.train.evaluate import evaluate
from tierenv.train.journal import Journal
from tierenv.train.limits import LIMITS
from tierenv.train.studies import behaviour, learning_doc, pieces, understanding
from tierenv.train.studies.batch import ALL, Batch, Group
from tierenv.train.studies.behaviour import WORDS, Decisions
from tierenv.train.studies.generated import RESULTS
from tierenv.train.studies.importance import Permuted, columns_of, importance
from tierenv.train.studies.piece import FULL, Piece

SCENARIO = tiny()
OTHER = tiny(fast_capacity="384MiB").replace(name="roomy")
DAEMON = SCENARIO.daemon
PAST = {"stack": 3, "averages": [4], "machine": ["latency_gap"]}
LOOKED_AT = "accessed_slow"
FEW = {"features": [LOOKED_AT, "resident"], "machine": ["latency_gap"]}


def rows_of(observation: Any) -> tuple[Feature, ...]:
    return observation_rows(observation, DAEMON)


def write_policy(folder: Path, observation: Any = None) -> str:
    """Writes a bundle of a tree that looks at how many slow pages were found accessed, and at nothing else."""
    names = [column.name for column in feature_columns(rows_of(observation))]
    tree = DecisionTree(
        num_features=len(names),
        feature=np.array([names.index(LOOKED_AT), LEAF, LEAF], np.int32),
        threshold=np.array([0.9, 0, 0], np.float32),
        left=np.array([1, LEAF, LEAF], np.int32),
        right=np.array([2, LEAF, LEAF], np.int32),
        value=np.array([[0, 0, 0], [-0.9, 0.9, -1], [-0.9, 0.9, 1]], np.float32),
    )
    write_bundle(
        folder,
        name="thrifty",
        model=tree,
        daemon=DAEMON,
        scenarios=[TrainedOn(name="tiny")],
        training={},
        observation=observation,
    )
    return str(folder)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> BundlePolicy:
    return BundlePolicy.load(Path(write_policy(tmp_path_factory.mktemp("policies") / "thrifty", PAST)))


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Two scenarios with three seeds each."""
    return Batch((SCENARIO, OTHER), seed_blocks.block(seed_blocks.EVALUATION, 3, "seeds"), Journal())


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = {"regions": 4, "control_interval": "500ms"}
    return write_family(tmp_path_factory.mktemp("family"), tiny_family(base=base))


def permuted(observations: list[NDArray[np.float32]], is_done: list[list[bool]], columns: list[int]) -> Any:
    """Returns what an actor sees at each step."""
    seen: list[NDArray[np.float32]] = []
    system: Any = SimpleNamespace(is_done=np.zeros(len(observations[0]), bool))
    actor = Permuted(
        Stateless(lambda observation: (seen.append(observation), observation)[1]), system, np.array(columns)
    )
    actor.reset(len(observations[0]))
    for observation, done in zip(observations, is_done, strict=True):
        system.is_done = np.array(done)
        actor.act(observation)
    return seen


def test_every_machine_takes_all_columns_from_one_other_that_runs_and_keeps_the_rest() -> None:
    observation = np.arange(24, dtype=np.float32).reshape(6, 4)
    done = [False, False, True, False, False, False]
    running = [index for index in range(6) if not done[index]]
    for order in ([False] * 6, done):
        seen = permuted([observation] * 2, [order] * 2, [1, 3])
        np.testing.assert_array_equal(*seen)  # who gives is drawn once for the episode
        np.testing.assert_array_equal(seen[0][:, [0, 2]], observation[:, [0, 2]])
    donors = [int(np.flatnonzero(observation[:, 1] == row[1])[0]) for row in seen[0][running]]
    np.testing.assert_array_equal(seen[0][running][:, 3], observation[donors, 3])
    assert sorted(donors) == running and all(donor != index for donor, index in zip(donors, running, strict=True))


def test_the_last_machine_that_runs_keeps_what_it_took_last() -> None:
    first, second = (
        np.full((3, 1), number, np.float32) + np.arange(3, dtype=np.float32)[:, None] for number in (0, 10)
    )
    seen = permuted([first, second], [[False] * 3, [True, False, True]], [0])
    assert seen[1][1, 0] == seen[0][1, 0] != first[1, 0]


def test_columns_of_a_feature_s_histories_go_together() -> None:
    names = [column.name for column in feature_columns(rows_of(PAST))]
    columns = columns_of(rows_of(PAST))
    assert {names[index] for index in columns[LOOKED_AT]} == {
        LOOKED_AT,
        f"{LOOKED_AT}_1_ago",
        f"{LOOKED_AT}_2_ago",
        f"{LOOKED_AT}_average_4",
    }
    assert [names[index] for index in columns["latency_gap"]] == ["latency_gap"]
    assert sorted(np.concatenate([*columns.values()])) == list(range(len(names)))


def test_a_feature_that_nobody_looks_at_matters_not_at_all_and_the_only_one_does(
    policy: BundlePolicy, batch: Batch
) -> None:
    assert policy.observation is not None
    own = batch.run(policy)
    changes = {
        name: importance(batch, policy, columns, own, name).changes
        for name, columns in columns_of(policy.observation).items()
    }
    changed = {name for name, found in changes.items() if np.any(found)}
    assert changed == {LOOKED_AT} and len(changes) > 10


def test_what_is_lost_is_told_in_units_of_no_migration_by_what_is_at_stake(policy: BundlePolicy, batch: Batch) -> None:
    own = batch.run(policy)
    columns = columns_of(rows_of(PAST))[LOOKED_AT]
    others = batch.run(policy, lambda actor, system: Permuted(actor, system, columns))
    still_s = batch.no_migration.objective.reshape(2, 3).mean(axis=1, keepdims=True)
    expected = (others.objective - own.objective).reshape(2, 3) / still_s
    found = importance(batch, policy, columns, own, LOOKED_AT)
    for members in ((0, 1), (1,)):
        estimate = found.of(Group("some", "", members))
        assert estimate.value == pytest.approx(expected[list(members)].mean())
        assert estimate.low < estimate.value < estimate.high


def test_episodes_are_those_of_an_evaluation(
    tmp_path: Path, policy: BundlePolicy, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(LIMITS, "no_foresight")  # takes longer than all the rest
    for number, scenario in enumerate(batch.scenarios):
        path = tmp_path / "tiny.yaml"
        path.write_text(json.dumps(scenario.model_dump(mode="json")))
        (row,) = evaluate(str(path), ["mine"], 3, load=lambda _name, _scenario: policy).rows
        assert row.bounds is not None
        outcome = batch.outcomes({"mine": batch.run(policy)}, {})[number]
        np.testing.assert_array_equal(outcome.runs["mine"], row.episodes.objective)
        np.testing.assert_array_equal(outcome.no_migration, row.bounds.no_migration)
        np.testing.assert_array_equal(outcome.limits["clairvoyant"], row.bounds.clairvoyant)


def test_groups_are_all_and_the_classes_that_have_scenarios(batch: Batch) -> None:
    everything, *classes = batch.groups
    assert (everything.name, everything.members) == (ALL, (0, 1))
    stakes = {outcome.scenario: outcome.stake for outcome in batch.outcomes({}, {})}
    for group in classes:
        for number in group.members:
            stake = stakes[batch.scenarios[number].name]
            assert stake is not None and (stake.name, stake.short_words) == (group.name, group.words)
    assert sorted(number for group in classes for number in group.members) == [0, 1]


CODEC = ActionCodec(DAEMON)
EVERY = Group(ALL, "all", (0,))


def decisions(coordinates: list[list[float]], early: int = 1, weight: list[float] | None = None) -> Decisions:
    """Returns decisions of one scenario, of which the first are early."""
    count = len(coordinates)
    return Decisions(
        observations=np.linspace(-1, 1, count, dtype=np.float32)[:, None].repeat(
            len(feature_columns(rows_of(None))), 1
        ),
        coordinates=np.array(coordinates),
        scenario=np.zeros(count, np.intp),
        is_early=np.arange(count) < early,
        weight=np.ones(count) if weight is None else np.array(weight),
    )


def test_words_are_thirds_of_a_range_and_its_own_settings() -> None:
    low, middle, high = -0.9, 0.0, 0.9
    found = behaviour.words(np.array([[low, middle, -1], [high, low, 1], [1, -1, -0.4], [0, 0, 0.5]]), CODEC)
    expected = [
        ["low", "middle", "off"],
        ["high", "low", "unlimited"],
        ["high", "low", "low"],
        ["middle", "middle", "high"],
    ]
    assert [[WORDS[word] for word in row] for row in found] == expected
    assert behaviour.ranges_of("throttle", CODEC) == {
        "off": "0B/s",
        "low": "1MiB/s to 16MiB/s",
        "middle": "16MiB/s to 256MiB/s",
        "high": "256MiB/s to 4GiB/s",
        "unlimited": "unlimited",
    }


def test_every_daemon_s_tunables_have_words_for_their_ranges() -> None:
    for name in ("kmmscand-threshold", "numa-balancing"):
        daemon = load_daemon(name)
        codec = ActionCodec(daemon)
        for tunable in daemon.tunables:
            assert set(behaviour.ranges_of(tunable, codec)) >= {"low", "middle", "high"}
    thirds = behaviour.ranges_of("access_threshold", ActionCodec(load_daemon("kmmscand-threshold")))
    assert thirds == {
        "low": "2 windows to 4 windows",
        "middle": "4 windows to 8 windows",
        "high": "8 windows to 16 windows",
    }


def test_shares_count_every_episode_the_same_and_add_up() -> None:
    off, on = [-0.9, 0.9, -1.0], [-0.9, 0.9, 1.0]
    found = behaviour.settings(decisions([off, on, off, on], weight=[1, 1, 3, 1]), CODEC, [EVERY])
    shares = {row["setting"]["throttle_bytes_per_s"]: row["shares"][ALL] for row in found["settings"]}
    assert shares == {"unlimited": {"first_tenth": 0, "after": 0.4}, "off": {"first_tenth": 1, "after": 0.6}}
    assert list(shares) == ["off", "unlimited"] and found["others"][ALL] == {"first_tenth": 0, "after": 0}


def test_quantiles_are_settings_that_were_in_force() -> None:
    given = decisions([[-1, 1, -1], [-1, 1, 1], [1, 1, 1]], early=0, weight=[8, 1, 1])
    low, middle, high = behaviour.quantiles(given, given.of(EVERY, "after"), CODEC, DAEMON)
    assert (low, middle) == (middle, low) and middle["throttle_bytes_per_s"] == 0 and middle["scan_period_ms"] == 100
    assert high["throttle_bytes_per_s"] is None and high["scan_period_ms"] == 100
    assert behaviour.quantiles(given, given.of(EVERY, "first_tenth"), CODEC, DAEMON) == []


def test_correlations_are_of_ranks_and_there_is_none_of_what_never_varies() -> None:
    given = decisions([[-1, 0.5, 1], [-0.9, 0.5, 0.4], [1, 0.5, -1]])
    found = behaviour.correlations(given, CODEC, rows_of(None))[LOOKED_AT]
    assert found["scan_period_ms"] == pytest.approx(1) and found["throttle_bytes_per_s"] == pytest.approx(-1)
    assert found["scan_size_bytes"] is None


def test_decisions_are_those_of_machines_that_run_and_a_tenth_is_early(batch: Batch) -> None:
    system: Any = SimpleNamespace(is_done=np.zeros(6, bool))
    recorder = Recorder(Stateless(lambda observation: observation), system)
    width = len(feature_columns(rows_of(None)))
    for step in range(20):
        system.is_done = np.array([step >= 10] * 3 + [False] * 3)
        recorder.act(np.full((6, width), step / 20, np.float32))
    given = behaviour.decisions_of(recorder, batch, lambda observation: observation[:, :3], CODEC)
    assert len(given.weight) == 3 * 10 + 3 * 20
    assert [int(given.is_early[given.scenario == number].sum()) for number in (0, 1)] == [3 * 1, 3 * 2]
    for part in behaviour.PARTS:
        assert given.weight[given.of(Group(ALL, "", (0, 1)), part)].sum() == pytest.approx(6)


@pytest.fixture(scope="module")
def run_study(family: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Returns what makes the study in little and returns its result."""
    folder = tmp_path_factory.mktemp("study")
    named = write_policy(folder / "thrifty", FEW)

    def run(**options: Any) -> dict[str, Any]:
        output = folder / "understanding.json"
        given = {"suite": f"{family}:selection:2", "seeds": 3, "training": 2, "depth": 2, "output": output} | options
        arguments = [word for key, value in given.items() for word in (f"--{key}", str(value))]
        assert understanding.main([named, *arguments]) == 0
        content: dict[str, Any] = json.loads(output.read_text())
        return content

    return run


@pytest.fixture(scope="module")
def result(run_study: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(understanding, "ROUNDS", 2)
        return run_study()


def test_a_study_tells_what_the_policy_goes_by_and_finds_it_in_a_tree(result: dict[str, Any]) -> None:
    policy = result["policy"]
    assert (Path(policy).name, result["daemon"], len(result["seeds"])) == ("thrifty", DAEMON.name, 3)
    changes = {row["feature"]: row["changes"] for row in result["importance"]}
    assert set(changes) == {LOOKED_AT, "resident", "latency_gap"}
    for feature, by_group in changes.items():
        assert set(by_group) == {group["name"] for group in result["groups"]}
        assert (by_group[ALL]["ci95"] == [0, 0]) == (feature != LOOKED_AT)
    ranked = [by_group[ALL]["change"] for by_group in changes.values()]
    assert ranked == sorted(ranked, reverse=True)
    assert result["everything"]["changes"] == changes[LOOKED_AT]  # for it looks at nothing else

    tree = result["tree"]
    assert set(tree["legend"]) == {LOOKED_AT} and tree["rules"][0].startswith(f"if {LOOKED_AT} <= ")
    assert tree["agreement"]["scan_period_ms"] == 1 and tree["agreement"]["throttle_bytes_per_s"] > 0.5
    assert tree["trained_on"] == ["tiny-training-0", "tiny-training-1"]
    standings = result["comparison"][ALL]
    constants = {f"one-static:{suite}": "constant" for suite in suites_of(DAEMON.name)}
    assert {name: row["kind"] for name, row in standings.items()} == constants | {
        policy: "learned",
        "tree": "learned",
        "built-in": "rule",
        "no-migration": "nothing",
        "clairvoyant": "bound",
    }
    assert standings["no-migration"]["time_over_no_migration"]["ratio"] == 1
    assert any("scan_period" in line for line in result["kernel_rule"])


def test_one_setting_that_is_stored_for_the_daemon_is_a_rival(
    family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.train.test_rivals import TUNED, stored  # of the shape of what tune stores
    from tierenv.agents.best_static import OneStatic, write_one_static

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    one = OneStatic(scenarios=("a", "b"), relative_time=0.9, **stored(SCENARIO), **TUNED)
    write_one_static("mine", one, tmp_path / "data" / "tierenv" / "best-static.json")
    options = understanding.Understanding(write_policy(tmp_path / "thrifty"), f"{family}:selection:2", 1, 2)
    assert "one-static:mine" in understanding.subject_of(options, Journal()).rivals


def test_the_document_says_what_was_found(
    result: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "understanding.json"
    path.write_text(json.dumps(result))
    monkeypatch.setattr(learning_doc, "RESULTS", tmp_path)
    text = learning_doc.render(learning_doc.LEARNING_DOC.read_text(encoding="utf-8"))
    assert learning_doc.render(text) == text
    assert "`thrifty` on daemon `kmmscand-tunable`" in text and "2 scenarios with 3 episodes each" in text
    order = [text.index(f"| `{row['feature']}` | {row['meaning']} | ") for row in result["importance"]]
    assert order == sorted(order)
    assert f"\nif {LOOKED_AT} <= " in text and "For comparison, what the kernel does" in text
    assert "| `built-in` | " in text and "| *clairvoyant* | " in text
    for row in result["behaviour"]["settings"]:
        assert f"| {' | '.join(row['setting'].values())} | " in text
    assert "nan" not in text and "None" not in text and "given up" not in text

    first, *others = result["importance"]
    path.write_text(json.dumps(result | {"importance": [first | {"truncated_runs": 1}, *others]}))
    assert f"runs were given up: `{first['feature']}`." in learning_doc.render(text)


def test_the_document_is_current() -> None:
    text = learning_doc.LEARNING_DOC.read_text(encoding="utf-8")
    assert learning_doc.render(text) == text, "run: python -m tierenv.train.studies.learning_doc"


def test_without_a_result_the_document_says_how_to_make_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning_doc, "RESULTS", tmp_path)
    text = learning_doc.render(learning_doc.LEARNING_DOC.read_text(encoding="utf-8"))
    assert text.count("Not made yet: `python -m tierenv.train.studies.understanding") == 3


def test_the_generalist_is_understood_once_it_is_shipped() -> None:
    other, generalist = (Piece(f"policy-{name}", (), (), ()) for name in ("abench", pieces.GENERALIST))
    assert pieces._understood(FULL, [other], []) == []
    (piece,) = pieces._understood(FULL, [other, generalist], [])
    assert piece.needs == (generalist,) and piece.outputs == (RESULTS / "understanding.json",)
    assert piece.commands[0][-2:] == ("--output", str(RESULTS / "understanding.json"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"suite": "generalist:final"}, "--suite=generalist:final: a final set is not for looks on the way"),
        ({"suite": "generalist:selection:1", "seeds": 1}, "--seeds=1: there must be another machine"),
        ({"suite": "nothing"}, "unknown suite or scenario 'nothing'"),
        ({"suite": "moving-hot-set", "seeds": 2}, "unknown scenario 'tiny'"),
        ({"seeds": 0}, "--seeds=0: must be"),
        ({"depth": 0}, "--depth=0: must be 1 to 12"),
        ({"training": 0}, "--training=0: must be at least 1"),
        ({"training": 8001}, "--training: 8001 scenarios of generalist:training: must be 1 to 8000"),
        ({"policy": "built-in"}, "policy 'built-in' is not learned"),
        ({"output": "no/folder"}, "no/folder"),
    ],
)
def test_bad_input_is_one_line(
    options: dict[str, Any],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no").write_text("no folder")
    policy = options.get("policy") or write_policy(tmp_path / "thrifty")
    arguments = [word for key, value in options.items() if key != "policy" for word in (f"--{key}", str(value))]
    assert understanding.main([policy, *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_a_scenario_that_judges_no_time_is_refused() -> None:
    with pytest.raises(Exception, match="its objective is no time"):
        Batch((tiny(objective="access-time"),), [10_000], Journal())
