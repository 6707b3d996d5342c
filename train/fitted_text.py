"""Fitted values put into the YAML text they started from, in place: all else of it stays as it is, byte by byte."""

import json
import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tierenv.calibration import Estimate
from tierenv.errors import ConfigError
from tierenv.priors import with_values
from tierenv.reading import FileText
from tierenv.records import NamedRecord, is_bare_word, locate, record_of_text, reference_from
from tierenv.scenario import Scenario
from tierenv.train.run_dir import to_yaml
from tierenv.units import format_number, parse_bytes, parse_bytes_per_s, parse_seconds

log = logging.getLogger(__name__)

COMMENT_COLUMN = 31
"""Where comments begin on lines that are written anew."""
_FITTED = re.compile(r"# (\w+ )?fitted, 95 % interval ")
_UNIT = re.compile(r"\s*[0-9.eE+-]+?\s*([A-Za-z]+(/s)?)?\s*")


@dataclass(frozen=True)
class Start:
    """The text that a fit started from."""

    kind: str
    """Of its file: platforms or workloads."""
    text: str
    folder: Path
    """What paths in it are relative to."""


def start_of(kind: str, path: Path, text: str) -> Start:
    """The text of a file."""
    return Start(kind, text, path.parent)


def start_within(kind: str, content: Mapping[str, Any]) -> Start:
    """What stands within another file, as a text of its own."""
    like = content.get("like")
    folder = like.folder if isinstance(like, FileText) else Path()
    return Start(kind, to_yaml(_plain(content)), folder)


def _plain(content: Any) -> Any:
    """Texts without the folders they come from."""
    if isinstance(content, dict):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_plain(value) for value in content]
    return str(content) if isinstance(content, str) else content


def fitted_text(start: Start, part: str, scenario: Scenario, estimates: Sequence[Estimate], path: Path) -> str:
    """The text with the fitted values of a part of the scenario, as it is to stand at a path.

    Comments, units and marks stay; a value that stands elsewhere (in the file this is like, or nowhere) is added. A
    text in which a value stands for several things (an anchor) is written anew.

    Args:
        start: the text.
        part: platform or workload.
        scenario: the fitted one.
        estimates: those of the other part are passed over.
        path: of the file to be written.
    """
    record: NamedRecord = getattr(scenario, part)
    own = [estimate for estimate in estimates if estimate.parameter.field.startswith(f"{part}.")]
    try:
        here = start.folder / path.name  # where its paths lead already; the folder of the other may not be there yet
        content = record_of_text(start.kind, type(record), _edited(start, own, here), here)
        if _is_fitted(scenario.model_copy(update={part: content}), scenario, part, own):
            return _edited(start, own, path)
    except (ConfigError, yaml.YAMLError, LookupError, ValueError):
        pass
    log.warning("%s: is written anew, without the comments, priors and sources of the %s it started from", path, part)
    return to_yaml(record.model_dump(exclude={"name"}))


def _is_fitted(found: Scenario, scenario: Scenario, part: str, estimates: Sequence[Estimate]) -> bool:
    """Whether a part read back is the fitted one, but for the last bit of numbers written in other units."""
    parameters = [estimate.parameter for estimate in estimates]
    values = [parameter.value_of(scenario) for parameter in parameters]
    is_near = all(
        math.isclose(parameter.value_of(found), value, rel_tol=1e-3)
        for parameter, value in zip(parameters, values, strict=True)
    )
    same = getattr(with_values(found, parameters, values), part)
    fitted = getattr(with_values(scenario, parameters, values), part)
    return is_near and same.identity == fitted.identity


@dataclass
class _Edits:
    """Changes to a text, collected before any is made."""

    replaced: list[tuple[int, int, str]] = field(default_factory=list)
    """Start, end and what comes there."""
    comments: dict[int, list[str]] = field(default_factory=dict)
    """By an index of the line: what is to be said at its end, the key first."""


def _edited(start: Start, estimates: Sequence[Estimate], path: Path) -> str:
    text = start.text
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise LookupError("no mapping")
    edits = _Edits()
    _move_paths(root, start, path, edits)
    appended = [line for estimate in estimates if (line := _put(text, root, estimate, edits)) is not None]
    newline = "\r\n" if "\r\n" in text else "\n"
    for first, end, content in _line_ends(text, edits):
        edits.replaced.append((first, end, content))
    for first, end, content in sorted(edits.replaced, key=lambda edit: edit[0], reverse=True):
        text = text[:first] + content + text[end:]
    if appended and text and not text.endswith("\n"):
        text += newline
    return text + "".join(line + newline for line in appended)


def _move_paths(root: yaml.MappingNode, start: Start, path: Path, edits: _Edits) -> None:
    """Have relative paths lead where they led, from the folder of the file to be written."""
    like = _child(root, "like")
    if isinstance(like, yaml.ScalarNode) and not is_bare_word(like.value):
        leads_to = _move(like, start, path, edits)
        if leads_to == os.path.realpath(path):
            raise LookupError("like leads to the file itself")
    phases = _child(root, "phases")
    parts = [root, *(phases.value if isinstance(phases, yaml.SequenceNode) else [])]
    for part in parts:
        file = _child(_child(part, "heat"), "file")
        if isinstance(file, yaml.ScalarNode):
            _move(file, start, path, edits)


