"""What the model says hardly depends on its resolution: a sample here, everything in results/convergence.json."""

import json

import pytest

from tierenv.scenario import load_scenario
from tierenv.train.config import load_suite
from tierenv.train.studies.convergence import BAR, POLICIES, SUITE, changes, main
from tierenv.train.studies.model_doc import CONVERGENCE

STANDARD_ERRORS = 3.3
"""Sampling error allowed for, at a significance of 1e-3."""


@pytest.mark.parametrize(
    ("scenario", "policy"),
    [("abench-8g", "numab1"), ("skewed", "numab2"), ("skewed", "kscand-v3"), ("moving-hot-set", "best-static")],
)
@pytest.mark.parametrize("kind", ["substeps_halved", "lumps_doubled"])
def test_a_finer_resolution_moves_completion_by_less_than_half_a_percent(scenario: str, policy: str, kind: str) -> None:
    found = changes(load_scenario(scenario), policy, seeds=8)[kind]
    assert abs(found["change"]) < BAR + STANDARD_ERRORS * found["error"]


def test_the_stored_table_covers_everything_and_meets_the_bar() -> None:
    rows = json.loads(CONVERGENCE.read_text(encoding="utf-8"))["rows"]
    assert {(row["scenario"], row["policy"]) for row in rows} == {
        (scenario.name, policy) for scenario in load_suite(SUITE).scenarios for policy in POLICIES
    }
    for row in rows:
        for kind in ("substeps_halved", "lumps_doubled"):
            assert abs(row[kind]["change"]) < BAR, row


def test_bad_usage_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_request:
        main(["--seeds", "many"])
    assert exit_request.value.code == 2
    assert "--seeds" in capsys.readouterr().err
