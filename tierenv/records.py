"""Frozen records read from YAML: quantities with units, packaged names and paths, and errors of one line.

Every record refuses unknown keys and values outside their range with a `ConfigError` that names file, field, value and
what is allowed. Names resolve to the packaged files under `tierenv.configs`, paths to the user's own.
"""

import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from tierenv.errors import ConfigError, close_match
from tierenv.units import parse_bytes, parse_bytes_per_s, parse_seconds

Bytes = Annotated[int, BeforeValidator(parse_bytes), PlainSerializer(lambda size: f"{size}B")]
BytesPerSecond = Annotated[
    float,
    BeforeValidator(parse_bytes_per_s),
    PlainSerializer(lambda rate: "unlimited" if math.isinf(rate) else f"{rate!r}B/s"),
]
Seconds = Annotated[float, BeforeValidator(parse_seconds), PlainSerializer(lambda seconds: f"{seconds!r}s")]
Fraction = Annotated[float, Field(ge=0, le=1)]

Quantity = TypeVar("Quantity")


class Record(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other fields, not validated. Unlike pydantic's it does not take cached properties along."""
        copy = super().model_copy(update=update, deep=deep)
        for name in [name for name in copy.__dict__ if name not in type(self).model_fields]:
            del copy.__dict__[name]
        return copy


RecordType = TypeVar("RecordType", bound=Record)

CONFIG_KINDS = (
    "platforms",
    "daemons",
    "workloads",
    "scenarios",
    "suites",
    "algorithms",
    "measurements",
    "policies",
)


def packaged(kind: str) -> dict[str, Path]:
    """Packaged configurations of a kind (a folder of configs/), by name."""
    folder = Path(str(resources.files("tierenv.configs"))) / kind
    # a dot in the stem marks what belongs to another file, such as the report beside a calibrated platform
    found = (path for path in folder.iterdir() if not path.name.startswith("_") and "." not in path.stem)
    return {path.stem if path.is_file() else path.name: path for path in sorted(found)}


def resolve(kind: str, name_or_path: str) -> Path:
    """The file (or bundle folder) a name or path stands for.

    A word without a slash and without a suffix is a packaged name; anything else is a path. Raises `ConfigError`.
    """
    path = Path(name_or_path)
    if "/" in name_or_path or path.suffix or path.exists():
        if not path.exists():
            raise ConfigError(f"{name_or_path}: no such file; for packaged {kind} run: tierenv list {kind}")
        return path
    known = packaged(kind)
    if name_or_path not in known:
        raise ConfigError(
            f"unknown {kind.removesuffix('s')} {name_or_path!r}{close_match(name_or_path, known)}; "
            f"run: tierenv list {kind}"
        )
    return known[name_or_path]


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping a YAML file holds. Raises `ConfigError` for unreadable files and other content."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: not valid YAML: {reason}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold a mapping of keys to values, got {type(content).__name__}")
    return content


def load_record(kind: str, record: type[RecordType], name_or_path: str) -> RecordType:
    """Read one record from a packaged name or a path; its `name` defaults to the file's.

    A file that says `like: NAME_OR_PATH` holds only what differs from another of its kind.
    """
    path = resolve(kind, name_or_path)
    return validate_record(record, {"name": path.stem} | read_values(kind, path), str(path))


def read_values(kind: str, path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The mapping of a file put over that of the file it is like. Raises `ConfigError`."""
    values = read_yaml(path)
    if "like" not in values:
        return values
    like = values.pop("like")
    if not isinstance(like, str):
        raise ConfigError(f"{path}: like={like!r}: must be the name or path of one of the {kind}")
    if path in seen:
        raise ConfigError(f"{path}: like={like!r}: leads back to this file")
    try:
        base = read_values(kind, resolve(kind, like), (*seen, path))
    except ConfigError as error:
        raise ConfigError(f"{path}: like: {error}") from None
    base.pop("name", None)
    return _put_over(base, values)


def _put_over(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """A mapping with other values, those of nested mappings key by key."""
    merged = base | values
    for key in base.keys() & values.keys():
        if isinstance(base[key], dict) and isinstance(values[key], dict):
            merged[key] = _put_over(base[key], values[key])
    return merged


def validate_record(record: type[RecordType], values: dict[str, Any], origin: str) -> RecordType:
    """Build a record; the first thing wrong becomes a `ConfigError` that starts with `origin`."""
    try:
        return record.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {_first_problem(record, error)}") from None


def _first_problem(record: type[Record], error: ValidationError) -> str:
    # a misspelt key is missing too: what stands in the file says more than what does not
    problem = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    location = [str(part) for part in problem["loc"]]
    field = ".".join(location)
    if problem["type"] == "extra_forbidden":
        known = _fields_at(record, location[:-1])
        return f"{field}: unknown key{close_match(location[-1], known)}; allowed: {', '.join(known)}"
    if problem["type"] == "missing":
        return f"{field}: required key is missing"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should", "must")
    if problem["type"] == "value_error":
        return f"{field}: {message}" if field else message
    return f"{field}={problem['input']!r}: {message}"


def _fields_at(record: type[Record], location: list[str]) -> list[str]:
    """Fields of the record that stands at a place within another, indices of sequences included."""
    fields = record.model_fields
    for part in location:
        annotation = getattr(fields.get(part), "annotation", None)
        for nested in (annotation, *get_args(annotation)):
            if isinstance(nested, type) and issubclass(nested, BaseModel):
                fields = nested.model_fields
                break
    return list(fields)
