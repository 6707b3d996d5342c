"""The verb `bench`."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from tierenv.train.progress import shown_progress
from tierenv.train.verbs.common import JsonFile, check_outputs, print_results, stderr_console, write_json_output


@dataclass(frozen=True)
class Bench:
    """Measure how fast model and training are on this machine."""

    parts: Annotated[Positional[tuple[str, ...]], arg(metavar="PART")] = ()
    """What to measure: runs, threads, sizes, training; all without any."""
    seconds: Annotated[float, arg(metavar="S")] = 3.0
    """Time spent on each measurement."""
    json: JsonFile = None

    def run(self) -> int:
        """Measure."""
        check_outputs(self.json)
        from tierenv.train import report
        from tierenv.train.bench import bench

        with shown_progress("measuring", stderr_console()) as report_progress:
            result = bench(self.seconds, self.parts, report_progress)
        write_json_output(self.json, lambda: result)
        print_results(report.bench_table(result), beside=self.json)
        return 0
