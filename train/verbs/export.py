"""The verb `export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from tierenv.agents.export import FORMATS
from tierenv.errors import ConfigError
from tierenv.train.verbs.common import DaemonOption, print_results


@dataclass(frozen=True)
class Export:
    """Turn a policy into what an operator installs."""

    source: Annotated[Positional[str], arg(metavar="RUN_OR_POLICY")]
    """A run folder, a bundle, or a policy from `tierenv list policies`."""
    format: Annotated[str, arg(metavar="FORMAT")]
    """One of the formats above."""
    output: Annotated[Path, arg(metavar="PATH")]
    """File or folder to write."""
    scenario: Annotated[str | None, arg(metavar="SCENARIO")] = None
    """The scenario a policy given by name is for; what is learned knows its own and takes none."""
    daemon: DaemonOption = None
    target: Annotated[str | None, arg(metavar="TARGET")] = None
    """Kernel mechanism to set, for formats with a choice; the first named is the default."""
    evaluation: Annotated[Path | None, arg(metavar="FILE")] = None
    """What `evaluate --json` wrote of this policy beside others: puts the expected gain into the header."""
    with_demotion: bool = False
    """Switch demotion on as well, without which promotion stops once the fast node is full; for static formats that
    reach /sys."""

    def run(self) -> int:
        """Export."""
        from tierenv.agents.export import export_policy
        from tierenv.daemon import load_daemon
        from tierenv.scenario import load_scenario
        from tierenv.train.gains import read_gains

        scenario = None if self.scenario is None else load_scenario(self.scenario)
        if self.daemon is not None:
            if scenario is None:
                raise ConfigError(f"--daemon={self.daemon}: needs the scenario that it is for (--scenario)")
            scenario = scenario.under(load_daemon(self.daemon))
        gains = () if self.evaluation is None else read_gains(self.evaluation, self.source)
        export_policy(
            self.source,
            self.format,
            self.output,
            scenario,
            target=self.target,
            gains=gains,
            with_demotion=self.with_demotion,
        )
        print_results(f"wrote {self.output}")
        return 0


def export_description() -> str:
    """What the help of export says: the formats."""
    width = max(map(len, FORMATS))
    rows = [
        f"  {name:<{width}}  {', '.join(row.takes):<15}  {row.summary}"
        + f" ({', '.join(row.targets)})" * bool(row.targets)
        for name, row in FORMATS.items()
    ]
    head = "Turn a policy into what an operator installs. Formats, the policies they take, and the targets of some:"
    return "\n".join([head, *rows])
