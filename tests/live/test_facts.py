"""What never changes of a machine: as its firmware tells it, by hand, or refused."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.live.hosts import DAEMON, Host, run
from tests.live.running import INTERVAL_S
from tierenv.agents.bundle import TrainedOn, write_bundle
from tierenv.agents.export.controller import archive, tables_of
from tierenv.agents.export.learned_source import learned_source
from tierenv.agents.tree import LEAF, DecisionTree
from tierenv.features import feature_columns
from tierenv.live.arithmetic import UNLIMITED
from tierenv.live.controller import sample_between
from tierenv.live.facts import FACTS, told_facts
from tierenv.live.machine import Machine
from tierenv.live.policy import Policy
from tierenv.observation_spec import observation_rows
from tierenv.scenario import load_scenario

INITIATORS = "/sys/devices/system/node/node{node}/{access}/initiators/{name}"
GAP_NS = 150
THRESHOLD_NS = 128
"""A latency gap of 7 octaves is the middle of its feature's scale."""


def tell(host: Host, node: int, access: str = "access0", **attributes: object) -> None:
    for name, value in attributes.items():
        host.put(INITIATORS.format(node=node, access=access, name=name), value)


def tell_all(host: Host) -> None:
    tell(host, 0, read_latency=100, read_bandwidth=200_000)
    tell(host, 1, read_latency=100 + GAP_NS, read_bandwidth=20_000)


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive whose policy throttles where the slow tier is far."""
    folder = tmp_path_factory.mktemp("asking")
    rows = observation_rows({"features": ["faulted"], "stack": 2, "machine": ["latency_gap", "fast_share"]}, DAEMON)
    values = np.zeros((3, len(DAEMON.tunables)), np.float32)
    values[1, 2], values[2, 2] = 1, -1
    columns = [column.name for column in feature_columns(rows)]
    model = DecisionTree(
        num_features=len(columns),
        feature=np.array([columns.index("latency_gap"), LEAF, LEAF], np.int32),
        threshold=np.zeros(3, np.float32),
        left=np.array([1, LEAF, LEAF], np.int32),
        right=np.array([2, LEAF, LEAF], np.int32),
        value=values,
    )
    trained_on = [TrainedOn.of(load_scenario("moving-hot-set").replace(control_interval=f"{INTERVAL_S}s"))]
    bundle = folder / "bundle"
    write_bundle(bundle, name="a", model=model, daemon=DAEMON, scenarios=trained_on, training={}, observation=rows)
    file = folder / "tierenv-live.pyz"
    file.write_bytes(archive(json.loads(json.dumps(tables_of("a", learned_source(str(bundle)))))))
    return file


def throttle(host: Host, asking: Path, given: dict[str, int]) -> int:
    """Returns what the archive's policy sets after an interval on the host."""
    with zipfile.ZipFile(asking) as packed:
        policy = Policy(json.loads(packed.read("tierenv/live/tables.json")))
    machine = Machine(str(host.root), given=given)
    earlier = machine.read()
    host.count(numa_hint_faults=10)
    sample = sample_between(earlier, machine.read(), policy, machine.sizes)
    return policy.decide(sample)["throttle_bytes_per_s"]


def test_firmware_is_read_from_the_nearest_cpu_before_the_nearest_of_any_kind(host: Host) -> None:
    tell_all(host)
    tell(host, 1, access="access1", read_latency=100 + 2 * GAP_NS)
    assert Machine(str(host.root)).facts == dict(zip(FACTS, (2 * GAP_NS, 200_000, 20_000), strict=True))


def test_several_nodes_of_a_tier_count_with_their_mean(host: Host) -> None:
    tell_all(host)
    tell(host, 2, read_latency=104, read_bandwidth=100_000)
    assert told_facts(str(host.root), (0, 2), (1,)) == dict(zip(FACTS, (GAP_NS - 2, 150_000, 20_000), strict=True))


@pytest.mark.parametrize("value", ["0", "", "many", "-5", "9" * 19, "9" * 5000, "1.5"])
def test_what_is_no_number_of_a_memory_is_not_told(value: str, host: Host) -> None:
    tell_all(host)
    tell(host, 1, read_latency=value)
    assert FACTS[0] not in Machine(str(host.root)).facts


def test_a_slow_tier_that_is_no_slower_is_so_by_a_nanosecond(host: Host) -> None:
    tell_all(host)
    tell(host, 1, read_latency=90)
    assert Machine(str(host.root)).facts[FACTS[0]] == 1


def test_a_policy_that_asks_for_what_nobody_tells_is_refused_with_the_way_to_tell_it(asking: Path, host: Host) -> None:
    refusal = f"the policy observes {FACTS[0]}, which the firmware does not tell"
    checked = run(host, asking, "check")
    assert checked.returncode == 1
    [line] = [line for line in checked.stdout.splitlines() if line.startswith("refused: ")]
    assert refusal in line and f"--machine {FACTS[0]}=NUMBER" in line and FACTS[1] not in line
    for verb in (["run", "--apply"], ["advise", "--intervals", "1"]):
        refused = run(host, asking, *verb)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1) and refusal in refused.stderr
    assert host.notes == []
    by_hand = run(host, asking, "check", "--machine", f"{FACTS[0]}=140")
    assert by_hand.returncode == 0 and f"{FACTS[0]} = 140" in by_hand.stdout.splitlines()


def test_decisions_follow_what_was_told_and_a_hand_outdoes_the_firmware(asking: Path, host: Host) -> None:
    tell_all(host)
    given = ({}, {FACTS[0]: THRESHOLD_NS // 2}, {FACTS[0]: THRESHOLD_NS * 2})
    assert [throttle(host, asking, facts) for facts in given] == [0, UNLIMITED, 0]


@pytest.mark.parametrize(
    "fact", ["latency_gap_ns", "latency_gap_ns=", "latency=5", "latency_gap_ns=-1", "latency_gap_ns=1e3"]
)
def test_what_is_no_fact_is_bad_usage(fact: str, asking: Path, host: Host) -> None:
    result = run(host, asking, "check", "--machine", fact)
    assert result.returncode == 2 and "Traceback" not in result.stderr


def test_a_unit_is_given_what_it_was_made_with(asking: Path, host: Host) -> None:
    unit = run(host, asking, "unit", "--machine", f"{FACTS[0]}=140").stdout
    assert f" run --apply --machine {FACTS[0]}=140\n" in unit
