"""The command line of the controller: `python3 -I tierenv-live.pyz VERB`, and `tierenv live VERB`.

Exit codes: 0 success, 1 failure or refused, 2 bad usage.
"""

from __future__ import annotations

import argparse
import json
import os
import pkgutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from tierenv.live.check import Findings, check
from tierenv.live.controller import Controller
from tierenv.live.facts import FACTS, MOST_FACT, untold
from tierenv.live.files import (
    NOTES,
    Refused,
    is_locked,
    is_written_by_others,
    locked_notes,
    read_text,
    root_folder,
    say,
)
from tierenv.live.guard import Guard
from tierenv.live.health import HealthCommand, metrics_for
from tierenv.live.journal import Journal
from tierenv.live.kernel import KNOBS
from tierenv.live.machine import Machine
from tierenv.live.policy import Policy, Tables
from tierenv.live.record import header, sample_line
from tierenv.live.report import STATUS, Report
from tierenv.live.supervisor import every, restore_and_say, supervise
from tierenv.live.unit import is_hidden, unit_text

TablesOf = Callable[[str], Tables]
"""Tables of a policy by name or path."""

_TABLES = "tables.json"
"""Beside these modules, in an archive."""
_WINDOW = 15
_START_WAIT_S = 1.0
_RESTORE_WAIT_S = 10.0
"""As the exported scripts wait."""


def main(arguments: Sequence[str], tables_of: TablesOf | None = None) -> int:
    """Run a command line. Returns the exit code.

    Args:
        arguments: without the program's name.
        tables_of: makes the tables of `--policy`; None in an archive, which holds those of its policy.
    """
    parser = _parser(has_policy=tables_of is None)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options, tables_of))
    except Refused as error:
        say(str(error))
        return 1
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return 130


