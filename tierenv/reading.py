"""Files of limited size, as text or as the mapping YAML or JSON makes of it: no key twice, and errors of one line."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tierenv.errors import ConfigError

MAX_YAML_BYTES = 512 << 10
"""Read in some three seconds; the largest of our own is a hundredth of it."""
MAX_JSON_BYTES = 8 << 20
MAX_YAML_VALUES = 100_000
"""In a file, with what its aliases stand for written out."""


class FileText(str):
    """A text out of a file: what it refers to is relative to the folder of that file."""

    folder: Path

    def __new__(cls, text: str, folder: Path) -> "FileText":
        """Returns the text."""
        placed = super().__new__(cls, text)
        placed.folder = folder
        return placed


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping a YAML file holds, its texts as `FileText`.

    Raises `ConfigError` for unreadable files, keys given twice and content other than a mapping.
    """
    return parse_yaml(read_text(path, MAX_YAML_BYTES), path)


def parse_yaml(text: str, path: Path) -> dict[str, Any]:
    """The mapping that a text would be as the file at a path: see `read_yaml`. Raises `ConfigError`."""
    try:
        content = _Loader(text, path).get_single_data()
    except RecursionError:
        raise ConfigError(f"{path}: not valid YAML: nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {_without_words(error.problem)}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold a mapping of keys to values, got {type(content).__name__}")
    if not all(isinstance(key, str) and _NAME.fullmatch(key) for key in content):
        raise ConfigError(f"{path}: must hold a mapping of names to values, got a key that is no name")
    return content


def read_json(path: Path) -> dict[str, Any]:
    """The object a JSON file holds: see `parse_json`. Raises `ConfigError`."""
    return parse_json(read_text(path, MAX_JSON_BYTES), str(path))


def parse_json(text: str, origin: str) -> dict[str, Any]:
    """The object a text stands for, which can be written as JSON again.

    Raises `ConfigError` that starts with `origin`, also for keys given twice and numbers without end (NaN, Infinity,
    1e999). Halves of surrogate pairs pass: Python makes them of a command line that is not UTF-8.
    """
    try:
        content = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        json.dumps(content, allow_nan=False)
    except RecursionError:
        raise ConfigError(f"{origin}: not valid JSON: nested too deeply") from None
    except ValueError as error:
        raise ConfigError(f"{origin}: not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{origin}: must hold an object, got {type(content).__name__}")
    return content


def read_text(path: Path, most_bytes: int) -> str:
    """A file's text, without a byte order mark. Raises `ConfigError` as `read_bytes` does, and if it is not UTF-8."""
    try:
        return read_bytes(path, most_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from None


def read_bytes(path: Path, most_bytes: int) -> bytes:
    """A file's content. Raises `ConfigError` for what is no readable file or holds more than `most_bytes`."""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ConfigError(f"{path}: must be a file, not a pipe or a device")
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if len(content) > most_bytes:
        raise ConfigError(f"{path}: holds more than {most_bytes} bytes")
    return content


def with_point(number: str) -> str:
    """A number of a table, with a point for a decimal comma, unless that may separate thousands."""
    return number.replace(",", ".") if number.count(",") == 1 and "." not in number else number


class _Loader(yaml.SafeLoader):
    """YAML's own types, of a file at `path`."""

    def __init__(self, text: str, path: Path) -> None:
        super().__init__(text)
        self.path = path
        self._num_values = 0
        self._values_of: dict[yaml.Node, int] = {}
        """Finished nodes, and how many values each stands for."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        before, line = self._num_values, self.peek_event().start_mark.line + 1
        is_alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        if node is None:
            return None
        if is_alias and node not in self._values_of:
            raise ConfigError(f"{self.path}:{line}: the value of an alias holds the alias itself")
        self._num_values += self._values_of[node] if is_alias else 1
        self._values_of.setdefault(node, self._num_values - before)
        if self._num_values > MAX_YAML_VALUES:
            raise ConfigError(f"{self.path}:{line}: more than {MAX_YAML_VALUES} values, those of aliases included")
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        given: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in given:
                raise ConfigError(f"{self.path}:{key.start_mark.line + 1}: {_shown(key.value)}: is given twice")
            given.add(str(key.value))
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ConfigError:
            raise
        except (ValueError, ArithmeticError, LookupError, AttributeError):  # of PyYAML's constructors of scalars
            kind, line = node.tag.rpartition(":")[2], node.start_mark.line + 1
            raise ConfigError(f"{self.path}:{line}: a value is not a YAML {kind}") from None

    def construct_yaml_str(self, node: yaml.ScalarNode) -> FileText:
        node.value.encode()  # an escape such as "\ud800" makes half a character, a ValueError here
        return FileText(node.value, self.path.parent)


_Loader.add_constructor("tag:yaml.org,2002:str", _Loader.construct_yaml_str)


# A path may lead to a file that is no record of ours, and a message may be read by somebody who must not read the file.
# So a refusal quotes nothing of a text but names, and of these no more than the place needs.

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


def _shown(key: str) -> str:
    return key if _NAME.fullmatch(key) else "a key"


def _without_words(problem: str | None) -> str:
    """What PyYAML says is wrong, without the words of the file that it quotes."""
    return re.sub(r" '[^'<]{3,}'", "", problem or "")


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"{_shown(key)} is given twice")
        content[key] = value
    return content
