"""The verb `sweep`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from tierenv.errors import ConfigError
from tierenv.extras import require
from tierenv.train.progress import shown_progress
from tierenv.train.verbs.common import (
    INTERRUPTED,
    JsonFile,
    check_outputs,
    command_line,
    print_results,
    stderr_console,
    write_json_output,
)

if TYPE_CHECKING:
    from tierenv.train.sweep.executors import Executor


@dataclass(frozen=True)
class Sweep:
    """Do many trainings and searches side by side; the same command goes on where it was stopped."""

    sweep: Annotated[Positional[str], arg(metavar="SWEEP")]
    """What is trained and searched: a path, or a name from `tierenv list sweeps`."""
    output: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder of the jobs' folders and of sweep.json; by default runs/SWEEP."""
    workers: Annotated[int | None, arg(metavar="N")] = None
    """Jobs at a time; by default as many as there are processors."""
    address: Annotated[str | None, arg(metavar="HOST:PORT")] = None
    """Ray cluster that runs already, seen from one of its nodes, or auto; by default one is started on this machine.
    All its nodes share the output folder."""
    serial: bool = False
    """One job after the other in this process, without Ray."""
    json: JsonFile = None

    def run(self) -> int:
        """Do it."""
        check_outputs(self.json)
        executor = self._executor()
        from tierenv.train.sweep.running import run_sweep
        from tierenv.train.sweep.table import sweep_table

        with shown_progress("sweeping", stderr_console()) as report_progress:
            result = run_sweep(self.sweep, executor, command_line(), self.output, report_progress)
        write_json_output(self.json, lambda: result.content)
        print_results(sweep_table(result), beside=self.json)
        if result.is_interrupted:
            print_results(f"interrupted; the same command goes on ({result.folder})", beside=self.json)
            return INTERRUPTED
        return int(bool(result.failed))

    def _executor(self) -> "Executor":
        if self.serial:
            if self.workers is not None or self.address is not None:
                raise ConfigError("--serial: takes neither --workers nor --address; leave them out")
            from tierenv.train.sweep.executors import Serial

            return Serial()
        if self.workers is not None and not 1 <= self.workers <= 1024:
            raise ConfigError(f"--workers={self.workers}: must be 1 to 1024")
        require("cluster", "sweep without --serial")
        from tierenv.train.sweep.on_ray import OnRay, check_address

        if self.address is not None:
            check_address(self.address)
        return OnRay(self.address, self.workers)
