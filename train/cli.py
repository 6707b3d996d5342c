"""The command line. Each verb is a record whose fields are its options and whose `run` delegates at once.

What a verb needs is imported when it runs, so that `tierenv --help` answers at once.

Exit codes: 0 success, 1 failure, 2 bad usage or input, 130 interrupted, 141 nobody read the output to its end.
"""

import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler
from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg, subcommand

from tierenv import __version__
from tierenv.agents.export import FORMATS
from tierenv.errors import ConfigError
from tierenv.extras import require
from tierenv.files import check_output
from tierenv.train.interrupt import end_as_by_ctrl_c
from tierenv.train.progress import shown_progress
from tierenv.train.terminal import on_any_terminal

if TYPE_CHECKING:
    from tierenv.train.learn import TrainingResult

INTERRUPTED = 130
BAD_INPUT = 2

_PIPE_WIDTH = 160
"""Columns of a table that goes to a file or a pipe."""

JsonFile = Annotated[Path | None, arg(metavar="FILE")]
LIVE = "live"
"""The verb whose work and options are `tierenv.live`'s."""
STDOUT = Path("-")
"""As a file for JSON; what people read then goes to stderr."""


@dataclass(frozen=True)
class Train:
    """Train a policy; Ctrl-C stops after a checkpoint, --resume goes on from it."""

    config: Annotated[Positional[str], arg(metavar="CONFIG")]
    """Training configuration: a path, or a name from `tierenv list algorithms`."""
    run_dir: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder of the run; by default runs/CONFIG-sSEED."""
    seed: Annotated[int | None, arg(metavar="N")] = None
    """Seed of networks, exploration and episodes, in place of the configuration's."""
    timesteps: Annotated[int | None, arg(metavar="N")] = None
    """Environment steps to train in all, in place of the configuration's."""
    resume: bool = False
    """Continue the run from its latest whole checkpoint; not bit for bit, since random states are not kept."""

    def run(self) -> int:
        """Train."""
        require("train", "train")
        from tierenv.train.config import load_training_config
        from tierenv.train.run_dir import RunDirectory

        config = load_training_config(self.config).with_overrides(seed=self.seed, timesteps=self.timesteps)
        open_run = RunDirectory.resume if self.resume else RunDirectory.create
        with open_run(self.run_dir, config, _command_line()) as folder:
            from tierenv.train.learn import learn

            with shown_progress("training", _stderr()) as report_progress:
                result = learn(config, folder, report_progress)
            _print_training(result, str(folder.path))
        return INTERRUPTED if result.is_interrupted else 0


@dataclass(frozen=True)
class Evaluate:
    """Compare policies on the same episodes, with bounds on what any policy can reach."""

    target: Annotated[Positional[str], arg(metavar="SUITE_OR_SCENARIO")]
    """A suite or a scenario: a path, or a name from `tierenv list suites scenarios`."""
    policy: Annotated[UseAppendAction[tuple[tuple[str, ...], ...]], arg(metavar="NAME_OR_PATH")] = ()
    """Policies: names from `tierenv list policies`, run folders, bundle folders, sb3:PATH.zip, python:MODULE:FACTORY;
    may be repeated."""
    seeds: Annotated[int, arg(metavar="N")] = 10
    """Episodes for each scenario: seeds 10000, 10001, ..., every second one with held-out phase orders."""
    daemon: Annotated[str | None, arg(metavar="DAEMON")] = None
    """Daemon in place of the scenario's own: a path, or a name from `tierenv list daemons`."""
    trust: bool = False
    """Let sb3:PATH.zip be unpickled, which runs whatever its author put there."""
    json: JsonFile = None
    """Write the result to this file, for machines; - is stdout."""
    plot: Annotated[Path | None, arg(metavar="FILE")] = None
    """Draw the first episode of every policy side by side into this PNG file; one scenario only."""
    trace: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write the kernel's trace events of the first episode of every scenario and policy, one JSON object a line."""

    def run(self) -> int:
        """Evaluate."""
        _check_outputs(self.json, self.plot, self.trace)
        from tierenv.agents.foreign import command_line_loader
        from tierenv.train import report
        from tierenv.train.evaluate import evaluate
        from tierenv.train.journal import journal_of

        if self.plot is not None:
            require("plots", "--plot")
        names = [name for group in self.policy for name in group]
        load = command_line_loader(is_trusted=self.trust)
        with journal_of("evaluate", self.target, self.daemon, names, self.seeds) as journal:
            with shown_progress("evaluating", _stderr()) as report_progress:
                result = evaluate(
                    self.target,
                    names,
                    self.seeds,
                    with_timelines=self.plot is not None,
                    daemon=self.daemon,
                    load=load,
                    journal=journal,
                    report_progress=report_progress,
                )
            if self.plot is not None:
                report.write_plot(self.plot, result.timelines)
            if self.trace is not None:
                from tierenv.train.trace import write_trace

                write_trace(self.trace, self.target, names, result.seeds[0], load, self.daemon)
            _write_json(self.json, result.to_json)
        _print(*report.evaluation_tables(result), beside=self.json)
        return 0


