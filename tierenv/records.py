"""Frozen records read from YAML: quantities with units, names and paths, files like others, errors of one line.

Every record refuses unknown keys and values outside their range with a `ConfigError` that names file, field, value and
what is allowed. A bare word names a packaged file under `tierenv.configs`; anything else is a path, relative to the
file it stands in. `like:` puts a record over another of its kind. Of a machine or a program a number may stand with its
source and with how well it is known: {value: 130ns, prior: 1.3, source: MLC}; the record holds the value alone.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, cast, get_args, get_origin, overload

from pydantic import (
    AfterValidator,
    AllowInfNan,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from tierenv.errors import ConfigError, close_match
from tierenv.reading import FileText, parse_yaml, read_yaml
from tierenv.units import (
    DAY_S,
    MAX_BYTES,
    format_bytes,
    format_bytes_per_s,
    format_seconds,
    parse_bytes,
    parse_bytes_per_s,
    parse_seconds,
)

Bytes = Annotated[int, BeforeValidator(parse_bytes), PlainSerializer(lambda size: f"{size}B"), Field(le=MAX_BYTES)]
BytesPerSecond = Annotated[
    float,
    AllowInfNan(True),  # infinity is "unlimited", and parse_bytes_per_s lets no other odd number pass
    BeforeValidator(parse_bytes_per_s),
    PlainSerializer(lambda rate: "unlimited" if math.isinf(rate) else f"{rate!r}B/s"),
]
Seconds = Annotated[
    float, BeforeValidator(parse_seconds), PlainSerializer(lambda seconds: f"{seconds!r}s"), Field(le=DAY_S)
]
Fraction = Annotated[float, Field(ge=0, le=1)]

QUANTITIES: dict[Any, tuple[str, Callable[[float], str]]] = {
    parse_bytes: ("size", format_bytes),
    parse_bytes_per_s: ("rate", format_bytes_per_s),
    parse_seconds: ("time", format_seconds),
}
"""By what reads a quantity: its kind, and what writes one for people."""

Quantity = TypeVar("Quantity")

MAX_NAME_LENGTH = 100
"""Characters of a name: it stands in tables and file names."""


def check_name(name: str) -> str:
    """The name. Raises ValueError for what is none."""
    if not name.isprintable() or "/" in name or name.startswith(".") or not 1 <= len(name) <= MAX_NAME_LENGTH:
        raise ValueError(
            f"{name[:MAX_NAME_LENGTH]!r}: must be 1 to {MAX_NAME_LENGTH} printable characters, without a slash or a "
            "dot in front"
        )
    return name


Name = Annotated[str, AfterValidator(check_name)]
"""One line for people, which may become the name of a file."""


_WRITTEN_WITH_EXPONENT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][+-]?[0-9]+")
"""1e-3, which YAML 1.1 reads as a text for want of a point; nobody means that."""


def _number(kind: str, value: object) -> object:
    """What may stand for a number: not true, false or a text, which pydantic reads as numbers too."""
    if isinstance(value, str) and _WRITTEN_WITH_EXPONENT.fullmatch(value):
        return float(value)
    if isinstance(value, bool | str):
        raise PydanticCustomError("number_expected", f"must be {kind}")
    return value


def _no_boolean(allowed: str, value: object) -> object:
    """What may stand for one of some numbers: not true, which equals 1."""
    if isinstance(value, bool):
        raise PydanticCustomError("number_expected", f"must be {allowed}")
    return value


MARKS = ("value", "prior", "source")
"""Keys of a number that stands with where it comes from."""


def has_marks(content: object) -> bool:
    """Whether what a file holds looks like a number with MARKS."""
    return isinstance(content, dict) and "value" in content and content.keys() <= set(MARKS)


def _without_marks(number: object) -> object:
    """The value of a number that stands with marks; any other as it is."""
    if not isinstance(number, Mapping):
        return number
    unknown = [str(key) for key in number if key not in MARKS]
    if unknown:  # the last: the first may be the `like` of a mapping over a text, which this was taken for
        text = f"{unknown[-1]}: unknown key{close_match(unknown[-1], MARKS)}; allowed: {', '.join(MARKS)}"
        raise PydanticCustomError("mark", "{text}", {"text": text})
    for key, problem in (
        ("value", "required key is missing" if "value" not in number else ""),
        ("prior", _prior_problem(number["prior"]) if "prior" in number else ""),
        ("source", "must be a text" if not isinstance(number.get("source", ""), str) else ""),
    ):
        if problem:
            raise PydanticCustomError("mark", "{text}", {"text": f"{key}: {problem}"})
    return cast("object", number["value"])


FIXED = "fixed"
"""The prior of what no calibration may change."""
MAX_PRIOR = 100.0
"""Above it a prior says nothing; numbers of half a dozen digits are another quantity by mistake."""


def _prior_problem(prior: object) -> str:
    """What is wrong with a prior; "" where nothing is."""
    is_number = isinstance(prior, int | float) and not isinstance(prior, bool)
    if prior == FIXED or (is_number and 1 < cast("float", prior) <= MAX_PRIOR):
        return ""
    shown = f"got {prior!r}, " if is_number else ""
    return f"{shown}must be a factor of one standard deviation, above 1 and at most {MAX_PRIOR:g}, or the word {FIXED}"


_PARTS = ("schema", "fields", "choices", "items_schema", "values_schema", "definitions")
"""Keys under which a schema has others."""


def _with_strict_numbers(schema: Any, record: type["Record"]) -> Any:
    """The schema of a record, or part of it, in which only a number is one; records inside have seen to themselves."""
    if isinstance(schema, list):
        return [_with_strict_numbers(part, record) for part in schema]
    kind = schema.get("type")
    before = schema["function"]["function"] if kind == "function-before" else None
    if before is _without_marks or getattr(before, "func", None) in (_number, _no_boolean):
        return schema  # pydantic asks for a schema more than once
    if kind == "int":
        return _number_of(record, partial(_number, "a whole number"), schema)
    if kind == "float":
        return _number_of(record, partial(_number, "a number"), schema)
    if kind == "literal" and any(isinstance(value, int) for value in schema["expected"]):
        *others, last = map(repr, schema["expected"])
        allowed = f"{', '.join(others)} or {last}" if others else last
        return _number_of(record, partial(_no_boolean, allowed), schema)
    if before in QUANTITIES and record.takes_marks:
        return core_schema.no_info_before_validator_function(_without_marks, schema)
    is_another = kind == "model" and schema["cls"] is not record
    takes_either = kind == "union" and any(choice.get("type") == "bool" for choice in schema["choices"])
    if is_another or takes_either:
        return schema
    if kind in (None, "fields"):  # of names, not a schema
        return {name: _with_strict_numbers(part, record) for name, part in schema.items()}
    return schema | {key: _with_strict_numbers(schema[key], record) for key in _PARTS if key in schema}


def _number_of(record: type["Record"], check: Callable[[object], object], schema: Any) -> CoreSchema:
    """The schema of a number that is checked before, its marks taken off where the record's may have them."""
    checked = core_schema.no_info_before_validator_function(check, schema)
    return core_schema.no_info_before_validator_function(_without_marks, checked) if record.takes_marks else checked


