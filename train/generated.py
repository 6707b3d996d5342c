"""Documents of which parts are generated: tables in Markdown between marks that a program finds again.

A part stands between `<!-- begin NAME -->` and `<!-- end NAME -->`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path


def with_parts(path: Path, text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """The text of a document with every part made anew. Raises `ValueError` unless each stands there once."""
    for name, make in parts.items():
        pattern = re.compile(f"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        part = make().replace("\\", r"\\")
        text, count = pattern.subn(rf"\g<1>{part}\n\g<2>", text)
        if count != 1:
            raise ValueError(f"{path}: part {name} must stand there once, found {count} times")
    return text


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int) -> str:
    """A table whose columns from `numbers_from` on are aligned to the right."""
    rule = ["---" if index < numbers_from else "---:" for index in range(len(columns))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (columns, rule, *rows))
