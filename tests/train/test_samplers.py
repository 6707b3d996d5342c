"""Samplers that propose: what they find, that they go on where they were stopped, and the file of --storage."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from tests.tiny import tiny
from tierenv.action import ActionCodec
from tierenv.daemon import load_daemon
from tierenv.errors import ConfigError
from tierenv.train.cli import main
from tierenv.train.journal import Journal
from tierenv.train.search import SuiteSearchResult, screening, search, search_target
from tierenv.train.search.proposals import ROUND, StudyProposals
from tierenv.train.search.samplers import SAMPLERS
from tierenv.train.search.screening import screen, try_on

PROPOSING = [name for name, row in SAMPLERS.items() if row.proposes]
DAEMON = load_daemon("kmmscand-tunable")
SCENARIO = tiny()


def found(sampler: str, trials: int, **options: Any) -> dict[str, Any]:
    """Returns all that a search of the tiny scenario comes to, but for the wall time."""
    content = search(SCENARIO, sampler, trials, 1, 2, **options).to_json()
    content["budget"] = {key: value for key, value in content["budget"].items() if key != "wall_s"}
    return content


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Returns what lets the batches of settings be run so many times, and then stops."""
    play, left = screening._play, [0]

    def limited(*arguments: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return play(*arguments)

    def limit(batches: int) -> None:
        left[0] = batches
        monkeypatch.setattr(screening, "_play", limited)

    return limit


@pytest.mark.parametrize("sampler", PROPOSING)
def test_a_sampler_that_proposes_improves_on_the_first_quarter_of_its_trials(sampler: str) -> None:
    for seed in (1, 2, 3)[: 1 if sampler == "gp" else 3]:
        proposals = SAMPLERS[sampler].start(DAEMON, 4 * ROUND, seed)
        tried = screen(partial(try_on, SCENARIO, [20_000], Journal()), proposals, 4 * ROUND, 128)
        assert tried.objective.min() < 0.995 * tried.objective[:ROUND].min()


@pytest.mark.parametrize("sampler", [*PROPOSING, "random"])
def test_settings_are_the_sampler_s_own_and_another_seed_s_are_others(sampler: str) -> None:
    def first_round(seed: int) -> np.ndarray:
        coordinates, settings = SAMPLERS[sampler].start(DAEMON, ROUND, seed).ask(ROUND)
        np.testing.assert_array_equal(settings, ActionCodec(DAEMON).decode(coordinates))
        return settings

    np.testing.assert_array_equal(first_round(3), first_round(3))
    assert not np.array_equal(first_round(3), first_round(4))


@pytest.mark.parametrize("num_asked", [1, ROUND - 1])
def test_settings_of_a_round_do_not_depend_on_how_many_of_it_are_asked_for(num_asked: int) -> None:
    rounds = []
    for last in (num_asked, ROUND):
        proposals = SAMPLERS["tpe"].start(DAEMON, 3 * ROUND, 0)
        for _ in range(2):
            coordinates, _ = proposals.ask(ROUND)
            proposals.tell((coordinates**2).sum(axis=1))
        rounds.append(proposals.ask(last)[0])
    np.testing.assert_array_equal(rounds[0], rounds[1][:num_asked])


class Watched(optuna.samplers.RandomSampler):
    """Notes how many threads it might use: what a Gaussian process proposes differs with them after some rounds."""

    num_threads = 0

    def sample_independent(self, *arguments: Any) -> Any:
        self.num_threads = max(pool["num_threads"] for pool in threadpool_info())
        return super().sample_independent(*arguments)


def test_one_thread_proposes() -> None:
    sampler = Watched()
    with threadpool_limits(2):
        StudyProposals(DAEMON, sampler).ask(1)
        assert sampler.num_threads == 1
        assert max(pool["num_threads"] for pool in threadpool_info()) == 2


@pytest.mark.parametrize(("sampler", "stops"), [("random", [1]), ("tpe", [0, 1, 2]), ("cmaes", [0, 1, 2]), ("gp", [2])])
def test_a_search_goes_on_bit_for_bit_where_it_was_stopped(
    sampler: str, stops: list[int], tmp_path: Path, stop_after: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screening, "MACHINES_AT_ONCE", ROUND)
    whole = found(sampler, 3 * ROUND - 3)
    for stop in stops:
        path = tmp_path / f"{stop}.log"
        stop_after(stop)
        with pytest.raises(KeyboardInterrupt):
            found(sampler, 3 * ROUND - 3, storage=path)
        with path.open("ab") as file:
            file.write(b'{"op_code":4,"worker')  # torn by a kill
        stop_after(99)
        assert found(sampler, 3 * ROUND - 3, storage=path) == whole


def test_what_is_stored_is_not_run_again_and_more_trials_go_on_from_there(
    tmp_path: Path, stop_after: Callable[[int], None]
) -> None:
    path = tmp_path / "trials.log"
    found("cmaes", ROUND + 3, storage=path)
    first = path.read_bytes()
    stop_after(2)  # the finalists and the other incumbents, which are no trials
    found("cmaes", ROUND + 3, storage=path)
    assert path.read_bytes() == first
    stop_after(99)
    assert found("cmaes", 3 * ROUND, storage=path) == found("cmaes", 3 * ROUND)
    assert path.read_bytes().startswith(first)


def test_optuna_reads_what_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "trials.log"
    content = found("tpe", 12, storage=path)
    found("random", 12, storage=path)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    names = sorted(study.study_name for study in optuna.get_all_study_summaries(storage))
    assert names == [f"{SCENARIO.name} {DAEMON.name} {sampler} 0" for sampler in ("random", "tpe")]
    study = optuna.load_study(study_name=names[1], storage=storage)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 12
    last = content["curve"]["incumbents"][-1]
    assert study.best_trial.number == last["trials"] - 1
    assert study.best_trial.user_attrs["policy"] == last["policy"]
    assert sum(trial.user_attrs["machine_s"] for trial in study.trials) == pytest.approx(content["curve"]["machine_s"])


def spoil(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Changes every entry of a journal."""
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    for entry in entries:
        change(entry)
    path.write_text("".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries))


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_nothing_of_the_file_is_unpickled(tmp_path: Path) -> None:
    path, trap = tmp_path / "trials.log", tmp_path / "trap"
    whole = found("cmaes", 2 * ROUND, storage=path)
    attributes = {"cma:optimizer:0": pickle.dumps(Evil(trap)).hex(), "cma:generation": 0}
    spoil(path, lambda entry: entry.update({"system_attrs": attributes} if entry["op_code"] == 4 else {}))
    more = found("cmaes", 3 * ROUND, storage=path)
    assert more["curve"]["incumbents"][0] == whole["curve"]["incumbents"][0] and not trap.exists()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Returns a file of three trials."""
    path = tmp_path_factory.mktemp("stored") / "trials.log"
    found("cmaes", 3, storage=path)
    return path.read_bytes()


def attributes(entry: dict[str, Any]) -> dict[str, Any]:
    return entry.get("user_attr", {}).get("tierenv", {})  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_text("name: yaml\n"), ":1: is no line of a journal of Optuna"),
        (lambda path: path.write_text("precious"), ":1: is no line of a journal of Optuna"),
        (lambda path: path.write_bytes(b'{"op_code":' + b"[" * 100_000 + b"\n"), ":1: is no line of a journal"),
        (lambda path: path.write_text('{"op_code":9}\n'), "is no journal of Optuna that can be read: KeyError"),
        (lambda path: path.write_bytes(path.read_bytes()[:-300] + b"\n"), ": is no line of a journal of Optuna"),
        (lambda path: spoil(path, lambda entry: entry.pop("directions", 0)), "that can be read: KeyError"),
        (lambda path: spoil(path, lambda entry: entry.pop("params", 0)), "trial 0: is not what this search tries"),
        (lambda path: spoil(path, lambda entry: entry.pop("user_attr", 0)), "that can be read: KeyError"),
        (lambda path: spoil(path, lambda entry: entry.get("user_attr", {}).clear()), "that can be read"),
        (
            lambda path: spoil(path, lambda entry: entry.get("user_attrs", {}).update(env_steps="7")),
            "trial 0: env_steps",
        ),
        (lambda path: spoil(path, lambda entry: entry.get("user_attrs", {}).clear()), "trial 0: "),
        (
            lambda path: spoil(path, lambda entry: entry.update({"value": -1.0} if "value" in entry else {})),
            "trial 0: value=-1",
        ),
        (
            lambda path: spoil(path, lambda entry: entry.update({"state": 3} if "state" in entry else {})),
            "trial 0: is not what this search tries",
        ),
        (
            lambda path: spoil(path, lambda entry: entry.get("params", {}).update(throttle=0.25)),
            "trial 0: is not what this search tries then",
        ),
        (lambda path: spoil(path, lambda entry: attributes(entry).update(seeds=[7])), "is of other seeds"),
        (lambda path: spoil(path, lambda entry: attributes(entry).update(scenarios=["x"])), "is of another scenario"),
        (lambda path: spoil(path, lambda entry: attributes(entry).update(made_by="x")), "is of another version of"),
        (lambda path: spoil(path, lambda entry: attributes(entry).update(schema=2)), "tierenv: schema=2"),
        (lambda path: spoil(path, lambda entry: entry.update(user_attr={"tierenv": 7}) if attributes(entry) else 0),
         "was not written by tierenv tune"),
        (lambda path: (path.unlink(), path.mkdir()), ": is a folder"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "must be a file, not a pipe or a device"),
    ],
)  # fmt: skip
def test_a_spoiled_or_foreign_file_is_one_line_and_stays_as_it_is(
    change: Callable[[Path], Any],
    message: str,
    stored: bytes,
    tmp_path: Path,
    scenario_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "trials.log"
    command = ["tune", str(scenario_path), *"--sampler cmaes --trials 3 --seeds 1 --storage".split(), str(path)]
    path.write_bytes(stored)
    change(path)
    before = path.read_bytes() if path.is_file() else None
    assert main(command) == 2
    output = capsys.readouterr()
    [line] = [line for line in output.err.splitlines() if not line.startswith("searching")]
    assert message in line and str(path) in line and output.out == ""
    assert before is None or path.read_bytes() == before


def test_two_searches_at_once_do_not_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "trials.log"
    found("random", 1, storage=path)
    with path.open() as file:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another tierenv tune is writing it"):
            found("random", 1, storage=path)


def test_of_a_suite_the_one_setting_for_all_is_a_study_of_its_own(scenario_path: Path, tmp_path: Path) -> None:
    other = scenario_path.with_name("other.yaml")
    other.write_text(f"like: {scenario_path}\nfast_capacity: 256MiB\n")
    suite = scenario_path.with_name("both.yaml")
    suite.write_text(f"scenarios: [{scenario_path}, {other}]\n")
    path = tmp_path / "trials.log"
    result = search_target(str(suite), "tpe", 2 * ROUND + 1, 1, storage=path)
    assert isinstance(result, SuiteSearchResult)
    alone = [search(each.scenario, "tpe", 2 * ROUND + 1, 1) for each in result.results]
    assert [each.finalists for each in result.results] == [each.finalists for each in alone]
    assert [each.budget.episodes for each in result.results] == [2 * ROUND + 1 + 8 * 2] * 2
    assert result.budget.episodes == 2 * (2 * ROUND + 1) + 2 * 8 * 2
    assert result.budget.machine_s > max(each.budget.machine_s for each in alone)
    studies = [json.loads(line).get("study_name") for line in path.read_text().splitlines()]
    assert [name for name in studies if name][2] == "all of both kmmscand-tunable tpe 0"
    again = search_target(str(suite), "tpe", 2 * ROUND + 1, 1, storage=path)
    assert isinstance(again, SuiteSearchResult) and again.finalists == result.finalists


def test_a_search_without_storage_goes_on_from_its_journal(tmp_path: Path, stop_after: Callable[[int], None]) -> None:
    whole = found("cmaes", 3 * ROUND)
    with (tmp_path / "journal").open("w+b") as file:
        stop_after(2)
        with pytest.raises(KeyboardInterrupt):
            found("cmaes", 3 * ROUND, journal=Journal(file))
    stop_after(3)  # a round, the finalists and other incumbents
    with (tmp_path / "journal").open("r+b") as file:
        assert found("cmaes", 3 * ROUND, journal=Journal(file)) == whole


def test_a_search_that_was_killed_comes_to_the_same(scenario_path: Path, tmp_path: Path) -> None:
    options = [str(scenario_path), *"--sampler cmaes --trials 90 --seeds 1 --json".split()]
    whole, other, path = tmp_path / "whole.json", tmp_path / "other.json", tmp_path / "trials.log"
    command = ["tune", *options, str(other), "--storage", str(path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tierenv.train", *command], stderr=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < 40):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was over before it could be killed"
    assert main(command) == 0 and main(["tune", *options, str(whole)]) == 0
    contents = [json.loads(each.read_text()) for each in (whole, other)]
    for content in contents:
        del content["budget"]["wall_s"], content["command"]
    assert contents[0] == contents[1]