class Record(BaseModel):
    """A frozen record that refuses unknown keys, and what is no number in place of one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    takes_marks: ClassVar[bool] = False
    """Whether its numbers may stand with MARKS: those of machines and programs, which a calibration reads."""

    short_forms: ClassVar[type["Record"] | None] = None
    """What its files may say in place of fields, if anything; a validator makes the fields of it."""

    @classmethod
    def replaced(cls, below: Mapping[str, Any], above: Mapping[str, Any]) -> set[str]:
        """Keys of one mapping that say nothing any more when another is put over it, beside those the other has."""
        return set()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The schema of the fields, in which only a number is one."""
        return cast("CoreSchema", _with_strict_numbers(handler(source), cls))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other fields, not validated. Unlike pydantic's it does not take cached properties along."""
        copy = super().model_copy(update=update, deep=deep)
        for name in [name for name in copy.__dict__ if name not in type(self).model_fields]:
            del copy.__dict__[name]
        return copy


class NamedRecord(Record):
    """A record with a file of its own."""

    name: Name
    """What people call it, by default the name of its file; it decides nothing."""
    summary: str = ""
    """One line for people."""

    @cached_property
    def identity(self) -> str:
        """SHA-256 of all that decides: not names and summaries, nor what has its default value.

        A field that is added later, with a default, leaves identities as they are.
        """
        return identity_of(self)

    @property
    def short_identity(self) -> str:
        """Enough of it for people."""
        return self.identity[:12]