@dataclass(frozen=True)
class Tune:
    """Search the best static setting of a scenario, or of each of a suite and of all of it together."""

    target: Annotated[Positional[str], arg(metavar="SUITE_OR_SCENARIO")]
    """A suite or a scenario: a path, or a name from `tierenv list suites scenarios`."""
    trials: Annotated[int | None, arg(metavar="N")] = None
    """Settings to try; by default as many as the grid has, which takes no other number (144 for three tunables, 577 for
    numa-balancing)."""
    sampler: Annotated[str, arg(metavar="grid|random")] = "grid"
    """grid spans the ranges of the daemon, 0 and unlimited included; random draws as exploration would."""
    daemon: Annotated[str | None, arg(metavar="DAEMON")] = None
    """Daemon in place of the scenario's own: a path, or a name from `tierenv list daemons`."""
    seeds: Annotated[int, arg(metavar="N")] = 4
    """Tuning episodes for each setting; the finalists are judged on twice as many fresh ones."""
    save: bool = False
    """Store the winner as the scenario's best-static policy, in the user's data folder; of a suite the one setting for
    all as one-static:SUITE, too."""
    json: JsonFile = None
    """Write the result to this file, for machines; - is stdout."""

    def run(self) -> int:
        """Search."""
        _check_outputs(self.json)
        from tierenv.agents.best_static import check_storage
        from tierenv.train import report
        from tierenv.train.journal import journal_of
        from tierenv.train.search import save_search, search_target

        stored = check_storage() if self.save else None
        with journal_of("tune", self.target, self.daemon, self.sampler, self.trials, self.seeds) as journal:
            with shown_progress("searching", _stderr()) as report_progress:
                result = search_target(
                    self.target,
                    self.sampler,
                    self.trials,
                    self.seeds,
                    daemon=self.daemon,
                    journal=journal,
                    report_progress=report_progress,
                )
            _write_json(self.json, result.to_json)
            if stored is not None:
                save_search(result, _command_line(), stored)
        _print(*report.search_tables(result), *([f"stored in {stored}"] if stored else []), beside=self.json)
        return 0


@dataclass(frozen=True)
class Distil:
    """Turn a learned policy into a decision tree that people can read."""

    source: Annotated[Positional[str], arg(metavar="RUN_OR_BUNDLE")]
    """The teacher: a run folder, a bundle folder, or a packaged bundle from `tierenv list policies`."""
    output: Annotated[Path, arg(metavar="DIR")]
    """Bundle folder to write; evaluate and export take it like any other."""
    leaves: Annotated[int, arg(metavar="N")] = 16
    """Size of the tree, at most: so many settings does it choose from."""
    scenario: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="SCENARIO")] = ()
    """Scenarios to play on, in place of those the teacher was trained on; may be repeated."""
    seeds: Annotated[int, arg(metavar="N")] = 10
    """Evaluation episodes for each scenario: seeds 10000, 10001, ..., every second one with held-out phase orders."""
    json: JsonFile = None
    """Write the result to this file, for machines; - is stdout."""

    def run(self) -> int:
        """Distil."""
        _check_outputs(self.json)
        from tierenv.train import report
        from tierenv.train.distil import distil

        if self.output.exists():
            raise ConfigError(f"{self.output}: already exists; remove it or choose another path")
        with shown_progress("distilling", _stderr()) as report_progress:
            result = distil(self.source, self.leaves, self.scenario, self.seeds, report_progress=report_progress)
        _write_json(self.json, result.to_json)
        result.write(self.output, _command_line())  # last: where it stands, all is done
        _print(report.distillation_table(result), f"wrote {self.output}", beside=self.json)
        return 0


