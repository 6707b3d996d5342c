"""Fragments: what a file says of a scenario or a platform with draws in it, read as far as it can be before they are.

References are read: a fragment holds what they lead to, so that it needs no other file. What it says is only checked
against the record when its draws have become values.
"""

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic.fields import FieldInfo

from tierenv.draws import is_draw
from tierenv.errors import ConfigError
from tierenv.heat import Heat
from tierenv.records import Record, Reference, content_of, keys_in, records_in

MAX_DEPTH = 60
"""Of choices in choices where a reference stands."""


def read_references(kind: str, record: Any, value: Any, depth: int = 0) -> Any:
    """What stands for a record of a kind, with the content of files in place of their names, at any depth.

    Args:
        kind: of the record.
        record: its type.
        value: its name or path, what a file of it holds, or a choice of these.
        depth: choices it stands in.

    Raises:
        ConfigError: for files that cannot be read, and for heat in a file of its own.
    """
    if depth > MAX_DEPTH:
        raise ConfigError(f"choices stand in each other; must be at most {MAX_DEPTH}")
    if is_draw(value):
        return _in_choice(value, lambda entry: read_references(kind, record, entry, depth + 1))
    if not isinstance(value, str | Mapping):
        return value
    return _read_inside(records_in(record), content_of(kind, record, value), depth)


def _in_choice(draw: Mapping[str, Any], read: Any) -> dict[str, Any]:
    """The draw with what its values were read as; of other kinds of draws nothing is read."""
    of = draw.get("of")
    is_choice = draw["draw"] == "choice" and isinstance(of, list | tuple)
    return dict(draw) | ({"of": [read(entry) for entry in of or ()]} if is_choice else {})


def _read_inside(records: Iterable[type[Record]], value: Any, depth: int) -> Any:
    """A mapping of one of some records, or a list of such mappings, with the references in it read."""
    if depth > MAX_DEPTH:
        raise ConfigError(f"values stand in each other; must be at most {MAX_DEPTH}")
    if isinstance(value, list | tuple):
        return [_read_inside(records, entry, depth + 1) for entry in value]
    if not isinstance(value, Mapping):
        return value
    if is_draw(value):
        return _in_choice(value, lambda entry: _read_inside(records, entry, depth + 1))
    records = list(records)
    if Heat in records and value.get("file") is not None:
        raise ConfigError("heat.file: a family must not need other files; give the pairs as heat.histogram")
    fields = keys_in(records)
    read: dict[str, Any] = {}
    for key, entry in value.items():
        known = fields.get(key, [])
        found = next(filter(None, map(_reference, known)), None)
        if found is not None:
            read[key] = read_references(found[0].kind, found[1], entry, depth + 1)
        else:
            inner = [record for field in known for record in records_in(field.annotation)]
            read[key] = _read_inside(inner, entry, depth + 1) if inner else entry
    return read


def _reference(field: FieldInfo) -> tuple[Reference, Any] | None:
    """The reference that a field holds, and to what."""
    marks = [mark for mark in field.metadata if isinstance(mark, Reference)]
    if marks:
        return marks[0], field.annotation
    for part in get_args(field.annotation):
        marks = [mark for mark in getattr(part, "__metadata__", ()) if isinstance(mark, Reference)]
        if marks:
            return marks[0], get_args(part)[0]
    return None
