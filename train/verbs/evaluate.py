"""The verb `evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import UseAppendAction, arg

from tierenv.errors import ConfigError
from tierenv.extras import require
from tierenv.train.progress import shown_progress
from tierenv.train.verbs.common import (
    DaemonOption,
    JsonFile,
    Judged,
    check_outputs,
    print_results,
    stderr_console,
    write_json_output,
)


@dataclass(frozen=True)
class Evaluate(Judged):
    """Compare policies on the same episodes, with bounds on what any policy can reach."""

    policy: Annotated[UseAppendAction[tuple[tuple[str, ...], ...]], arg(metavar="NAME_OR_PATH")] = ()
    """Policies: names from `tierenv list policies`, run folders, bundle folders, sb3:PATH.zip, python:MODULE:FACTORY;
    may be repeated."""
    rivals: bool = False
    """Add what a policy has to beat, as far as it is there: no migration, the kernel's defaults, the daemon's own rule,
    and the settings that `tierenv tune --save` stored for the scenario and for suites, also under other daemons."""
    seeds: Annotated[int, arg(metavar="N")] = 10
    """Episodes for each scenario: seeds 10000, 10001, ..., every second one with held-out phase orders."""
    daemon: DaemonOption = None
    trust: bool = False
    """Let sb3:PATH.zip be unpickled, which runs whatever its author put there."""
    details: bool = False
    """Show the tables of every scenario, which of more than three are left out."""
    json: JsonFile = None
    plot: Annotated[Path | None, arg(metavar="FILE")] = None
    """Draw the first episode of every policy side by side into this PNG file; one scenario only."""
    timelines: bool = False
    """Store in the file of --json what the first episode of every scenario and policy does over time, for `report`."""
    trace: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write the kernel's trace events of the first episode of every scenario and policy, one JSON object a line."""

    def run(self) -> int:
        """Evaluate."""
        check_outputs(self.json, self.plot, self.trace)
        from tierenv.agents.foreign import command_line_loader
        from tierenv.train import report
        from tierenv.train.evaluate import evaluate
        from tierenv.train.evaluation_tables import evaluation_tables
        from tierenv.train.journal import journal_of
        from tierenv.train.timelines import record_timelines

        if self.timelines and self.json is None:
            raise ConfigError("--timelines: are stored by --json, which is not given")
        if self.plot is not None:
            require("plots", "--plot")
        target = self.judged_on
        names = [name for group in self.policy for name in group]
        load = command_line_loader(is_trusted=self.trust)
        with journal_of("evaluate", target, self.daemon, names, self.seeds, self.rivals) as journal:
            with shown_progress("evaluating", stderr_console()) as report_progress:
                result = evaluate(
                    target,
                    names,
                    self.seeds,
                    with_rivals=self.rivals,
                    with_timelines=self.plot is not None,
                    daemon=self.daemon,
                    open_final=self.open_final,
                    load=load,
                    journal=journal,
                    report_progress=report_progress,
                )
            if self.plot is not None:
                report.write_plot(self.plot, result.timelines)
            if self.trace is not None:
                from tierenv.train.trace import write_trace

                write_trace(self.trace, result.entries, result.seeds[0], load)
            content = result.to_json() if self.json is not None else {}
            if self.timelines:
                with shown_progress("recording", stderr_console()) as report_progress:
                    content["timelines"] = record_timelines(result.entries, result.seeds[0], load, report_progress)
            write_json_output(self.json, lambda: content)
        print_results(*evaluation_tables(result, self.details), *result.opening_words, beside=self.json)
        return 0