def _parser(*, has_policy: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=os.path.basename(sys.argv[0]) if has_policy else "tierenv live",
        description="Steer NUMA balancing of memory tiers by a learned policy, under a guard. Whatever is written to a "
        f"knob is noted before, under {NOTES}, and put back at the end.",
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    of_cgroups = argparse.ArgumentParser(add_help=False)
    of_cgroups.add_argument(
        "--cgroup",
        type=_cgroup,
        action="append",
        default=[],
        metavar="FOLDER",
        help="cgroup to steer for, below /sys/fs/cgroup",
    )
    named = argparse.ArgumentParser(add_help=False, parents=[of_cgroups])
    named.add_argument("--pid", type=_count, action="append", default=[], metavar="PID", help="process to steer for")
    policy = argparse.ArgumentParser(add_help=False)
    if not has_policy:
        policy.add_argument(
            "--policy", required=True, metavar="NAME_OR_PATH", help="a learned policy of NUMA balancing"
        )
    facts = argparse.ArgumentParser(add_help=False)
    facts.add_argument(
        "--machine",
        type=_fact,
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help=f"what the firmware does not tell of the tiers and the policy observes: {', '.join(FACTS)}",
    )
    steps = argparse.ArgumentParser(add_help=False)
    steps.add_argument("--intervals", type=_count, metavar="N", help="end after so many")
    watched = argparse.ArgumentParser(add_help=False)
    watched.add_argument(
        "--health", metavar="FILE", help="JSON list of a program that prints a number of which more is worse"
    )
    watched.add_argument("--metrics", metavar="FILE", help="write Prometheus' text format there, each interval")
    window = argparse.ArgumentParser(add_help=False)
    window.add_argument(
        "--window", type=_count, metavar="N", help=f"intervals before and of the canary step ({_WINDOW})"
    )

    verb = verbs.add_parser(
        "check", parents=[named, facts], help="what forbids it on this machine, and what makes it doubtful"
    )
    if not has_policy:
        verb.add_argument("--policy", metavar="NAME_OR_PATH", help="look at what this policy observes, too")
    verb.set_defaults(run=_check)
    verb = verbs.add_parser(
        "advise", parents=[named, facts, policy, steps, watched], help="say what it would do; writes no knob"
    )
    verb.set_defaults(run=_advise)
    verb = verbs.add_parser("run", parents=[named, facts, policy, steps, watched, window], help="do it, with --apply")
    verb.add_argument("--apply", action="store_true", help="write knobs; without it nothing is done")
    verb.set_defaults(run=_run)
    verb = verbs.add_parser(
        "record", parents=[named], help="write counters and settings as JSON lines, for tierenv replay"
    )
    verb.add_argument("--output", metavar="FILE", help="by default stdout")
    verb.add_argument("--intervals", type=_count, metavar="N", help="end after so many")
    verb.add_argument("--interval-s", type=_seconds, default=2.0, metavar="S", help="time between two lines (2)")
    verb.set_defaults(run=_record)
    verb = verbs.add_parser("status", help="what runs, what it did last, which knobs are its own")
    verb.set_defaults(run=_status)
    verb = verbs.add_parser("restore", help="put back what was found, after a kill of all of it")
    verb.set_defaults(run=_restore)
    if has_policy:
        verb = verbs.add_parser(
            "unit", parents=[of_cgroups, facts, watched, window], help="print a systemd unit that runs this archive"
        )
        verb.set_defaults(run=_unit)
    return parser


def _check(options: argparse.Namespace, tables_of: TablesOf | None) -> int:
    has_policy = tables_of is None or options.policy is not None
    findings = _findings(options, _policy(options, tables_of) if has_policy else None)
    for kind, lines in (("", findings.facts), ("warning: ", findings.warnings), ("refused: ", findings.refusals)):
        for line in lines:
            print(f"{kind}{line}")
    if not findings.refusals:
        print("nothing forbids run --apply")
    return 1 if findings.refusals else 0


def _advise(options: argparse.Namespace, tables_of: TablesOf | None) -> int:
    root, policy = root_folder(), _policy(options, tables_of)
    machine = _machine(options)
    refusal = untold(policy.facts, machine.facts)
    if refusal is not None:
        raise Refused(refusal)
    controller = Controller(policy, machine, None, Journal(root), _health_command(options))
    report = Report(policy, None, root, options.metrics)
    try:
        every(policy.interval_s, _steps(options, machine, controller, report), _sleep)
    finally:
        report.end()
    return 0


def _run(options: argparse.Namespace, tables_of: TablesOf | None) -> int:
    if not options.apply:
        raise Refused("run writes knobs: say so with --apply, or see what it would do with advise")
    root, policy = root_folder(), _policy(options, tables_of)
    if tables_of is None and not sys.flags.isolated:
        raise Refused(
            f"start it as python3 -I {sys.argv[0]}: without -I Python loads modules of the user's and of others"
        )
    with locked_notes(root, wait_s=_START_WAIT_S) as folder:
        journal = Journal(root, folder)
        if journal.is_ours:
            say("puts back what a killed one has left")
            if not restore_and_say(journal):
                return 1
        elif journal.noted():
            raise Refused(f"an exported script's setting is in force ({root}{NOTES}): take it back with its --restore")
        findings = _findings(options, policy)
        if findings.refusals or findings.machine is None:
            raise Refused("; ".join(findings.refusals))
        for line in findings.warnings:
            say(f"warning: {line}")
        machine, command = findings.machine, _health_command(options)
        if command is not None and command.number() is None:
            raise Refused(f"--health {options.health}: its program gives no number as nobody within a second")
        metrics = metrics_for(
            machine.fast_pages,
            has_pressure=machine.read().pressure_us is not None,
            has_command=command is not None,
        )
        guard = Guard(metrics, options.window or _WINDOW)
        _go_on_waiting(guard, root)
        report = Report(policy, guard, root, options.metrics)
        controller = Controller(policy, machine, guard, journal, command)
        code = supervise(_steps(options, machine, controller, report), policy.interval_s, journal)
        report.end()
        return code


def _go_on_waiting(guard: Guard, root: str) -> None:
    """Let a wait outlast a restart: whoever wrote a knob is left his time."""
    try:
        guard.go_on_waiting(json.loads(read_text(root + STATUS))["waits"], time.monotonic())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # there was none


def _record(options: argparse.Namespace, _tables_of: TablesOf | None) -> int:
    machine = _machine(options)
    missing = [path for path in KNOBS if path not in machine.knobs()]
    if missing:
        raise Refused(f"cannot read {', '.join(missing)}: not root, or debugfs is not mounted")
    try:
        output: TextIO = sys.stdout if options.output is None else open(options.output, "x", encoding="ascii")
    except OSError as error:
        raise Refused(f"--output {options.output}: {error.strerror}") from None

    def write_sample() -> None:
        print(sample_line(machine.read()), file=output, flush=True)

    try:
        print(header(machine), file=output, flush=True)
        every(options.interval_s, _counted(write_sample, options, machine), _sleep)
    except OSError as error:
        raise Refused(f"cannot read or write: {error}") from None
    except KeyboardInterrupt:
        pass
    finally:
        if output is not sys.stdout:
            output.close()
    return 0


def _status(_options: argparse.Namespace, _tables_of: TablesOf | None) -> int:
    root = root_folder()
    try:
        last: dict[str, Any] = json.loads(read_text(root + STATUS))
    except (OSError, ValueError):
        last = {}
    is_running = is_locked(root)
    print("running" if is_running else "not running")
    if last:
        label = "last decision" if is_running else "last decision of the one before"
        print(f"{label}: {json.dumps(last)}")
    journal = Journal(root)
    noted = journal.noted()
    owner = "a controller" if journal.is_ours else "an exported script"
    for path, value in noted.items():
        print(f"{path}: set by {owner}, held {value} before")
    if not noted:
        print("no knob is set")
    elif journal.is_ours and not is_running:
        print("left by a killed one: restore puts it back")
    return 0


def _restore(_options: argparse.Namespace, _tables_of: TablesOf | None) -> int:
    root = root_folder()
    with locked_notes(root, wait_s=_RESTORE_WAIT_S):
        journal = Journal(root)
        if not journal.is_ours:
            left = "nothing to restore"
            if journal.noted():
                left = "what an exported script has set is left to its own --restore"
            say(left)
        return 0 if restore_and_say(journal) else 1


def _unit(options: argparse.Namespace, _tables_of: TablesOf | None) -> int:
    archive = os.path.realpath(sys.argv[0])
    if not root_folder():
        others = is_written_by_others(archive)
        if others is not None:
            raise Refused(
                f"{others} can be written by others than root: copy the archive into a folder of root's first"
            )
        for path in filter(None, (archive, options.health)):
            if is_hidden(os.path.abspath(path)):
                raise Refused(f"{path}: a service sees neither homes nor /tmp: copy it to /usr/local/lib or /etc first")
    words: list[str] = []
    for cgroup in options.cgroup:
        words += ["--cgroup", cgroup]
    for name, number in options.machine:
        words += ["--machine", f"{name}={number}"]
    writable = []
    for name in ("health", "metrics"):
        value = getattr(options, name)
        if value is not None:
            words += [f"--{name}", os.path.abspath(value)]
    if options.metrics is not None:
        writable.append(os.path.dirname(os.path.abspath(options.metrics)))
    if options.window is not None:
        words += ["--window", str(options.window)]
    interval_s = _policy(options, None).interval_s
    print(unit_text(archive, words, writable, interval_s, has_command=options.health is not None), end="")
    return 0


def _steps(options: argparse.Namespace, machine: Machine, controller: Controller, report: Report) -> Callable[[], bool]:
    return _counted(lambda: report.tell(controller.step()), options, machine)


def _counted(work: Callable[[], None], options: argparse.Namespace, machine: Machine) -> Callable[[], bool]:
    """An interval's work, which goes on for as many as were asked for and as long as what was named is there."""
    left = options.intervals

    def step() -> bool:
        nonlocal left
        work()
        left = None if left is None else left - 1
        return left != 0 and not machine.has_ended()

    return step


def _policy(options: argparse.Namespace, tables_of: TablesOf | None) -> Policy:
    if tables_of is not None:
        tables = tables_of(options.policy)
    else:
        content = pkgutil.get_data("tierenv.live", _TABLES)
        assert content is not None
        tables = json.loads(content)
    try:
        return Policy(tables)
    except ValueError as error:
        raise Refused(str(error)) from None


def _machine(options: argparse.Namespace) -> Machine:
    try:
        return Machine(root_folder(), options.pid, options.cgroup, dict(getattr(options, "machine", [])))
    except OSError as error:
        raise Refused(f"{error.filename}: {error.strerror}") from None


def _findings(options: argparse.Namespace, policy: Policy | None) -> Findings:
    return check(
        root_folder(),
        options.pid,
        options.cgroup,
        os.path.abspath(sys.argv[0]),
        policy.facts if policy is not None else (),
        dict(options.machine),
    )


def _health_command(options: argparse.Namespace) -> HealthCommand | None:
    return None if options.health is None else HealthCommand(options.health)


def _sleep(seconds: float) -> bool:
    time.sleep(max(0.0, seconds))
    return True


def _count(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number above 0")
    return int(text)


def _fact(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if name not in FACTS:
        raise argparse.ArgumentTypeError(f"{text}: must be NAME=NUMBER, NAME one of {', '.join(FACTS)}")
    if not (number.isascii() and number.isdigit() and len(number) <= 20 and 0 < int(number) <= MOST_FACT):
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number from 1 to {MOST_FACT}")
    return name, int(number)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text}: must be from 0.1 to 3600 seconds")
    return seconds


def _cgroup(text: str) -> str:
    """A folder below /sys/fs/cgroup that does not lead out of it."""
    folder = text.strip("/")
    if not folder or any(part in ("", ".", "..") for part in folder.split("/")) or "\0" in folder:
        raise argparse.ArgumentTypeError(f"{text}: must be a folder below /sys/fs/cgroup")
    return folder
