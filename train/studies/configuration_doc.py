"""The tables of docs/configuration.md, from the records: `python -m tierenv.train.studies.configuration_doc`."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from tierenv.daemon import Daemon
from tierenv.draws import Draw
from tierenv.experiments import Experiment
from tierenv.family import Family
from tierenv.forms import WithDraws
from tierenv.platform import Platform
from tierenv.records import QUANTITIES, NamedRecord, Record, Reference, quantity_writer, records_in
from tierenv.scenario import Scenario
from tierenv.train.config import Suite, TrainingConfig
from tierenv.train.studies.generated import ROOT, markdown_table, rewrite, with_parts
from tierenv.train.sweep.plan import Sweep
from tierenv.workload import Workload

CONFIGURATION_DOC = ROOT / "docs" / "configuration.md"

KINDS: dict[str, Any] = {
    "scenarios": Scenario,
    "workloads": Workload,
    "platforms": Platform,
    "daemons": Daemon,
    "suites": Suite,
    "families": Family | Draw,
    "algorithms": TrainingConfig,
    "sweeps": Sweep,
    "measurements": Experiment,
}
"""What a file of each kind holds, in the order of the document."""

COLUMNS = ("field", "type", "allowed", "default", "meaning")

LIMITS = (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below"))
COUNTS = (("min_length", "at least"), ("max_length", "at most"))
"""What marks of a field say under which name, and its word."""

SIMPLE = {bool: "true or false", int: "whole number", float: "number", str: "text", NoneType: "null", Any: "anything"}


def kind_part(kind: str) -> str:
    """The records of a kind: that of its files, then those only found inside it."""
    return "\n\n".join(record_section(record) for record in records_of(kind))


def records_of(kind: str) -> list[type[Record]]:
    """The records a kind's files are made of, those of other kinds left out, each before what it holds."""
    found: list[type[Record]] = []
    waiting = records_in(KINDS[kind])
    others = [record for other in KINDS if other != kind for record in records_in(KINDS[other])]
    while waiting:
        record = waiting.pop(0)
        if record not in found and record not in others:
            found.append(record)
            waiting += [inner for field in record.model_fields.values() for inner in records_in(field.annotation)]
            waiting += records_in(record.short_forms)
    return found


def record_section(record: type[Record]) -> str:
    """A record's heading, what it is, and the table of its fields."""
    meanings = field_meanings(record)
    rows = []
    for name, field in record.model_fields.items():
        is_files_name = name == "name" and issubclass(record, NamedRecord)
        default = "the file's" if is_files_name else _default(field)
        cells = (_type(field.annotation, field.metadata), _range(field.metadata), default, meanings[name])
        rows.append((f"`{field.alias or name}`", *(" ".join(cell.split()).replace("|", r"\|") for cell in cells)))
    summary = " ".join(str(inspect.getdoc(record)).split("\n\n")[0].split())
    table = markdown_table(COLUMNS, rows, numbers_from=len(COLUMNS))
    return f"### {record.__name__}\n\n{summary}\n\n{table}"


def field_meanings(record: type[Record]) -> dict[str, str]:
    """The text under each field of a record's class. Raises `ValueError` for a field without one."""
    found: dict[str, str] = {}
    for base in reversed(record.__mro__):
        if issubclass(base, Record):
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
            assert isinstance(body, ast.ClassDef)
            found |= dict(_texts_under_fields(body.body))
    for name in record.model_fields:
        if name not in found:
            raise ValueError(f"{record.__name__}.{name}: has no text that says what it means")
    return found


def _texts_under_fields(body: Sequence[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, text in zip(body, body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            yield field.target.id, ast.literal_eval(text.value)


def _type(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """What a value is, in words."""
    for mark in metadata:
        if isinstance(mark, Reference):
            return f"one of the [{mark.kind}](#{mark.kind})"
        if isinstance(mark, WithDraws):
            return f"what one of the [{mark.kind}](#{mark.kind}) holds, with draws"
        if isinstance(mark, BeforeValidator) and mark.func in QUANTITIES:
            return QUANTITIES[mark.func][0]
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner, *rest = parts
        marks = [mark for each in rest for mark in (each.metadata if isinstance(each, FieldInfo) else [each])]
        limits = _range(marks)
        return _type(inner, marks) + f" ({limits})" * bool(limits)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in parts)
    if origin in (Union, UnionType):
        return " or ".join(_type(part) for part in parts)
    if origin is tuple:
        return f"[{', '.join(map(_type, parts))}]"
    if origin is dict:
        return f"{{name: {_type(parts[1])}, ...}}"
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return "..." if annotation is Ellipsis else SIMPLE[annotation]


def _range(metadata: Iterable[Any]) -> str:
    """The limits of a value, or of how many there are, in words."""
    marks = list(metadata)
    write = _writer(marks)
    limits = [f"{word} {write(getattr(mark, name))}" for name, word in LIMITS for mark in marks if hasattr(mark, name)]
    counts = [f"{word} {getattr(mark, name)} of them" for mark in marks for name, word in COUNTS if hasattr(mark, name)]
    return ", ".join(limits + counts)


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.is_required():
        return "required"
    if isinstance(value, Record):
        return "its defaults"
    if value in ("", (), {}):
        return "none"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return value if isinstance(value, str) else _writer(field.metadata)(value)


def _writer(metadata: Iterable[Any]) -> Callable[[float], str]:
    """What writes the numbers of a field: with their unit, or whole ones with all their digits."""
    return quantity_writer(metadata) or (lambda number: f"{number:g}" if isinstance(number, float) else f"{number:,}")


PARTS: dict[str, Callable[[], str]] = {kind: partial(kind_part, kind) for kind in KINDS}


def render(text: str) -> str:
    """The document with its tables made anew."""
    return with_parts(CONFIGURATION_DOC, text, PARTS)


def main() -> int:
    """Rewrite docs/configuration.md. Returns the exit code."""
    return rewrite(CONFIGURATION_DOC, render)


if __name__ == "__main__":
    sys.exit(main())
