"""Folders of the user's own, as the XDG Base Directory Specification names them."""

import os
from pathlib import Path
from typing import Literal

Kind = Literal["cache", "data", "state"]

_PLACES: dict[Kind, tuple[str, str]] = {
    "cache": ("XDG_CACHE_HOME", ".cache"),
    "data": ("XDG_DATA_HOME", ".local/share"),
    "state": ("XDG_STATE_HOME", ".local/state"),
}
"""The variable that says where, and the place below the home folder without it."""


def user_folder(kind: Kind) -> Path | None:
    """Where things of a kind go: made anew (cache), to be kept (data), of work that goes on (state).

    The folder need not exist. None for an account with neither the variable nor a home. The specification has relative
    paths ignored.
    """
    variable, below_home = _PLACES[kind]
    if os.path.isabs(base := os.environ.get(variable, "")):
        return Path(base) / "tierenv"
    home = os.path.expanduser("~")  # the same text for an account that has none
    return Path(home) / below_home / "tierenv" if os.path.isabs(home) else None
