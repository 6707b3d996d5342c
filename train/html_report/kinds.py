"""The table of kinds of input, and telling by its content which one an input is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tierenv.agents.run_folder import RunFolder
from tierenv.errors import ConfigError
from tierenv.reading import read_json
from tierenv.train.html_report import calibration, evaluation, fidelity, replay, run, search, search_curves
from tierenv.train.html_report.document import Section
from tierenv.train.texts import clean

Content = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of file."""

    written_by: str
    """For people."""
    is_content: Callable[[Content], bool]
    """Whether a file with this content is one, however spoiled."""
    section: Callable[[Content, str], Section]
    """What the report says of it; takes the path too. Raises `ConfigError`."""


def _rows_have(content: Content, *keys: str) -> bool:
    rows = content.get("rows")
    return isinstance(rows, list) and (not rows or (isinstance(rows[0], dict) and bool(set(keys) & set(rows[0]))))


KINDS = (
    Kind("calibrate", lambda content: "parameters" in content and "cells" in content, calibration.section),
    Kind("fidelity --json", lambda content: "experiments" in content, fidelity.section),
    Kind("replay --json", lambda content: "record" in content and "rows" in content, replay.section),
    Kind("tierenv.train.studies.search_curves", lambda content: "searches" in content, search_curves.section),
    Kind("tune --json", lambda content: "finalists" in content or "for_all" in content, search.section),
    Kind("evaluate --json", lambda content: _rows_have(content, "policy", "bounds"), evaluation.section),
)
"""What a kind is known by is what no other has; the first that fits is taken."""


def read_section(path: Path) -> Section:
    """What the report says of an input, a file or a run folder. Raises `ConfigError`."""
    if path.is_dir():
        folder = RunFolder(path)
        if not folder.is_run:
            raise ConfigError(f"{path}: is no run folder: it has no {folder.config_path.name}")
        return run.section(folder)
    try:
        content = clean(read_json(path))
    except RecursionError:  # JSON itself may be nested a little deeper
        raise ConfigError(f"{path}: nested too deeply") from None
    for kind in KINDS:
        if kind.is_content(content):
            return kind.section(content, str(path))
    known = ", ".join(kind.written_by for kind in KINDS)
    raise ConfigError(f"{path}: is nothing that a report tells of; give what {known} wrote, or a run folder")
