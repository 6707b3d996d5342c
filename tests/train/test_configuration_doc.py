"""docs/configuration.md says what the records read: every kind, every field; and its examples are files that load."""

import re
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from tierenv.records import CONFIG_KINDS, Bytes, Record
from tierenv.scenario import load_scenario
from tierenv.train.studies.configuration_doc import CONFIGURATION_DOC, KINDS, record_section, records_of, render

TEXT = CONFIGURATION_DOC.read_text(encoding="utf-8")


class Sample(Record):
    """What the generator is shown.

    Not this.
    """

    room: Annotated[Bytes, Field(ge=4096)] = 1 << 30
    """Memory | space."""
    shares: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=2)] | None = None
    """How it is
    divided."""


def test_the_tables_are_current() -> None:
    assert render(TEXT) == TEXT, "run: python -m tierenv.train.studies.configuration_doc"


def test_every_kind_of_record_has_its_tables() -> None:
    assert set(KINDS) == set(CONFIG_KINDS) - {"policies"}  # folders
    for kind in KINDS:
        assert f"## {kind.capitalize()}\n" in TEXT
        for record in records_of(kind):
            section = TEXT.split(f"### {record.__name__}\n")[1].split("\n#")[0]
            assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [
                field.alias or name for name, field in record.model_fields.items()
            ]


def test_a_row_tells_type_limits_default_and_meaning() -> None:
    assert record_section(Sample).splitlines() == [
        "### Sample",
        "",
        "What the generator is shown.",
        "",
        "| field | type | allowed | default | meaning |",
        "| --- | --- | --- | --- | --- |",
        r"| `room` | size | at least 4KiB, at most 64TiB | 1GiB | Memory \| space. |",
        "| `shares` | [number (above 0, at most 1), ...] (at least 2 of them) or null |  | null | How it is divided. |",
    ]


def test_a_field_without_a_meaning_is_refused() -> None:
    class Mute(Record):
        """Says nothing."""

        size: Bytes

    with pytest.raises(ValueError, match=r"Mute.size: has no text"):
        record_section(Mute)


def test_links_lead_to_headings() -> None:
    headings = {heading.lower() for heading in re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)}
    assert set(re.findall(r"\(#([\w-]+)\)", TEXT)) <= headings


def test_the_examples_load(tmp_path: Path) -> None:
    section = TEXT.split("## A file of your own")[1].split("\n## ")[0]
    files = re.findall(r"^    # (\S+)\n((?:    .+\n)+)", section, re.MULTILINE)
    assert [name for name, _ in files] == ["far.yaml", "mine.yaml", "mine.yaml"]
    for name, content in files:
        (tmp_path / name).write_text(re.sub("^    ", "", content, flags=re.MULTILINE))
        if name == "mine.yaml":
            assert load_scenario(str(tmp_path / name)).platform.cxl.idle_latency == pytest.approx(300e-9)