def identity_of(value: object) -> str:
    """SHA-256 of all that decides of records, or of mappings and lists of them; see `NamedRecord.identity`."""
    content = json.dumps(_deciding(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def _deciding(value: object) -> object:
    """What of a value decides, as JSON can hold it; 2 and 2.0 are the same."""
    if isinstance(value, Record):
        left_out = set(NamedRecord.model_fields) if isinstance(value, NamedRecord) else set()
        return {
            name: _deciding(getattr(value, name))
            for name, field in type(value).model_fields.items()
            if name not in left_out and getattr(value, name) != field.get_default()
        }
    if isinstance(value, Mapping):
        return {str(key): _deciding(content) for key, content in value.items()}
    if isinstance(value, tuple | list):
        return [_deciding(content) for content in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


RecordType = TypeVar("RecordType", bound=Record)

CONFIG_KINDS = (
    "platforms",
    "daemons",
    "workloads",
    "scenarios",
    "suites",
    "families",
    "algorithms",
    "sweeps",
    "measurements",
    "policies",
)


def singular(kind: str) -> str:
    """What one of a kind is called."""
    return "family" if kind == "families" else kind.removesuffix("s")


def packaged(kind: str) -> dict[str, Path]:
    """Packaged configurations of a kind (a folder of configs/), by name."""
    folder = Path(str(resources.files("tierenv.configs"))) / kind
    # a dot in the stem marks what belongs to another file, such as the report beside a calibrated platform
    found = (path for path in folder.iterdir() if not path.name.startswith("_") and "." not in path.stem)
    return {path.stem if path.is_file() else path.name: path for path in sorted(found)}


def is_bare_word(name_or_path: str) -> bool:
    """Whether this is a packaged name, whatever stands in the working folder; anything else is a path."""
    return "/" not in name_or_path and "." not in name_or_path


def locate(path: str) -> Path:
    """Where a path leads: from the folder of the file it stands in, or else from the working folder."""
    return path.folder / path if isinstance(path, FileText) else Path(path)


def reference_from(folder: str | Path, path: str | Path) -> str:
    """How a file in a folder refers to another, right also through links, and never a bare word."""
    led = os.path.relpath(os.path.realpath(path), os.path.realpath(folder))
    return f".{os.sep}{led}" if is_bare_word(led) else led


def resolve(kind: str, name_or_path: str) -> Path:
    """The file (or bundle folder) a name or path stands for. Raises `ConfigError`."""
    if not is_bare_word(name_or_path):
        path = locate(name_or_path)
        if not os.path.exists(path):  # unlike Path.exists this is False for what cannot be a path
            raise ConfigError(f"{path}: no such file; for packaged {kind} run: tierenv list {kind}")
        return path
    known = packaged(kind)
    if name_or_path not in known:
        raise ConfigError(
            f"unknown {singular(kind)} {name_or_path!r}{path_hint(name_or_path, known)}; run: tierenv list {kind}"
        )
    return known[name_or_path]


def path_hint(word: str, known: Iterable[str]) -> str:
    """What somebody may have meant by an unknown name: a file of that name, or the nearest known one."""
    here = locate(word)
    for path in (here, here.with_name(f"{here.name}.yaml")) if word else ():
        if os.path.exists(path):
            return f"; for the one in this folder write ./{path.name}"
    return close_match(word, known)


@overload
def load_record(kind: str, record: type[RecordType], name_or_path: str) -> RecordType: ...
@overload
def load_record(kind: str, record: object, name_or_path: str) -> Any: ...
def load_record(kind: str, record: Any, name_or_path: str) -> Any:
    """Read one record from a packaged name or a path; its `name` defaults to the file's. Raises `ConfigError`.

    A file that says `like: NAME_OR_PATH` holds only what differs from another of its kind. The record may be of
    several types that a field tells apart (a discriminated union).
    """
    path = resolve(kind, name_or_path)
    return validate_record(record, read_values(kind, path, record), str(path))


def keys_in(records: Iterable[type[Record]]) -> dict[str, list[FieldInfo]]:
    """The keys that mappings of these records may have, and the fields that each may stand for."""
    found: dict[str, list[FieldInfo]] = {}
    for record in records:
        for part in filter(None, (record, record.short_forms)):
            for name, field in part.model_fields.items():
                found.setdefault(field.alias or name, []).append(field)
    return found


def _inside(fields: Iterable[FieldInfo]) -> list[type[Record]]:
    """The records that fields may hold."""
    return [record for field in fields for record in records_in(field.annotation)]


def record_of_text(kind: str, record: type[RecordType], text: str, path: Path) -> RecordType:
    """What `load_record` would read if a text stood in the file at a path. Raises `ConfigError`."""
    return validate_record(record, _over_its_base(kind, path, parse_yaml(text, path), record), str(path))


def content_of(kind: str, record: type[Record], given: Any) -> dict[str, Any]:
    """What the files of a record hold, put over each other, numbers with their marks. Raises `ConfigError`.

    Args:
        kind: of the record.
        record: its type.
        given: its name or path, or what stands for it in another file.
    """
    if isinstance(given, str):
        return read_values(kind, resolve(kind, given), record)
    return _over_what_it_is_like(kind, given, record)


def read_values(kind: str, path: Path, record: Any, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """The mapping of a file, put over that of the file it is like. Raises `ConfigError`.

    Args:
        kind: of the file.
        path: of the file.
        record: what such a file holds. It must have one of the keys: of another file nothing is to be told, not even
            keys.
        seen: files that led here.
    """
    return _over_its_base(kind, path, read_yaml(path), record, seen)


def _over_its_base(
    kind: str, path: Path, own: dict[str, Any], record: Any, seen: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What a file holds, put over the file that it is like: see `read_values`."""
    if not own.keys() & {*keys_in(records_in(record)), "like"}:
        raise ConfigError(f"{path}: has none of the keys of a {singular(kind)} file; see docs/configuration.md")
    values = {"name": path.stem} | own
    try:
        return _over_what_it_is_like(kind, values, record, (*seen, os.path.realpath(path)))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _over_what_it_is_like(kind: str, values: dict[str, Any], record: Any, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """A mapping put over that of the file its `like` names, if it has one; `seen` leads here. Raises `ConfigError`."""
    if "like" not in values:
        return values
    like = values["like"]
    if not isinstance(like, str):
        raise ConfigError(f"like={like!r}: must be the name or path of one of the {kind}")
    try:
        path = resolve(kind, like)
        base = None if os.path.realpath(path) in seen else read_values(kind, path, record, seen)
    except ConfigError as error:
        raise ConfigError(f"like: {error}") from None
    if base is None:
        raise ConfigError(f"like={like!r}: leads back to itself")
    return put_over(base, {key: value for key, value in values.items() if key != "like"}, records_in(record))


def put_over(base: dict[str, Any], values: dict[str, Any], records: list[type[Record]]) -> dict[str, Any]:
    """A mapping of one of some records with other values, those of nested mappings key by key.

    A mapping over a text changes what the text refers to; one that says `like` itself stands for itself, and so do a
    number with marks and a draw (`tierenv.draws`). Marks without a value are put on the one that is there.
    """
    gone = {key for record in records for key in record.replaced(base, values)}
    merged = {key: value for key, value in base.items() if key not in gone} | values
    fields = keys_in(records)
    for key in base.keys() & values.keys() - gone:
        below, above = base[key], values[key]
        if isinstance(above, dict) and above and above.keys() <= set(MARKS):
            if "value" not in above:
                merged[key] = (below if isinstance(below, dict) else {"value": below}) | above
        elif isinstance(above, dict) and not above.keys() & {"like", "draw"}:
            if isinstance(below, str):
                below = {"like": below}
            if isinstance(below, dict):
                merged[key] = put_over(below, above, _inside(fields.get(key, [])))
    return merged


def with_changes(record: RecordType, changes: Mapping[str, Any], origin: str) -> RecordType:
    """A record with other values, given as in a file that is like it; `origin` starts what `ConfigError` says."""
    return validate_record(type(record), put_over(record.model_dump(), dict(changes), [type(record)]), origin)


@dataclass(frozen=True)
class Reference:
    """Marks a field that holds a record of a kind: its name or path, or its content, which may be `like` another."""

    kind: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The schema of the record, fed with what is read."""
        return core_schema.no_info_wrap_validator_function(partial(self._read, source), handler(source))

    def _read(self, record: Any, value: object, validate: Callable[[object], Any]) -> Any:
        if isinstance(value, str):
            path = resolve(self.kind, value)
            return _validated(record, validate, read_values(self.kind, path, record), str(path))
        if isinstance(value, dict):
            return validate(_over_what_it_is_like(self.kind, value, record))
        if isinstance(value, Record):
            return validate(value)
        kind = singular(self.kind)
        raise PydanticCustomError("reference_expected", f"must be the name or path of a {kind}, or what one holds")


@overload
def validate_record(record: type[RecordType], values: Mapping[str, Any], origin: str) -> RecordType: ...
@overload
def validate_record(record: object, values: Mapping[str, Any], origin: str) -> Any: ...
def validate_record(record: Any, values: Mapping[str, Any], origin: str) -> Any:
    """Build a record; the first thing wrong becomes a `ConfigError` that starts with `origin`, unless that is ""."""
    return _validated(record, TypeAdapter(record).validate_python, values, origin)


def _validated(record: Any, validate: Callable[[object], Any], values: Mapping[str, Any], origin: str) -> Any:
    try:
        return validate(values)
    except ValidationError as error:
        raise ConfigError(f"{origin}{': ' * bool(origin)}{_first_problem(record, values, error)}") from None
    except UnicodeEncodeError as error:  # pydantic's, of a key
        raise ConfigError(f"{origin}: {error.object!r}: is not text, but half of a surrogate pair") from None


_WRONG_KINDS = {
    "must be a list": ("tuple_type", "list_type"),
    "must be a mapping of keys to values": ("dict_type", "mapping_type", "model_type", "model_attributes_type"),
    "must be a text": ("string_type", "string_unicode"),
    "must be a whole number": ("int_type", "int_parsing", "int_parsing_size", "int_from_float"),
    "must be a number": ("float_type", "float_parsing"),
    "must be true or false": ("bool_type", "bool_parsing"),
}
_WORDS = {kind: words for words, kinds in _WRONG_KINDS.items() for kind in kinds}
"""What is allowed, by pydantic's name for what is wrong."""
_LIMITS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "greater than or equal to"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "less than or equal to"),
}
_COUNTS = {"too_short": ("min_length", "at least"), "too_long": ("max_length", "at most")}


def _first_problem(record: Any, values: object, error: ValidationError) -> str:
    problem = min(error.errors(), key=_rank)
    kind, context, given = problem["type"], problem.get("ctx", {}), problem["input"]
    place = _place(record, values, problem["loc"])
    if kind.startswith("union_tag"):
        place.words.append(context["discriminator"].strip("'"))
    if kind == "missing":
        place.words.append(str(problem["loc"][-1]))
    field = ".".join(place.words)
    if kind == "invalid_key" or problem["loc"][-1:] == ("[key]",):
        field = ".".join(place.words[:-1])
        return f"{field}{': ' * bool(field)}keys must be texts, got {problem['input']!r}"
    if place.is_marked and kind != "mark":
        field += ".value"
        given = given["value"] if isinstance(given, Mapping) else given
    match kind:
        case "extra_forbidden":
            word = place.words[-1]
            return f"{field}: unknown key{close_match(word, place.known)}; allowed: {', '.join(place.known)}"
        case "missing" | "union_tag_not_found":
            return f"{field}: required key is missing"
        case "union_tag_invalid":
            return f"{field}={context['tag']!r}: must be one of {context['expected_tags']}"
        case "mark":
            return f"{field}.{context['text']}"
        case "value_error":
            message = problem["msg"].removeprefix("Value error, ")
            return f"{field}: {message}" if field else message
    allowed = _allowed(kind, context, place.field) or problem["msg"].replace("Input should", "must")
    return f"{field}={given!r}: {allowed}"


def _rank(problem: Mapping[str, Any]) -> tuple[bool, int, bool]:
    """What says most comes first.

    A misspelt key is missing too: what stands in the file says more than what does not. What is wrong inside a list
    says more than that the list lacks an entry, and of the alternatives of a union the one whose kind was given more
    than another.
    """
    return problem["type"] != "extra_forbidden", -len(problem["loc"]), problem["type"].endswith("_type")


def _allowed(kind: str, context: Mapping[str, Any], field: FieldInfo | None) -> str:
    """What is allowed in words, for the problems that pydantic words in its own terms; "" for others."""
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        limit = context[name]
        write = (quantity_writer(field.metadata) if field and limit else None) or "{:.15g}".format
        return f"must be {words} {write(limit)}"
    if kind in _COUNTS:
        name, words = _COUNTS[kind]
        return f"must have {words} {context[name]} {'entry' if context[name] == 1 else 'entries'}"
    return _WORDS.get(kind, "")


def quantity_writer(marks: Iterable[Any]) -> Callable[[float], str] | None:
    """What writes the numbers of a field with these marks with their unit, None if they have none."""
    return next((QUANTITIES[mark.func][1] for mark in marks if getattr(mark, "func", None) in QUANTITIES), None)


@dataclass
class _Place:
    """A place in a record."""

    words: list[str]
    """The keys that lead there."""
    known: list[str]
    """The fields there are around its end."""
    field: FieldInfo | None
    """The last field on the way."""
    is_marked: bool = False
    """Whether a number with MARKS stands there."""


def _place(record: Any, values: object, location: tuple[int | str, ...]) -> _Place:
    """The place a location leads to, in which pydantic also names alternatives of unions."""
    here, place = records_in(record), _Place([], [], None)
    for part in location:
        tagged = [each for each in here if len(here) > 1 and isinstance(part, str) and part in _tags(each)]
        if tagged:
            here = tagged
            continue
        inside = dict(enumerate(values)) if isinstance(values, list | tuple) else values
        keys = {str(key): key for key in inside} if isinstance(inside, Mapping) else {}
        known = keys_in(here)
        place.known = list(known)
        if str(part) not in keys:
            continue
        place.words.append(str(part))
        values = inside[keys[str(part)]]  # type: ignore[index]
        fields = known.get(str(part), [])
        place.field = fields[0] if fields else place.field
        inner_records = _inside(fields)
        is_number = place.field is not None and not inner_records and any(each.takes_marks for each in here)
        place.is_marked = is_number and has_marks(values)
        here = inner_records or here
    return place


def records_in(annotation: Any) -> list[type[Record]]:
    """Records a type is made of, such as those of a union or a sequence."""
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return [annotation]
    return [record for part in get_args(annotation) for record in records_in(part)]


def _tags(record: type[Record]) -> set[Any]:
    """What may tell a record from others of a union: the values of its literal fields."""
    literals = (field.annotation for field in record.model_fields.values() if get_origin(field.annotation) is Literal)
    return {tag for literal in literals for tag in get_args(literal)}
