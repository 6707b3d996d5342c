"""One interval after another on a tree of a host, without processes and with a clock of the test's."""

import json
import shutil
from pathlib import Path

import pytest

from tests.live.hosts import AS_BOOTED, FAST_PAGES, Host, tables, tree
from tierenv.live import journal, kernel, machine
from tierenv.live.controller import Controller, Decision
from tierenv.live.files import Refused
from tierenv.live.guard import OBSERVING, PATIENCE, STEERING, UNJUDGED, WAITING, Guard
from tierenv.live.health import metrics_for
from tierenv.live.journal import Journal
from tierenv.live.machine import Machine
from tierenv.live.policy import Policy
from tierenv.live.report import Report

INTERVAL_S = 2.0
WINDOW = 3


class Steered:
    """A controller on a host whose time goes by an interval a step."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, with_guard: bool = True) -> None:
        self.host = Host(folder / "host")
        self.now_ns = 10**12
        monkeypatch.setattr(machine.time, "monotonic_ns", lambda: self.now_ns)
        monkeypatch.setattr(machine.time, "clock_gettime_ns", lambda _clock: self.now_ns)
        monkeypatch.setattr(machine.time, "monotonic", lambda: self.now_ns / 1e9)
        root = str(self.host.root)
        self.policy = Policy(tables(folder / "bundle", tree()))
        self.machine = Machine(root)
        self.guard = (
            Guard(metrics_for(FAST_PAGES, has_pressure=True, has_command=False), WINDOW) if with_guard else None
        )
        self.journal = Journal(root)
        self.controller = Controller(self.policy, self.machine, self.guard, self.journal)

    def step(self, seconds: float = INTERVAL_S, **increments: int) -> Decision:
        self.now_ns += round(1e9 * seconds)
        self.host.count(**increments)
        return self.controller.step()

    def until(self, state: str) -> Decision:
        assert self.guard is not None
        for _ in range(400):
            decision = self.step()
            if self.guard.state == state:
                return decision
        raise AssertionError(f"never {state}")


@pytest.fixture
def steered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Steered:
    return Steered(tmp_path, monkeypatch)


def test_advice_writes_nothing_and_says_what_it_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advised = Steered(tmp_path, monkeypatch, with_guard=False)
    decisions = [advised.step() for _ in range(5)]
    assert [decision.outcome for decision in decisions] == ["held"] + ["advised"] * 4
    assert (advised.host.knobs, advised.host.notes) == (AS_BOOTED, [])
    assert decisions[1].written and decisions[1].wanted


def test_observes_takes_one_step_holds_it_and_steers(steered: Steered) -> None:
    assert steered.guard is not None
    outcomes = [steered.step().outcome for _ in range(2 * WINDOW + 4)]
    # the first reading; what is observed; the canary's step, held; then a step an interval
    assert outcomes == ["held"] + ["watched"] * (WINDOW - 1) + ["set"] + ["watched"] * (WINDOW - 1) + ["set"] * 4
    assert steered.host.knob(kernel.MODE) == kernel.MEMORY_TIERING
    assert steered.host.knob(kernel.PERIOD_MIN) == steered.host.knob(kernel.PERIOD_MAX)


def test_a_canary_changes_a_tunable_by_one_bounded_step(steered: Steered) -> None:
    before = kernel.setting_of(steered.host.knobs)
    decision = steered.until("canary")
    after = kernel.setting_of(steered.host.knobs)
    assert decision.outcome == "set"
    for name in ("scan_period_ms", "scan_size_bytes", "hot_threshold_ms"):
        assert before[name] / 4 - 1 <= after[name] <= before[name] * 4


def test_every_step_leads_on_until_the_decision_is_in_force(steered: Steered) -> None:
    steered.until(STEERING)
    decision = [steered.step() for _ in range(12)][-1]
    assert decision.wanted is not None and decision.reading is not None
    resident = decision.reading.resident_pages
    assert steered.host.knobs == kernel.project(decision.wanted, resident).knobs
    assert decision.written == {}


def test_health_that_stays_worse_puts_all_back(steered: Steered) -> None:
    assert steered.guard is not None
    steered.until(STEERING)
    churn = 30 * FAST_PAGES // 120 * round(INTERVAL_S)
    outcomes = [steered.step(pgpromote_success=churn, pgdemote_kswapd=churn).outcome for _ in range(PATIENCE)]
    assert outcomes == ["watched"] * (PATIENCE - 1) + ["put back"]  # no step further while it is worse
    assert (steered.host.knobs, steered.host.notes) == (AS_BOOTED, [])
    assert (steered.guard.state, steered.guard.returns) == (WAITING, 1)
    assert steered.step().outcome == "watched"
    assert steered.host.knobs == AS_BOOTED


def test_promotions_that_a_throttle_holds_back_are_no_harm(steered: Steered) -> None:
    assert steered.guard is not None
    steered.until(STEERING)
    for _ in range(3 * PATIENCE):
        steered.step(pgpromote_candidate=10**7, pgpromote_success=256)
    assert steered.guard.state == STEERING


def test_gives_way_to_whoever_writes_a_knob_and_comes_back_later(steered: Steered) -> None:
    assert steered.guard is not None
    steered.until(STEERING)
    for _ in range(5):
        steered.step()
    steered.host.put(kernel.RATE_LIMIT, 77)
    decision = steered.step()
    assert decision.outcome == "yielded"
    assert f"somebody else wrote {kernel.RATE_LIMIT}" in decision.reason
    # what he wrote stays, all else is as found
    assert steered.host.knobs == AS_BOOTED | {kernel.RATE_LIMIT: 77}
    assert steered.host.notes == []
    steered.until(OBSERVING)
    assert steered.host.knobs == AS_BOOTED | {kernel.RATE_LIMIT: 77}
    steered.until(STEERING)
    steered.journal.restore()
    assert steered.host.knobs == AS_BOOTED | {kernel.RATE_LIMIT: 77}


def test_each_write_by_somebody_else_in_a_wait_begins_it_anew(steered: Steered) -> None:
    assert steered.guard is not None
    steered.until(STEERING)
    steered.host.put(kernel.RATE_LIMIT, 77)
    assert steered.step().outcome == "yielded"
    for index in range(290):  # almost all of ten minutes
        assert steered.step().outcome == "watched", index
    steered.host.put(kernel.RATE_LIMIT, 99)
    assert steered.step().outcome == "yielded"
    assert steered.guard.yields == 2
    for _ in range(590):  # by now it is twenty
        steered.step()
        assert steered.guard.state == WAITING
    assert steered.host.knobs == AS_BOOTED | {kernel.RATE_LIMIT: 99}


@pytest.mark.parametrize("fault", ["backwards", "still", "suspended", "missing", "vanished knob"])
def test_is_never_led_by_counters_that_are_no_sample(fault: str, steered: Steered) -> None:
    steered.until(STEERING)
    before = steered.host.knobs
    if fault == "backwards":
        decision = steered.step(numa_hint_faults=-5)
    elif fault == "still":
        decision = steered.step(pgfault=0)
    elif fault == "suspended":
        decision = steered.step(seconds=3600)
    elif fault == "missing":
        gone = steered.host.vmstat.pop("numa_hint_faults")
        decision = steered.step()
        steered.host.vmstat["numa_hint_faults"] = gone
    else:
        knob = Path(f"{steered.host.root}{kernel.SCAN_SIZE}")
        held = knob.read_text()
        knob.unlink()
        decision = steered.step()
        knob.write_text(held)
    assert decision.outcome == "held"
    assert decision.written is None
    assert steered.host.knobs == before
    steered.step()  # whatever it needs to begin anew
    assert steered.step().outcome == "set"


def test_a_knob_that_cannot_be_written_takes_all_back(steered: Steered, monkeypatch: pytest.MonkeyPatch) -> None:
    assert steered.guard is not None
    write = Journal.write

    def broken(journal: Journal, path: str, value: int, expected: int) -> str | None:
        return "Operation not permitted" if path == kernel.SCAN_DELAY else write(journal, path, value, expected)

    monkeypatch.setattr(Journal, "write", broken)
    decision = steered.until(WAITING)
    assert decision.outcome == "put back"
    assert "Operation not permitted" in decision.reason
    assert (steered.host.knobs, steered.host.notes) == (AS_BOOTED, [])


def test_what_cannot_be_put_back_is_tried_again_until_it_is(steered: Steered, monkeypatch: pytest.MonkeyPatch) -> None:
    assert steered.guard is not None
    steered.until(STEERING)
    steered.step()
    write = journal.write_existing
    is_busy = True

    def busy(path: str, text: str) -> None:
        if is_busy and path.endswith(kernel.SCAN_SIZE):
            raise OSError(16, "Device or resource busy")
        write(path, text)

    monkeypatch.setattr(journal, "write_existing", busy)
    steered.host.put(kernel.RATE_LIMIT, 77)
    assert [steered.step().outcome for _ in range(3)] == ["stuck"] * 3
    is_busy = False
    assert steered.step().outcome == "put back"
    assert (steered.host.knobs, steered.host.notes) == (AS_BOOTED | {kernel.RATE_LIMIT: 77}, [])


def test_intervals_that_cannot_be_judged_put_all_back_in_the_end(steered: Steered) -> None:
    assert steered.guard is not None
    steered.until(STEERING)
    outcomes = [steered.step(seconds=30.0).outcome for _ in range(UNJUDGED)]  # a machine that is too busy
    assert outcomes == ["held"] * (UNJUDGED - 1) + ["put back"]
    assert (steered.host.knobs, steered.host.notes) == (AS_BOOTED, [])


def test_a_write_by_somebody_else_while_we_write_is_his(steered: Steered, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Journal.write

    def raced(journal: Journal, path: str, value: int, expected: int) -> str | None:
        if path == kernel.PERIOD_MIN:
            steered.host.put(path, 9999)
        return write(journal, path, value, expected)

    monkeypatch.setattr(Journal, "write", raced)
    decision = steered.until(WAITING)
    assert "somebody else wrote" in decision.reason
    assert steered.host.knobs == AS_BOOTED | {kernel.PERIOD_MIN: 9999}


def test_a_write_by_somebody_else_after_a_step_is_seen_in_the_next(steered: Steered) -> None:
    steered.until(STEERING)
    assert steered.step().outcome == "set"
    steered.host.put(kernel.RATE_LIMIT, 77)  # before anything is read again
    assert steered.step().outcome == "yielded"
    assert steered.host.knobs == AS_BOOTED | {kernel.RATE_LIMIT: 77}


def test_notes_that_are_removed_end_it_with_all_put_back(steered: Steered) -> None:
    steered.until(STEERING)
    steered.step()
    shutil.rmtree(steered.host.root / "run/tierenv")
    with pytest.raises(Refused, match="were removed"):
        steered.step()
    assert steered.host.knobs == AS_BOOTED


def test_every_decision_is_one_line_of_json_with_its_reason(
    steered: Steered, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    metrics = tmp_path / "metrics"
    metrics.mkdir()
    report = Report(steered.policy, steered.guard, str(steered.host.root), str(metrics / "tierenv.prom"))
    for _ in range(2 * WINDOW + 3):
        report.tell(steered.step())
    lines = capfd.readouterr().out.splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 2 * WINDOW + 3
    assert all(row["reason"] and row["outcome"] and row["state"] for row in rows)
    assert rows[-1]["decision"].keys() == rows[-1]["in_force"].keys()
    status = json.loads((steered.host.root / "run/tierenv/status.json").read_text())
    assert status.pop("waits") == {"until_s": 0.0, "reason": "", "next_s": {}}
    assert status == rows[-1]
    exposition = (metrics / "tierenv.prom").read_text()
    assert 'tierenv_live_state{state="steering"} 1' in exposition
    names = {line.split("{")[0].split(" ")[0] for line in exposition.splitlines() if not line.startswith("#")}
    typed = {line.split()[2] for line in exposition.splitlines() if line.startswith("# TYPE")}
    helped = {line.split()[2] for line in exposition.splitlines() if line.startswith("# HELP")}
    assert names == typed == helped
