"""The generated parts of documents are what the committed results say."""

import json
from pathlib import Path
from typing import Any

import pytest

from tierenv.train.studies import algorithm_doc, live_doc, readme, reliability_doc, search_doc


def test_readme_is_current() -> None:
    text = readme.README.read_text(encoding="utf-8")
    assert readme.render(text) == text, "run: python -m tierenv.train.studies.readme"


def test_reliability_is_current() -> None:
    text = reliability_doc.RELIABILITY_DOC.read_text(encoding="utf-8")
    assert reliability_doc.render(text) == text, "run: python -m tierenv.train.studies.reliability_doc"


def test_live_is_current() -> None:
    text = live_doc.LIVE_DOC.read_text(encoding="utf-8")
    assert live_doc.render(text) == text, "run: python -m tierenv.train.studies.live_doc"


def test_growth_is_current() -> None:
    text = algorithm_doc.ALGORITHM_DOC.read_text(encoding="utf-8")
    assert algorithm_doc.render(text) == text, "run: python -m tierenv.train.studies.algorithm_doc"


def test_how_long_to_search_is_current() -> None:
    text = search_doc.KERNEL_DOC.read_text(encoding="utf-8")
    assert search_doc.render(text) == text, "run: python -m tierenv.train.studies.search_doc"


def rows(scenario: str, clairvoyant_s: float, **runs: list[float]) -> list[dict[str, Any]]:
    """What `evaluate --json` writes of a scenario, as far as it is read."""
    bounds = {"clairvoyant": clairvoyant_s, "no_migration": 100.0}
    return [
        {"scenario": scenario, "policy": policy.replace("_", "-"), "seconds": {"runs": seconds}, "bounds": bounds}
        for policy, seconds in runs.items()
    ]


def test_bars_count_what_is_at_stake_what_is_beaten_for_sure_and_what_is_slower_than_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = [
        *rows("won", 80.0, no_migration=[100.0, 100.0], numab2=[95.0, 96.0], best_static=[90.0, 91.0]),
        *rows("unsure", 80.0, no_migration=[100.0, 100.0], numab2=[95.0, 96.0], best_static=[90.0, 99.0]),
        *rows("idle", 99.0, no_migration=[100.0, 100.0], numab2=[150.0, 150.0], best_static=[102.0, 102.0]),
    ]
    (tmp_path / "made-up.json").write_text(json.dumps({"rows": content}))
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    assert readme.bars("made-up") == (
        "More than 2 % is at stake on 2 of 3 scenarios; there best-static beats the defaults, with 95 % intervals "
        "above 0, on 1 (not on `unsure`). More than 1 % slower than no migration it is on `idle` (2.0 %). Mean over "
        "all scenarios of time over time without migration: `numab2` 1.14, `best-static` 0.96."
    )
