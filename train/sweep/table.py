"""What came of a sweep, for people."""

from rich.table import Table

from tierenv.errors import ConfigError
from tierenv.train.sweep.index import Entry
from tierenv.train.sweep.running import SweepResult
from tierenv.train.tables import plain_table

SHOWN = {
    "normalised_time": "{:.4f} x all fast",
    "best_timesteps": "after {:,} steps",
    "setting": "{}",
    "objective": "{:.6g}",
    "relative_time": "{:.4f} x no migration",
}
"""Facts of a job that people read, and how."""


def sweep_table(result: SweepResult) -> Table:
    """A row for each job."""
    table = plain_table(
        str(result.folder),
        ["job", "is", "came to", "processor time"],
        [[entry.name, entry.state, _came_to(entry), f"{entry.cpu_s:.0f} s"] for entry in result.entries],
    )
    failed, over = len(result.failed), sum(entry.state == "finished" for entry in result.entries)
    table.caption = f"{over} of {len(result.entries)} jobs finished, {failed} failed"
    return table


def _came_to(entry: Entry) -> str:
    if entry.reason is not None:
        return str(ConfigError(entry.reason))  # as a line
    facts = entry.facts or {}
    words = []
    for name, form in SHOWN.items():
        if facts.get(name) is not None:
            try:
                words.append(form.format(facts[name]))
            except ValueError:  # a text in the place of a number: the file is not what we wrote
                words.append(str(facts[name]))
    return ", ".join(words)
