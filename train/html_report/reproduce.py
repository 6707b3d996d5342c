"""How what is reported came about, as far as its file knows."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any


def known(**values: str | None) -> list[tuple[str, str]]:
    """Names, with spaces for underscores, and values of what is known."""
    return [(name.replace("_", " "), value) for name, value in values.items() if value]


def command(*words: str) -> str:
    """A command line of tierenv, as a shell takes it."""
    return shlex.join(["tierenv", *words])


def command_of(content: Mapping[str, Any], otherwise: str | None = None) -> str | None:
    """The command line that a file names, or else what is known of it."""
    named = content.get("command")
    return named if isinstance(named, str) else otherwise


def seeds_text(seeds: Sequence[int]) -> str:
    """Seeds in words."""
    if len(seeds) > 1 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def versions_text(versions: Any) -> str:
    """Versions of packages in words, of a file that may hold anything in their place."""
    if not isinstance(versions, Mapping):
        return ""
    return ", ".join(f"{name} {version}" for name, version in versions.items() if isinstance(version, str))
