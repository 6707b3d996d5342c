"""A piece of the results: what makes it, what it depends on, and whether it is current.

`make results` makes those anew that depend on something which has changed (`tierenv.train.studies.dodo`), whatever the
times of files say. A piece's key is a digest of the code that computes it, of the configurations it reads, of its
commands, of the versions of the packages that decide numbers, and of the keys of the pieces it needs. Keys of what is
committed stand in results/pieces.lock, so that a fresh clone knows what is current; those of runs, which are not
committed, under build.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tierenv.files import atomic_write_text, locked
from tierenv.reading import read_json
from tierenv.train.provenance import PACKAGES, versions
from tierenv.train.studies.generated import ROOT
from tierenv.train.studies.sources import code_digest

Command = tuple[str, ...]

DECIDES_NUMBERS = tuple(package for package in PACKAGES if package != "tierenv")


@dataclass(frozen=True)
class Scale:
    """How large the experiments are and where what they make goes."""

    results: Path
    """Folder of what `evaluate` and the studies write."""
    runs: Path
    """Folder of trainings."""
    policies: Path
    """Folder of the bundles that are shipped."""
    keys: Path
    """File of the keys of what is committed."""
    kept: Path
    """File of the keys of what is not."""
    episodes: int = 20
    """Evaluation episodes for each scenario."""
    training_seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    steps: int | None = None
    """Environment steps of a training; None for those of its configuration."""
    tuning_seeds: Mapping[str, int] = field(
        default_factory=lambda: {"kmmscand-tunable": 8, "kmmscand-threshold": 2, "numa-balancing": 2}
    )
    """Tuning episodes for each setting, by suite: of a daemon with a tunable more a quarter are about as many runs."""
    trials: int | None = None
    """Settings a search tries at random; None for the grid."""


FULL = Scale(
    results=ROOT / "results",
    runs=ROOT / "runs" / "results",
    policies=ROOT / "configs" / "policies",
    keys=ROOT / "results" / "pieces.lock",
    kept=ROOT / "build" / "keys.json",
)
_SMALL = ROOT / "build" / "small"
SMALL = Scale(
    results=_SMALL / "results",
    runs=_SMALL / "runs",
    policies=_SMALL / "policies",
    keys=_SMALL / "keys.json",
    kept=_SMALL / "keys.json",
    episodes=2,
    training_seeds=(0,),
    steps=64,
    tuning_seeds={"kmmscand-tunable": 1, "kmmscand-threshold": 1, "numa-balancing": 1},
    trials=4,
)
"""Everything once and in little, to see that it works; the numbers mean nothing."""


@dataclass(frozen=True)
class Piece:
    """What one or several commands make."""

    name: str
    commands: tuple[Command, ...]
    """Arguments of Python each."""
    outputs: tuple[Path, ...]
    modules: tuple[str, ...]
    """Whose code, with all that it imports, computes it."""
    reads: tuple[str, ...] = ()
    """What else decides it: identities of scenarios, configurations, digests of files."""
    needs: tuple["Piece", ...] = ()
    """Made before, where this one has to be made."""
    is_kept: bool = False
    """Whether it stays on this machine, and is not committed."""
    resumes: Path | None = None
    """Folder of a training: one that was stopped goes on, what is left of another is removed."""
    gathers: tuple[Path, ...] = ()
    """Folders of commands that go on by themselves; what is left of another is removed."""
    replaces: tuple[Path, ...] = ()
    """Folders that the commands make, which must not be there."""

    @cached_property
    def key(self) -> str:
        """Digest of all that decides it."""
        content = {
            "code": code_digest(self.modules),
            "commands": [[argument.replace(str(ROOT), "") for argument in command] for command in self.commands],
            "reads": self.reads,
            "versions": {name: version for name, version in versions().items() if name in DECIDES_NUMBERS},
            "needs": [piece.key for piece in self.needs],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Keys:
    """The keys of what has been made, and of what has been begun."""

    def __init__(self, scale: Scale) -> None:
        self._scale = scale

    def is_current(self, piece: Piece) -> bool:
        """Whether a piece has been made of what there is now."""
        return all(path.exists() for path in piece.outputs) and self._read(piece).get(piece.name) == piece.key

    def is_begun(self, piece: Piece) -> bool:
        """Whether a piece has been begun of what there is now, so that it goes on."""
        return _read(self._begun).get(piece.name) == piece.key

    def forget(self, piece: Piece) -> None:
        """Note that what there is of a piece is about to be replaced: no half of it passes for the whole."""
        for path in (self._file(piece), self._begun):
            _write(path, piece.name, None)

    def begin(self, piece: Piece) -> None:
        """Note that a piece is begun: all that is left of another is gone."""
        _write(self._begun, piece.name, piece.key)

    def note(self, piece: Piece) -> None:
        """Note that a piece has been made."""
        _write(self._file(piece), piece.name, piece.key)

    def _read(self, piece: Piece) -> dict[str, str]:
        return _read(self._file(piece))

    @property
    def _begun(self) -> Path:
        return self._scale.kept.with_name("begun.json")

    def _file(self, piece: Piece) -> Path:
        return self._scale.kept if piece.is_kept else self._scale.keys


def _read(path: Path) -> dict[str, str]:
    return read_json(path) if path.exists() else {}


def _write(path: Path, name: str, key: str | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent):  # two pieces may end at the same time
        content = {each: own for each, own in sorted((_read(path) | {name: key}).items()) if own is not None}
        atomic_write_text(path, json.dumps(content, indent=1) + "\n")
