"""Fragments: what a file says of a scenario or a platform with draws in it, read as far as it can be before they are.

References are read: a fragment holds what they lead to, so that it needs no other file. Keys are checked then, values
only against the record when draws have become values. What of fragments decides, and when they are alike, is told here.
"""

from collections.abc import Iterable, Mapping
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from tierenv.draws import MOST_QUOTED, Choice, Draw, LogUniform, Product, Uniform, is_draw, quantity_of, quoted
from tierenv.errors import ConfigError, close_match
from tierenv.heat import Heat
from tierenv.records import Record, Reference, content_of, has_marks, keys_in, records_in

MAX_DEPTH = 60
"""Of choices in choices where a reference stands."""
WORDS = ("name", "summary")
"""Of a record; they decide nothing, and those of what is drawn are the family's to give."""
CLASSES = "classes"
"""Whose order decides: it is that of the addresses or of the heat."""


def read_references(kind: str, record: Any, value: Any, depth: int = 0, place: str = "") -> Any:
    """What stands for a record of a kind, with the content of files in place of their names, at any depth.

    Args:
        kind: of the record.
        record: its type.
        value: its name or path, what a file of it holds, or a choice of these.
        depth: choices it stands in.
        place: where it stands, for messages.

    Raises:
        ConfigError: for files that cannot be read, for unknown keys, and for heat in a file of its own.
    """
    if depth > MAX_DEPTH:
        raise ConfigError(f"choices stand in each other; must be at most {MAX_DEPTH}")
    if is_draw(value):
        return _in_choice(value, lambda entry: read_references(kind, record, entry, depth + 1, place))
    if not isinstance(value, str | Mapping):
        return value
    return _read_inside(records_in(record), content_of(kind, record, value), depth, place)


def _in_choice(draw: Mapping[str, Any], read: Any) -> dict[str, Any]:
    """The draw with what its values were read as; of other kinds of draws nothing is read."""
    of = draw.get("of")
    is_choice = draw["draw"] == "choice" and isinstance(of, list | tuple)
    return dict(draw) | ({"of": [read(entry) for entry in of or ()]} if is_choice else {})


def _read_inside(records: Iterable[type[Record]], value: Any, depth: int, place: str, is_named: bool = False) -> Any:
    """A mapping of one of some records (by names of their own, `is_named`), or a list of such, its references read."""
    if depth > MAX_DEPTH:
        raise ConfigError(f"values stand in each other; must be at most {MAX_DEPTH}")
    if isinstance(value, list | tuple):
        return [_read_inside(records, entry, depth + 1, f"{place}.{index}") for index, entry in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    if is_draw(value):
        return _in_choice(value, lambda entry: _read_inside(records, entry, depth + 1, place, is_named))
    records = list(records)
    if Heat in records and value.get("file") is not None:
        raise ConfigError("heat.file: a family must not need other files; give the pairs as heat.histogram")
    start = f"{place}." if place else ""
    if is_named:
        return {key: _read_inside(records, entry, depth + 1, f"{start}{key}") for key, entry in value.items()}
    fields = keys_in(records)
    _check_keys(value, fields, start)
    read: dict[str, Any] = {}
    for key, entry in value.items():
        known, inside = fields.get(key, []), f"{start}{key}"
        found = next(filter(None, map(_reference, known)), None)
        if found is not None:
            read[key] = read_references(found[0].kind, found[1], entry, depth + 1, inside)
        else:
            inner = [record for field in known for record in records_in(field.annotation)]
            is_named_inside = any(_is_by_name(field.annotation) for field in known)
            read[key] = _read_inside(inner, entry, depth + 1, inside, is_named_inside) if inner else entry
    return read


def _check_keys(value: Mapping[Any, Any], known: Mapping[str, Any], start: str) -> None:
    """Refuse keys that no record has."""
    for key in value:
        word = "on" if key is True else "off" if key is False else key  # which YAML 1.1 reads so
        if word not in known:
            shown = str(word)[:MOST_QUOTED] if isinstance(word, str) else quoted(word)
            raise ConfigError(f"{start}{shown}: unknown key{close_match(shown, known)}; allowed: {', '.join(known)}")


def _is_by_name(annotation: Any) -> bool:
    """Whether a type is a mapping of records by names, or may be."""
    return get_origin(annotation) is dict or any(map(_is_by_name, get_args(annotation)))


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


def used_lets(lets: Mapping[str, Any], *values: Any) -> dict[str, Any]:
    """Those of some values and draws by name that draws in other values refer to, directly or through each other."""
    used: dict[str, Any] = {}
    waiting = list(values)
    while waiting:
        match waiting.pop():
            case Mapping() as value:
                waiting += value.values()
            case list() | tuple() as value:
                waiting += value
            case Choice() as draw:
                waiting += draw.of
            case Uniform() | LogUniform() | Product() as draw:
                for name in draw.names:
                    if name in lets and name not in used:
                        used[name] = lets[name]
                        waiting.append(lets[name])
    return {name: value for name, value in lets.items() if name in used}


def deciding(value: Any) -> Any:
    """What of a fragment decides what is drawn: mappings as lists of their items, of which an identity keeps the order.

    Draws are told apart by whether they give whole numbers, which an identity does not see of their ends: to it 2 and
    2.0 are the same.
    """
    match value:
        case Mapping():
            return [[str(key), deciding(entry)] for key, entry in value.items()]
        case Uniform() | LogUniform() | Choice() | Product():
            return _of_draw(value, deciding)
        case list() | tuple():
            return [deciding(entry) for entry in value]
    return value


def likeness(value: Any, key: str = "") -> Any:
    """What fragments have in common that differ in spelling alone.

    Without names, summaries and marks, quantities as numbers, keys in order; names of classes are left out, their order
    is not.
    """
    match value:
        case dict() if has_marks(value):
            return likeness(value["value"])
        case Mapping() if key == CLASSES:
            return [likeness(entry) for entry in value.values()]
        case Mapping():
            entries = {str(inner): entry for inner, entry in value.items() if not _is_word(inner, entry)}
            return {inner: likeness(entry, inner) for inner, entry in entries.items()}
        case Uniform() | LogUniform() | Choice() | Product():
            return _of_draw(value, likeness)
        case list() | tuple() if key == CLASSES:  # whose names `access_share` refers to
            return deciding(value)
        case list() | tuple():
            return [likeness(entry) for entry in value]
        case str():
            return _as_number(value)
    return value


def _is_word(key: Any, entry: Any) -> bool:
    return key in WORDS and isinstance(entry, str)


def _of_draw(draw: Draw, of_value: Any) -> list[Any]:
    """What of a draw decides, in the terms that values in it are told in."""
    if isinstance(draw, Choice):
        return ["choice", [of_value(entry) for entry in draw.of]]
    ends = [] if isinstance(draw, Product) else [_as_number(draw.from_), _as_number(draw.to), draw.is_whole]
    return [draw.draw, *ends, None if draw.step is None else _as_number(draw.step), draw.names]


def _as_number(value: Any) -> Any:
    """A quantity as its number and what it counts; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        quantity = quantity_of(value)
    except ValueError:
        return value
    return [quantity.unit, quantity.number]
