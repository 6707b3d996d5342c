"""The verb `calibrate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from tierenv.train.progress import shown_progress
from tierenv.train.verbs.common import check_outputs, print_results, stderr_console


@dataclass(frozen=True)
class Calibrate:
    """Fit a platform's unknowns to what was measured on it: four times are enough, one is something."""

    measurements: Annotated[Positional[str], arg(metavar="MEASUREMENTS.csv")]
    """Columns system, seconds and, if need be, size_gb and stdev_percent; or quantity and value in place of seconds. A
    path, or a name from `tierenv list measurements`."""
    platform: Annotated[str, arg(metavar="START")]
    """Platform whose other values stay as they are; values that it marks with a prior move within it. A path, or a name
    from `tierenv list platforms`."""
    output: Annotated[Path, arg(metavar="FITTED.yaml")]
    """Platform file to write; beside it come the program, FITTED.workload.yaml, and a report,
    FITTED.calibration.json."""
    scenario: Annotated[str, arg(metavar="SCENARIO")] = "abench-8g"
    """What was measured: workload and fast tier of this scenario; each row says under which system and, where it is not
    the scenario's size, how large."""

    def run(self) -> int:
        """Calibrate."""
        from tierenv.train.calibrate import (
            calibration_tables,
            inputs_of,
            report_path,
            run_calibration,
            workload_path,
        )

        check_outputs(self.output)
        outputs = (workload_path(self.output), self.output, report_path(self.output))
        check_outputs(*outputs, inputs=inputs_of(self.measurements, self.platform, self.scenario))

        with shown_progress("fitting", stderr_console()) as report_progress:
            calibration = run_calibration(self.measurements, self.platform, self.output, self.scenario, report_progress)
        print_results(*calibration_tables(calibration), f"wrote {', '.join(map(str, outputs))}")
        return 0
