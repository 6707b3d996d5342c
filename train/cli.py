"""The command line: what a run of it comes to.

Exit codes: 0 success, 1 failure, 2 bad usage or input, 130 interrupted, 141 nobody read the output to its end.
"""

import logging
import sys
from collections.abc import Sequence

import tyro
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler
from tyro.conf import FlagCreatePairsOff

from tierenv import __version__
from tierenv.errors import ConfigError
from tierenv.train.interrupt import end_as_by_ctrl_c
from tierenv.train.terminal import on_any_terminal
from tierenv.train.verbs import Verb
from tierenv.train.verbs.common import INTERRUPTED, stderr_console

BAD_INPUT = 2

LIVE = "live"
"""The verb whose work and options are `tierenv.live`'s."""


@on_any_terminal
def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, by default the process's. Returns the exit code."""
    _log_tostderr_console()
    end_as_by_ctrl_c()
    if list(sys.argv[1:] if arguments is None else arguments) == ["--version"]:
        print(f"tierenv {__version__}")
        return 0
    try:
        words = list(sys.argv[1:] if arguments is None else arguments)
        if words[:1] == [LIVE]:  # its options are those of the archive, which has no tyro
            return _live(words[1:])
        verb = tyro.cli(
            Verb,
            args=arguments,
            prog="tierenv",
            description="Find the best settings of a Linux memory-tiering daemon on a calibrated model; tierenv live "
            f"--help tells how to steer a running kernel by them. --version says that this is {__version__}.",
            config=(FlagCreatePairsOff,),
        )
        return verb.run()
    except SystemExit as exit_request:  # tyro has printed help or what is wrong
        return exit_request.code if isinstance(exit_request.code, int) else 0
    except ConfigError as error:
        print(f"tierenv: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("tierenv: interrupted", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"tierenv: {place}{error.strerror or error}", file=sys.stderr)
        return 1


def _live(words: Sequence[str]) -> int:
    """The verb `live`: what the exported archive is, with a policy of the user's choice."""
    from tierenv.agents.export.controller import tables_of
    from tierenv.agents.export.learned_source import learned_source
    from tierenv.live.command import main as live_main

    return live_main(words, lambda policy: tables_of(policy, learned_source(policy)))


def _log_tostderr_console() -> None:
    """Log lines without ornament; on a terminal above the progress bar."""
    handler: logging.Handler = logging.StreamHandler()
    if stderr_console().is_terminal:
        handler = RichHandler(
            console=stderr_console(), show_time=False, show_level=False, show_path=False, highlighter=NullHighlighter()
        )
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
