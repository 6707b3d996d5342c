"""How long work tells how far it is."""

from typing import Protocol


class ReportProgress(Protocol):
    """What long work calls as it goes on."""

    def __call__(self, done: int, total: int, doing: str) -> None:
        """Take note.

        Args:
            done: parts of the work that are over.
            total: all parts.
            doing: what is being done now, or is to be known.
        """


def unreported(done: int, total: int, doing: str) -> None:
    """For callers who do not want to know."""