@dataclass(frozen=True)
class Export:
    """Turn a policy into what an operator installs."""

    source: Annotated[Positional[str], arg(metavar="RUN_OR_POLICY")]
    """A run folder, a bundle, or a policy from `tierenv list policies`."""
    format: Annotated[str, arg(metavar="FORMAT")]
    """One of the formats above."""
    output: Annotated[Path, arg(metavar="PATH")]
    """File or folder to write."""
    scenario: Annotated[str | None, arg(metavar="SCENARIO")] = None
    """The scenario a policy given by name is for; what is learned knows its own and takes none."""
    daemon: Annotated[str | None, arg(metavar="DAEMON")] = None
    """Daemon in place of the scenario's own: a path, or a name from `tierenv list daemons`."""
    target: Annotated[str | None, arg(metavar="TARGET")] = None
    """Kernel mechanism to set, for formats with a choice; the first named is the default."""
    evaluation: Annotated[Path | None, arg(metavar="FILE")] = None
    """What `evaluate --json` wrote of this policy beside others: puts the expected gain into the header."""
    with_demotion: bool = False
    """Switch demotion on as well, without which promotion stops once the fast node is full; for static formats that
    reach /sys."""

    def run(self) -> int:
        """Export."""
        from tierenv.agents.export import export_policy
        from tierenv.daemon import load_daemon
        from tierenv.scenario import load_scenario
        from tierenv.train.gains import read_gains

        scenario = None if self.scenario is None else load_scenario(self.scenario)
        if self.daemon is not None:
            if scenario is None:
                raise ConfigError(f"--daemon={self.daemon}: needs the scenario that it is for (--scenario)")
            scenario = scenario.under(load_daemon(self.daemon))
        gains = () if self.evaluation is None else read_gains(self.evaluation, self.source)
        export_policy(
            self.source,
            self.format,
            self.output,
            scenario,
            target=self.target,
            gains=gains,
            with_demotion=self.with_demotion,
        )
        _print(f"wrote {self.output}")
        return 0


@dataclass(frozen=True)
class Calibrate:
    """Fit a platform's unknowns to completion times measured on it."""

    measurements: Annotated[Positional[str], arg(metavar="MEASUREMENTS.csv")]
    """Columns size_gb, system, seconds, stdev_percent: a path, or a name from `tierenv list measurements`."""
    platform: Annotated[str, arg(metavar="START")]
    """Platform whose other values stay as they are: a path, or a name from `tierenv list platforms`."""
    output: Annotated[Path, arg(metavar="FITTED.yaml")]
    """Platform file to write; FITTED.calibration.json beside it reports on the fit."""
    scenario: Annotated[str, arg(metavar="SCENARIO")] = "abench-8g"
    """What was measured: workload and fast tier of this scenario; each row says how large and under which system."""

    def run(self) -> int:
        """Calibrate."""
        _check_outputs(self.output)
        from tierenv.train.calibrate import calibration_tables, report_path, run_calibration

        with shown_progress("fitting", _stderr()) as report_progress:
            calibration = run_calibration(self.measurements, self.platform, self.output, self.scenario, report_progress)
        _print(*calibration_tables(calibration), f"wrote {self.output} and {report_path(self.output)}")
        return 0


@dataclass(frozen=True)
class Fidelity:
    """Show published measurements of real machines beside the model's numbers."""

    experiments: Annotated[Positional[tuple[str, ...]], arg(metavar="EXPERIMENT")] = ()
    """Experiments, or CSV files of completion times: paths, or names from `tierenv list measurements`; all packaged
    experiments without any."""
    seeds: Annotated[int, arg(metavar="N")] = 4
    """Runs of each, of which the mean is shown."""
    json: JsonFile = None
    """Write the result to this file, for machines; - is stdout."""

    def run(self) -> int:
        """Compare."""
        _check_outputs(self.json)
        from tierenv.train import report
        from tierenv.train.fidelity import fidelity

        with shown_progress("running", _stderr()) as report_progress:
            result = fidelity(self.experiments, self.seeds, report_progress)
        _write_json(self.json, result.to_json)
        _print(*report.fidelity_tables(result), beside=self.json)
        return 0


@dataclass(frozen=True)
class Replay:
    """Show what a machine counted beside the model under the same settings: whether the model fits it."""

    record: Annotated[Positional[Path], arg(metavar="RECORD")]
    """What `tierenv live record` wrote."""
    scenario: Annotated[str, arg(metavar="SCENARIO")]
    """What ran on the machine, and what it has of memory: a path, or a name from `tierenv list scenarios`."""
    json: JsonFile = None
    """Write the result to this file, for machines; - is stdout."""

    def run(self) -> int:
        """Replay."""
        _check_outputs(self.json)
        from tierenv.train import report
        from tierenv.train.replay import replay

        with shown_progress("replaying", _stderr()) as report_progress:
            result = replay(self.record, self.scenario, report_progress)
        _write_json(self.json, result.to_json)
        _print(report.replay_table(result), *result.notes, beside=self.json)
        return 0


