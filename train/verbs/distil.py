"""The verb `distil`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from tierenv.errors import ConfigError
from tierenv.train.progress import shown_progress
from tierenv.train.verbs.common import (
    JsonFile,
    check_outputs,
    command_line,
    print_results,
    stderr_console,
    write_json_output,
)


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
    """Scenarios to play on, in place of those the teacher was trained on, or, on a family, began with; may be
    repeated."""
    seeds: Annotated[int, arg(metavar="N")] = 10
    """Evaluation episodes for each scenario: seeds 10000, 10001, ..., every second one with held-out phase orders."""
    json: JsonFile = None

    def run(self) -> int:
        """Distil."""
        check_outputs(self.json)
        from tierenv.train import report
        from tierenv.train.distil import distil

        if self.output.exists():
            raise ConfigError(f"{self.output}: already exists; remove it or choose another path")
        with shown_progress("distilling", stderr_console()) as report_progress:
            result = distil(self.source, self.leaves, self.scenario, self.seeds, report_progress=report_progress)
        write_json_output(self.json, result.to_json)
        result.write(self.output, command_line())  # last: where it stands, all is done
        print_results(report.distillation_table(result), f"wrote {self.output}", beside=self.json)
        return 0
