"""What verbs share: options that mean the same in each, and where results, tables and progress go."""

import os
import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from tyro.conf import Positional, arg

from tierenv.errors import ConfigError
from tierenv.files import check_output

INTERRUPTED = 130
"""Exit code of what Ctrl-C stopped."""

STDOUT = Path("-")
"""As a file for JSON; what people read then goes to stderr."""

JsonFile = Annotated[Path | None, arg(metavar="FILE", help="Write the result to this file, for machines; - is stdout.")]
DaemonOption = Annotated[
    str | None,
    arg(
        metavar="DAEMON",
        help="Daemon in place of the scenario's own: a path, or a name from `tierenv list daemons`.",
    ),
]

_PIPE_WIDTH = 160
"""Columns of a table that goes to a file or a pipe."""


@dataclass(frozen=True)
class Judged:
    """What a verb judges on: a suite, a scenario, or a set of a family."""

    target: Annotated[Positional[str | None], arg(metavar="[SUITE_OR_SCENARIO]")] = None
    """A suite or a scenario: a path, or a name from `tierenv list suites scenarios`."""
    family: Annotated[str | None, arg(metavar="FAMILY")] = None
    """In its place, a family of which scenarios are drawn: a path, or a name from `tierenv list families`."""
    split: Annotated[str | None, arg(metavar="training|selection|final")] = None
    """Which set of the family; selection by default."""
    scenarios: Annotated[int | None, arg(metavar="N")] = None
    """The first N scenarios of the set; by default all."""
    open_final: bool = False
    """Open the final set, which is logged: for other policies it then needs a new seed."""

    @property
    def judged_on(self) -> str:
        """The name by which `tierenv.train.config.load_suite` knows it. Raises `ConfigError`."""
        from tierenv.train.config import family_suite

        if self.family is not None:
            if self.target is not None:
                raise ConfigError(f"--family={self.family}: stands in place of {self.target}; leave one out")
            if self.scenarios is not None and self.scenarios < 0:
                raise ConfigError(f"--scenarios={self.scenarios}: must be at least 1")
            return family_suite(self.family, "selection" if self.split is None else self.split, self.scenarios)
        for option, value in (("--split", self.split), ("--scenarios", self.scenarios)):
            if value is not None:
                raise ConfigError(f"{option}={value}: is of a family; give --family")
        if self.target is None:
            raise ConfigError("name a suite, a scenario or --family; run: tierenv list suites scenarios families")
        return self.target


@cache
def stderr_console() -> Console:
    """One console for log and progress bar, so that neither overwrites the other."""
    return Console(stderr=True)


def check_outputs(*paths: Path | None, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse a path that cannot be written, or is an input, before the work, not after it. Raises `ConfigError`."""
    given = [path for path in paths if path not in (None, STDOUT)]
    read = {os.path.realpath(path): path for path in inputs}
    for path in given:
        if path is not None and (source := read.get(os.path.realpath(path))) is not None:
            raise ConfigError(f"{path}: is {source} itself, which is read; choose another path to write")
    for path in given:
        if given.count(path) > 1:
            raise ConfigError(f"{path}: is given for two outputs; choose another path for one of them")
        check_output(path)


def print_results(*contents: Any, beside: Path | None = None) -> None:
    """Results, to stdout, unless JSON goes there."""
    stream = sys.stderr if beside == STDOUT else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    console = Console(file=stream, width=width, markup=False, highlight=False)  # brackets are units and intervals
    for content in contents:
        console.print(content)


def write_json_output(path: Path | None, make_content: Callable[[], dict[str, Any]]) -> None:
    """Write what `--json` asks for, if it does, and the command that made it."""
    from tierenv.train.run_dir import to_json, write_json

    if path == STDOUT:
        print(to_json(make_content() | {"command": command_line()}), end="")
    elif path is not None:
        write_json(path, make_content() | {"command": command_line()})


def command_line() -> str:
    """The command being run, as a shell takes it."""
    return shlex.join(["tierenv", *sys.argv[1:]])
