"""What a result depends on: the code that computes it, as one digest.

The code of a module and of all that it imports, directly or not, counts without its comments, docstrings and layout:
what only reads otherwise computes the same.
"""

import ast
import hashlib
import importlib.util
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = "tierenv"
_MODULE_IN_TEXT = re.compile(rf"({PACKAGE}(?:\.\w+)+)(?::\w+)?")
"""A string that names a module, as tables of what is imported late hold it."""


def code_digest(modules: Iterable[str]) -> str:
    """SHA-256 of the code of modules of tierenv and of all modules of tierenv that they import, inside functions too.

    Raises `ModuleNotFoundError` for one that there is not.
    """
    digest = hashlib.sha256()
    for name in sorted(imported_by(modules)):
        digest.update(f"{name} {_code(name)}\n".encode())
    return digest.hexdigest()


def imported_by(modules: Iterable[str]) -> set[str]:
    """Names of modules and of all modules of tierenv that they need, packages above them included."""
    found: set[str] = set()
    left = list(modules)
    for name in left:
        if _file(name) is None:
            raise ModuleNotFoundError(f"no module {name}")
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += [other for other in _imports(name) if _file(other) is not None]
    return found


def file_digest(paths: Iterable[Path]) -> str:
    """SHA-256 of the contents of files, in the order given."""
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths)).hexdigest()


@cache
def _imports(name: str) -> frozenset[str]:
    """Modules of tierenv, and what may be such, that a module imports or names."""
    parents = {name.rpartition(".")[0]}
    names: set[str] = set()
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            match = _MODULE_IN_TEXT.fullmatch(node.value)
            names.update(match.groups() if match else ())
    return frozenset(each for each in names | parents if each.partition(".")[0] == PACKAGE)


@cache
def _code(name: str) -> str:
    """A module's code as a syntax tree without docstrings."""
    tree = _tree(name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [each for each in node.body if not _is_text(each)] or [ast.Pass()]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    """Whether a statement is a string by itself, which documents what it stands in or below."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _tree(name: str) -> ast.Module:
    path = _file(name)
    assert path is not None
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _file(name: str) -> Path | None:
    """The source of a module; None if there is no such module, or it has none."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:  # something inside of a module that is no package
        return None
    origin = None if spec is None else spec.origin
    return Path(origin) if origin is not None and origin.endswith(".py") else None
