"""The verb `fidelity`."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from tierenv.train.progress import shown_progress
from tierenv.train.verbs.common import JsonFile, check_outputs, print_results, stderr_console, write_json_output


@dataclass(frozen=True)
class Fidelity:
    """Show published measurements of real machines beside the model's numbers."""

    experiments: Annotated[Positional[tuple[str, ...]], arg(metavar="EXPERIMENT")] = ()
    """Experiments, or CSV files of completion times: paths, or names from `tierenv list measurements`; all packaged
    experiments without any."""
    seeds: Annotated[int, arg(metavar="N")] = 4
    """Runs of each, of which the mean is shown."""
    json: JsonFile = None

    def run(self) -> int:
        """Compare."""
        check_outputs(self.json)
        from tierenv.train import report
        from tierenv.train.fidelity import fidelity

        with shown_progress("running", stderr_console()) as report_progress:
            result = fidelity(self.experiments, self.seeds, report_progress)
        write_json_output(self.json, result.to_json)
        print_results(*report.fidelity_tables(result), beside=self.json)
        return 0
