"""`make results`: the pieces that are not current, as tasks of doit.

    .venv/bin/doit -f train/studies/dodo.py list --all --status     # what is current (U) and what is not (R)
    .venv/bin/doit -f train/studies/dodo.py                         # make anew what is not
    .venv/bin/doit -f train/studies/dodo.py evaluate-first-round    # one, and what it needs

A piece that is needed is made only where one that needs it has to be made: of what is not committed a fresh clone has
nothing, and needs nothing where the results are current. TIERENV_SCALE=small makes everything in little, under build.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from tierenv.train.provenance import git_revision
from tierenv.train.studies.generated import ROOT
from tierenv.train.studies.piece import FULL, SMALL, Keys, Piece
from tierenv.train.studies.pieces import generalists, pieces, studies

IS_SMALL = os.environ.get("TIERENV_SCALE") == "small"
SCALE = SMALL if IS_SMALL else FULL
MADE = pieces(SCALE) + ([] if IS_SMALL else generalists(SCALE))
PIECES = MADE + ([] if IS_SMALL else studies(SCALE, MADE))
COMMITTED = [piece for piece in PIECES if not piece.is_kept]
TIMED = ("bench", "live-cost", "sweep", "kernel-c", "reliability", "algorithms")
"""Pieces that measure times and have the machine to themselves."""
KEYS = Keys(SCALE)
DOCUMENTS = (
    "readme",
    "model_doc",
    "configuration_doc",
    "reliability_doc",
    "live_doc",
    "algorithm_doc",
    "search_doc",
    "learning_doc",
)

DOIT_CONFIG = {
    "default_tasks": [piece.name for piece in COMMITTED] + ["documents"] * (not IS_SMALL),
    "dep_file": str(ROOT / "build" / "doit.json"),
    "backend": "json",
    "verbosity": 2,
}


def task_piece() -> Iterator[dict[str, Any]]:
    """Make a piece unless it is current."""
    for piece in PIECES:
        yield {
            "basename": piece.name,
            "doc": f"{', '.join(str(path.relative_to(ROOT)) for path in piece.outputs)}",
            "actions": [partial(_make, piece)],
            "setup": [each.name for each in piece.needs],
            "uptodate": [partial(KEYS.is_current, piece)],
        }


def task_side_by_side() -> dict[str, Any]:
    """All but what measures the speed of the machine; and what that needs, if it is to be made."""
    names = [piece.name for piece in COMMITTED if piece.name not in TIMED]
    stale = (piece for piece in COMMITTED if piece.name in TIMED and not KEYS.is_current(piece))
    names += [need.name for piece in stale for need in piece.needs if need.is_kept]
    return {"basename": "side-by-side", "actions": None, "task_dep": names}


def task_documents() -> dict[str, Any]:
    """Write the tables of the documents anew, out of what there is."""
    commands = [("-m", f"tierenv.train.studies.{document}") for document in DOCUMENTS]
    return {
        "actions": [partial(_run, command) for command in commands],
        "task_dep": [piece.name for piece in COMMITTED],
    }


def _make(piece: Piece) -> bool:
    """Run a piece's commands. Returns whether all did what they should, of sources that are committed."""
    if not IS_SMALL and str(git_revision()).endswith("-dirty"):
        print(f"{piece.name}: sources differ from the revision they are of; commit them first")
        return False
    is_begun = KEYS.is_begun(piece)
    KEYS.forget(piece)
    resumed = () if piece.resumes is None else (piece.resumes,)
    for folder in (*piece.replaces, *(() if is_begun else (*piece.gathers, *resumed))):
        shutil.rmtree(folder, ignore_errors=True)
    KEYS.begin(piece)
    options = ("--resume",) if any((folder / "config.yaml").is_file() for folder in resumed) else ()
    if not all(_run((*command, *options)) for command in piece.commands):
        return False
    KEYS.note(piece)
    return True


def _run(command: tuple[str, ...]) -> bool:
    # what the user of this machine has tuned or left half done decides nothing here
    own = {f"XDG_{kind}_HOME": str(SCALE.kept.parent / kind.lower()) for kind in ("DATA", "STATE")}
    environment = os.environ | own
    return subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=False).returncode == 0
