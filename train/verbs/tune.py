"""The verb `tune`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from tierenv.errors import ConfigError
from tierenv.train.progress import shown_progress
from tierenv.train.verbs.common import (
    STDOUT,
    DaemonOption,
    JsonFile,
    Judged,
    check_outputs,
    command_line,
    print_results,
    stderr_console,
    write_json_output,
)


@dataclass(frozen=True)
class Tune(Judged):
    """Search the best static setting of a scenario, or of each of a suite and of all of it together."""

    trials: Annotated[int | None, arg(metavar="N")] = None
    """Settings to try; by default 200 of tpe, cmaes and gp, of the others as many as the grid has, which takes no other
    number (144 for three tunables, 577 for numa-balancing)."""
    sampler: Annotated[str, arg(metavar="grid|random|tpe|cmaes|gp")] = "grid"
    """grid spans the ranges of the daemon, 0 and unlimited included; random draws as exploration would; tpe, cmaes and
    gp, of Optuna, propose settings from what earlier ones came to."""
    sampler_seed: Annotated[int, arg(metavar="N")] = 0
    """Of what the sampler draws: with another one a search that is not the grid's tries other settings."""
    daemon: DaemonOption = None
    seeds: Annotated[int, arg(metavar="N")] = 4
    """Tuning episodes for each setting; the finalists are judged on twice as many fresh ones."""
    storage: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write every trial to this journal of Optuna, for its own tools. The same command with more --trials goes on from
    there."""
    save: bool = False
    """Store the winner as the scenario's best-static policy, in the user's data folder; of a suite the one setting for
    all as one-static:SUITE, too."""
    json: JsonFile = None

    def run(self) -> int:
        """Search."""
        check_outputs(self.json, self.storage)
        if self.storage == STDOUT:
            raise ConfigError("--storage=-: must be a file, which is read as well")
        from tierenv.agents.best_static import check_storage
        from tierenv.train import report
        from tierenv.train.journal import journal_of
        from tierenv.train.search import save_search, search_target

        target = self.judged_on
        stored = check_storage() if self.save else None
        decides = target, self.daemon, self.sampler, self.sampler_seed, self.trials, self.seeds
        with journal_of("tune", *decides) as journal:
            with shown_progress("searching", stderr_console()) as report_progress:
                result = search_target(
                    target,
                    self.sampler,
                    self.trials,
                    self.seeds,
                    daemon=self.daemon,
                    sampler_seed=self.sampler_seed,
                    storage=self.storage,
                    open_final=self.open_final,
                    journal=journal,
                    report_progress=report_progress,
                )
            write_json_output(self.json, result.to_json)
            if stored is not None:
                save_search(result, command_line(), stored)
        words = [*result.searched.words, *([f"stored in {stored}"] if stored else [])]
        print_results(*report.search_tables(result), *words, beside=self.json)
        return 0