@dataclass(frozen=True)
class Bench:
    """Measure how fast model and training are on this machine."""

    parts: Annotated[Positional[tuple[str, ...]], arg(metavar="PART")] = ()
    """What to measure: runs, threads, sizes, training; all without any."""
    seconds: Annotated[float, arg(metavar="S")] = 3.0
    """Time spent on each measurement."""
    json: JsonFile = None
    """Write the result to this file, for machines; - is stdout."""

    def run(self) -> int:
        """Measure."""
        _check_outputs(self.json)
        from tierenv.train import report
        from tierenv.train.bench import bench

        with shown_progress("measuring", _stderr()) as report_progress:
            result = bench(self.seconds, self.parts, report_progress)
        _write_json(self.json, lambda: result)
        _print(report.bench_table(result), beside=self.json)
        return 0


@dataclass(frozen=True)
class List:
    """Show what there is: policies, scenarios, tunables, formats, ..."""

    kinds: Annotated[Positional[tuple[str, ...]], arg(metavar="KIND")] = ()
    """What to show; without any, the kinds and their names."""
    json: bool = False
    """Print it for machines: a list of rows for each kind."""

    def run(self) -> int:
        """Print the tables."""
        from tierenv.train.catalogue import catalogue, overview
        from tierenv.train.report import plain_table

        tables = [catalogue(kind) for kind in self.kinds] if self.kinds else [overview()]
        if self.json:
            _write_json(STDOUT, lambda: {"schema": 1} | {table.title: table.to_json() for table in tables})
            return 0
        _print(*(plain_table(table.title, table.columns, table.rows) for table in tables))
        return 0


def _export_description() -> str:
    """What the help of export says: the formats."""
    width = max(map(len, FORMATS))
    rows = [
        f"  {name:<{width}}  {', '.join(row.takes):<15}  {row.summary}"
        + f" ({', '.join(row.targets)})" * bool(row.targets)
        for name, row in FORMATS.items()
    ]
    head = "Turn a policy into what an operator installs. Formats, the policies they take, and the targets of some:"
    return "\n".join([head, *rows])


Verb = (
    Annotated[Train, subcommand("train")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Tune, subcommand("tune")]
    | Annotated[Distil, subcommand("distil")]
    | Annotated[Export, subcommand("export", description=_export_description())]
    | Annotated[Calibrate, subcommand("calibrate")]
    | Annotated[Fidelity, subcommand("fidelity")]
    | Annotated[Replay, subcommand("replay")]
    | Annotated[Bench, subcommand("bench")]
    | Annotated[List, subcommand("list")]
)


@on_any_terminal
def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, by default the process's. Returns the exit code."""
    _log_to_stderr()
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


def _log_to_stderr() -> None:
    """Log lines without ornament; on a terminal above the progress bar."""
    handler: logging.Handler = logging.StreamHandler()
    if _stderr().is_terminal:
        handler = RichHandler(
            console=_stderr(), show_time=False, show_level=False, show_path=False, highlighter=NullHighlighter()
        )
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])


def _print(*contents: Any, beside: Path | None = None) -> None:
    """Results, to stdout, unless JSON goes there."""
    stream = sys.stderr if beside == STDOUT else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    console = Console(file=stream, width=width, markup=False, highlight=False)  # brackets are units and intervals
    for content in contents:
        console.print(content)


def _print_training(result: "TrainingResult", folder: str) -> None:
    spent = result.time_spent
    busy_s = max(spent.model_s + spent.learner_s, 1e-9)
    _print(
        f"{result.timesteps:,} environment steps, {result.new_timesteps:,} of them now in {spent.total_s:.1f} s: "
        f"model {spent.model_s / busy_s:.0%}, learner {spent.learner_s / busy_s:.0%} of the training time, "
        f"evaluation {spent.evaluation_s:.1f} s"
    )
    if result.best is not None:
        _print(
            f"best: {result.best.normalised_time:.4f} x all-fast time after {result.best.timesteps:,} steps, "
            f"in {folder}/best"
        )
    if result.is_interrupted:
        _print(f"interrupted; continue with --resume ({folder})")


@cache
def _stderr() -> Console:
    """One console for log and progress bar, so that neither overwrites the other."""
    return Console(stderr=True)


def _check_outputs(*paths: Path | None) -> None:
    """Refuse a path that cannot be written before the work, not after it. Raises `ConfigError`."""
    given = [path for path in paths if path not in (None, STDOUT)]
    for path in given:
        if given.count(path) > 1:
            raise ConfigError(f"{path}: is given for two outputs; choose another path for one of them")
        check_output(path)


def _write_json(path: Path | None, make_content: Callable[[], dict[str, Any]]) -> None:
    from tierenv.train.run_dir import to_json, write_json

    if path == STDOUT:
        print(to_json(make_content()), end="")
    elif path is not None:
        write_json(path, make_content())


def _command_line() -> str:
    """The command being run, as a shell takes it."""
    return shlex.join(["tierenv", *sys.argv[1:]])
