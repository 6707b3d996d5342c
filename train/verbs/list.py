"""The verb `list`."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from tierenv.train.verbs.common import STDOUT, print_results, write_json_output


@dataclass(frozen=True)
class List:
    """Show what there is: policies, scenarios, tunables, formats, ..."""

    kinds: Annotated[Positional[tuple[str, ...]], arg(metavar="KIND")] = ()
    """What to show; without any, the kinds and their names."""
    json: bool = False
    """Print it for machines: a list of rows for each kind."""

    def run(self) -> int:
        """Print the tables."""
        from tierenv.train.catalogue import catalogue, overview
        from tierenv.train.tables import plain_table

        tables = [catalogue(kind) for kind in self.kinds] if self.kinds else [overview()]
        if self.json:
            write_json_output(STDOUT, lambda: {"schema": 1} | {table.title: table.to_json() for table in tables})
            return 0
        print_results(*(plain_table(table.title, table.columns, table.rows) for table in tables))
        return 0
