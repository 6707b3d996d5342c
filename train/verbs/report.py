"""The verb `report`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from tierenv.extras import require
from tierenv.train.progress import shown_progress
from tierenv.train.verbs.common import check_outputs, stderr_console


@dataclass(frozen=True)
class Report:
    """Tell of results, run folders, calibrations and replays in one HTML file that needs nothing beside itself."""

    inputs: Annotated[Positional[tuple[Path, ...]], arg(metavar="INPUT")]
    """What `evaluate`, `tune`, `fidelity` and `replay` wrote with --json, FITTED.calibration.json of `calibrate`, run
    folders; each becomes a section."""
    output: Annotated[Path, arg(metavar="FILE.html")]
    """File to write."""

    def run(self) -> int:
        """Report."""
        check_outputs(self.output, inputs=self.inputs)
        require("report", "report")
        from tierenv.train.html_report.write import write_report

        with shown_progress("reporting", stderr_console()) as report_progress:
            write_report(self.inputs, self.output, report_progress)
        print(f"wrote {self.output}")
        return 0
