"""progress.csv: the learner's figures, one row a rollout, which a resumed run continues.

Unlike stable-baselines3's writer it starts no file anew: a row is appended, and where a figure is new the file is
replaced as a whole. So a kill costs the last row at most.
"""

import csv
import io
import logging
import math
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import KVWriter

from tierenv.errors import ConfigError
from tierenv.files import atomic_write_text

log = logging.getLogger(__name__)

STEPS = "time/total_timesteps"
MAX_CHARACTERS = 32 << 20
"""Of a file: a hundred thousand rollouts."""

Row = dict[str, str]


class ProgressCsv(KVWriter):
    """Writes what the logger records.

    Args:
        path: of the file; rows that are torn are dropped, and a file whose header is torn is set aside.
        timesteps: where the run goes on: rows beyond are dropped, as they will come again.
    """

    def __init__(self, path: Path, timesteps: int) -> None:
        self._path = path
        self._columns, rows = _read(path)
        self._rows = [row for row in rows if float(row[STEPS]) <= timesteps]
        if self._columns:
            self._write_whole()

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Add a row of what is not kept from csv files."""
        figures = {key: value for key, value in key_values.items() if "csv" not in key_excluded[key]}
        row = {key: "" if value is None else str(value) for key, value in sorted(figures.items())}
        new = [key for key in row if key not in self._columns]
        self._columns += new
        self._rows.append(row)
        if new:
            self._write_whole()
        else:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_lines(self._columns, [row]))

    def close(self) -> None:
        """Nothing is open."""

    def _write_whole(self) -> None:
        header = dict(zip(self._columns, self._columns, strict=True))
        atomic_write_text(self._path, _lines(self._columns, [header, *self._rows]))


def _lines(columns: list[str], rows: list[Row]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, columns, restval="", lineterminator="\n").writerows(rows)
    return text.getvalue()


def _read(path: Path) -> tuple[list[str], list[Row]]:
    """Columns and whole rows of a file; nothing without one."""
    if not path.exists():
        return [], []
    with path.open(encoding="utf-8", errors="replace") as file:
        text = file.read(MAX_CHARACTERS + 1)
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"{path}: holds more than {MAX_CHARACTERS} characters; move it elsewhere to go on without it")
    try:
        header, *rows = list(csv.reader(text.splitlines())) or [[]]
    except csv.Error:
        header, rows = [], []
    if STEPS not in header or not all(name.isprintable() for name in header) or len(set(header)) < len(header):
        aside = next(
            aside
            for number in range(len(list(path.parent.iterdir())) + 1)
            if not (aside := path.with_name(f"{path.stem}.torn-{number}{path.suffix}")).exists()
        )
        path.rename(aside)
        log.warning("%s: its header is torn; set aside as %s", path, aside.name)
        return [], []
    whole = [row for row in rows if len(row) == len(header) and all(map(_is_number_or_empty, row))]
    named = [dict(zip(header, row, strict=True)) for row in whole]
    return header, [row for row in named if row[STEPS]]


def _is_number_or_empty(text: str) -> bool:
    try:
        return not text or not math.isnan(float(text)) or text == "nan"
    except ValueError:
        return False
