"""The verb `replay`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from tierenv.train.progress import shown_progress
from tierenv.train.verbs.common import JsonFile, check_outputs, print_results, stderr_console, write_json_output


@dataclass(frozen=True)
class Replay:
    """Show what a machine counted beside the model under the same settings: whether the model fits it."""

    record: Annotated[Positional[Path], arg(metavar="RECORD")]
    """What `tierenv live record` wrote."""
    scenario: Annotated[str, arg(metavar="SCENARIO")]
    """What ran on the machine, and what it has of memory: a path, or a name from `tierenv list scenarios`."""
    json: JsonFile = None

    def run(self) -> int:
        """Replay."""
        check_outputs(self.json)
        from tierenv.train import report
        from tierenv.train.replay import replay

        with shown_progress("replaying", stderr_console()) as report_progress:
            result = replay(self.record, self.scenario, report_progress)
        write_json_output(self.json, result.to_json)
        print_results(report.replay_table(result), *result.notes, beside=self.json)
        return 0
