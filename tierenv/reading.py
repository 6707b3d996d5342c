"""YAML and JSON files as mappings: texts that know their folder, no key twice, and errors of one line."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tierenv.errors import ConfigError


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
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        loader.path = path
        content = loader.get_single_data()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: not valid YAML: {reason}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold a mapping of keys to values, got {type(content).__name__}")
    return content


def read_json(path: Path) -> dict[str, Any]:
    """The object a JSON file holds. Raises `ConfigError`, also for keys given twice and for NaN and Infinity."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold an object, got {type(content).__name__}")
    return content


class _Loader(yaml.SafeLoader):
    """YAML's own types, of a file at `path`."""

    path: Path

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        given: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in given:
                raise ConfigError(f"{self.path}:{key.start_mark.line + 1}: {key.value}: is given twice")
            given.add(str(key.value))
        return node

    def construct_yaml_str(self, node: yaml.ScalarNode) -> FileText:
        return FileText(node.value, self.path.parent)


_Loader.add_constructor("tag:yaml.org,2002:str", _Loader.construct_yaml_str)


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"{key} is given twice")
        content[key] = value
    return content