def _move(node: yaml.ScalarNode, start: Start, path: Path, edits: _Edits) -> str:
    """Returns where a path leads."""
    here, there = os.path.realpath(start.folder), os.path.realpath(path.parent)
    leads_to = os.path.realpath(locate(FileText(node.value, Path(here))))
    if here != there and not os.path.isabs(node.value):
        moved = json.dumps(reference_from(there, leads_to), ensure_ascii=False)
        edits.replaced.append((node.start_mark.index, node.end_mark.index, moved))
    return leads_to


def _put(text: str, root: yaml.MappingNode, estimate: Estimate, edits: _Edits) -> str | None:
    """Replace a value, or add it to the mapping it belongs to; gives a line for the end of the text if that is root."""
    parameter = estimate.parameter
    _, *outer, key = parameter.field.split(".")
    comment = _comment(estimate, 1.0)
    entry = f"{key}: {format_number(estimate.value)}{parameter.unit}"
    parent: yaml.Node | None = root
    for name in outer:
        parent = _child(parent, name)
    if parent is None:
        return f"{outer[0]}: {{{entry}}}".ljust(COMMENT_COLUMN - 1) + f" # {key} {comment}"
    node = _child(parent, key)
    if isinstance(node, yaml.MappingNode):
        node = _child(node, "value")
    if isinstance(node, yaml.ScalarNode):
        first, end = node.start_mark.index, node.end_mark.index
        unit, ratio = _unit_of(node.value, estimate)
        number = f"{format_number(estimate.value * ratio)}{unit}"
        edits.replaced.append((first, end, text[first:end].replace(node.value, number, 1)))
        edits.comments.setdefault(end, []).append(f"{key} {_comment(estimate, ratio)}")
        return None
    if not isinstance(parent, yaml.MappingNode) or node is not None:
        raise LookupError(key)
    if parent.flow_style:
        end = parent.end_mark.index - 1
        edits.replaced.append((end, end, f"{', ' if parent.value else ''}{entry}"))
        edits.comments.setdefault(parent.end_mark.index, []).append(f"{key} {comment}")
        return None
    if parent is root:
        return f"{entry:<{COMMENT_COLUMN - 1}} # {comment}"
    first = parent.value[0][0].start_mark
    newline = "\r\n" if "\r\n" in text else "\n"
    edits.replaced.append((first.index, first.index, f"{entry} # {comment}{newline}{' ' * first.column}"))
    return None


def _child(parent: yaml.Node | None, key: str) -> yaml.Node | None:
    """What a mapping has under a key."""
    if not isinstance(parent, yaml.MappingNode):
        return None
    return next((value for name, value in parent.value if name.value == key), None)


def _comment(estimate: Estimate, ratio: float) -> str:
    return f"fitted, 95 % interval {ratio * estimate.low:.3g} to {ratio * estimate.high:.3g}"


def _unit_of(written: str, estimate: Estimate) -> tuple[str, float]:
    """The unit that a text has, and how many of it the parameter's is. Raises ValueError."""
    match = _UNIT.fullmatch(written)
    if match is None:
        raise ValueError(written)
    unit, own = match[1] or "", estimate.parameter.unit
    if unit == own:
        return unit, 1.0
    for parse in (parse_seconds, parse_bytes_per_s, parse_bytes):
        with suppress(ValueError):
            return unit, parse(f"1{own}") / parse(f"1{unit}")
    raise ValueError(written)


def _line_ends(text: str, edits: _Edits) -> list[tuple[int, int, str]]:
    """What is to be said at the ends of lines, with the comments that stand there."""
    tokens = [
        token for token in yaml.scan(text, Loader=yaml.SafeLoader) if token.end_mark.index > token.start_mark.index
    ]
    by_line: dict[int, list[str]] = {}
    for index, comments in edits.comments.items():
        by_line.setdefault(_end_of_line(text, index), []).extend(comments)
    found = []
    for end, comments in by_line.items():
        last = max(token.end_mark.index for token in tokens if token.start_mark.index < end)
        if last > end:
            continue  # within a text of several lines there are no comments
        old = text[last:end].strip()
        is_block = len(comments) == 1 and re.match(r"\s*[\w-]+:\s+[^{\[]*$", text[text.rfind("\n", 0, end) + 1 : last])
        said = "; ".join(comment.partition(" ")[2] if is_block else comment for comment in comments)
        before = "" if not old or _FITTED.match(old) else f"; before: {old.lstrip('# ')}"
        gap = text[last:end][: len(text[last:end]) - len(text[last:end].lstrip())] or " "
        found.append((last, end, f"{gap}# {said}{before}"))
    return found


def _end_of_line(text: str, index: int) -> int:
    end = text.find("\n", index)
    end = len(text) if end < 0 else end
    return end - 1 if text[end - 1 : end] == "\r" else end
