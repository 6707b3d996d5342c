"""The verb `calibrate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from tierenv.train.progress import shown_progress
from tierenv.train.verbs.common import check_outputs, print_results, stderr_console


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
        check_outputs(self.output)
        from tierenv.train.calibrate import calibration_tables, report_path, run_calibration

        with shown_progress("fitting", stderr_console()) as report_progress:
            calibration = run_calibration(self.measurements, self.platform, self.output, self.scenario, report_progress)
        print_results(*calibration_tables(calibration), f"wrote {self.output} and {report_path(self.output)}")
        return 0
