"""What a long command has done so far, so that the same command goes on where it was stopped or killed.

A journal is a file in the user's state folder, one line for each piece of work: a batch of episodes, or numbers. Its
name is a digest of all that decides them, the sources included: whatever changes, the work begins anew. It is removed
when the command succeeds. Where there is no such folder, nothing is kept.
"""

import fcntl
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import tierenv.agents
import tierenv.train
from tierenv.folders import user_folder
from tierenv.train.episodes import Episodes
from tierenv.train.provenance import versions
from tierenv.train.recovery import Recovery

log = logging.getLogger(__name__)

Work = TypeVar("Work")

KEPT_DAYS = 30
"""After so long nobody continues."""


class Journal:
    """Work by what decides it.

    Args:
        file: to append to; None keeps nothing.
    """

    def __init__(self, file: IO[bytes] | None = None) -> None:
        self._file = file
        self._known: dict[str, dict[str, Any]] = {}
        if file is not None:
            self._read(file)

    @property
    def num_kept(self) -> int:
        """Pieces of work that survive this process."""
        return len(self._known)

    def once(self, decides: list[Any] | None, run: Callable[[], Episodes]) -> Episodes:
        """The episodes of an earlier command, or those that `run` gives, from now on kept.

        Args:
            decides: all that decides them, for JSON; None where that is not known: they are run and not kept.
            run: makes them.
        """
        return self._once(decides, run, _to_json, _from_json)

    def numbers(self, decides: list[Any], run: Callable[[], NDArray[np.float64]]) -> NDArray[np.float64]:
        """As `once`, of an array of finite numbers."""
        return self._once(
            decides, run, lambda array: {"numbers": array.tolist()}, lambda kept: np.array(kept["numbers"])
        )

    def _once(
        self,
        decides: list[Any] | None,
        run: Callable[[], Work],
        to_json: Callable[[Work], dict[str, Any]],
        from_json: Callable[[dict[str, Any]], Work],
    ) -> Work:
        if decides is None or self._file is None:
            return run()
        key = digest(decides)
        if key in self._known:
            return from_json(self._known[key])
        work = run()
        content = to_json(work)
        try:
            self._file.write(json.dumps({"key": key, "work": content, "digest": digest(content)}).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            self._known[key] = content
        except OSError as error:
            log.warning("%s: %s; nothing more is kept of this command", self._file.name, error.strerror)
            self._file = None
        return work

    def _read(self, file: IO[bytes]) -> None:
        whole = 0
        for line in file:
            try:
                entry = json.loads(line)
                if entry["digest"] != digest(entry["work"]):
                    break
                self._known[str(entry["key"])] = entry["work"]
            except (ValueError, LookupError, TypeError, RecursionError):
                break  # a kill tore it; what follows, if anything, is not to be trusted
            whole += len(line)
        file.truncate(whole)
        file.seek(whole)


def digest(content: list[Any] | dict[str, Any]) -> str:
    """SHA-256 of what JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@contextmanager
def journal_of(verb: str, *arguments: Any, folder: Path | None = None) -> Iterator[Journal]:
    """The journal of a command; removed when the context ends well, kept when it is left by an exception.

    Args:
        verb: of the command.
        arguments: all that the work depends on, for JSON.
        folder: where it stands; by default with others in the user's state folder.
    """
    name = f"{verb}-{digest([sources_digest(), versions(), *arguments])[:16]}.jsonl"
    opened = _open(folder or _journals(), name)
    if opened is None:
        yield Journal()
        return
    path, file = opened
    with file:
        journal = Journal(file)
        if journal.num_kept:
            log.info("going on where the same command was stopped")
        try:
            yield journal
        except BaseException:
            if journal.num_kept:
                log.info("what is done is kept: the same command goes on from here")
            else:
                path.unlink(missing_ok=True)
            raise
        path.unlink(missing_ok=True)


def _journals() -> Path | None:
    state = user_folder("state")
    return None if state is None else state / "journals"


def _open(folder: Path | None, name: str) -> tuple[Path, IO[bytes]] | None:
    """The file, locked; None if there is no place for it or another process is about the same work."""
    if folder is None:
        return None
    path = folder / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_old(path.parent)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        file = open(path, "r+b", opener=lambda name, _flags: os.open(name, flags, 0o600))
    except OSError as error:
        log.debug("%s: %s; nothing is kept", path, error)
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return path, file


def _remove_old(folder: Path) -> None:
    for path in folder.glob("*.jsonl"):
        if path.stat().st_mtime < time.time() - KEPT_DAYS * 86400:
            path.unlink()


@cache
def sources_digest() -> str:
    """SHA-256 of all of tierenv's Python; a checkout has agents and train beside the package."""
    folders = [Path(folder) for package in (tierenv, tierenv.agents, tierenv.train) for folder in package.__path__[:1]]
    files = sorted({path for folder in folders for path in folder.rglob("*.py")})
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _to_json(episodes: Episodes) -> dict[str, Any]:
    return {
        "seconds": episodes.seconds.tolist(),
        "objective": episodes.objective.tolist(),
        "objective_all_fast": episodes.objective_all_fast.tolist(),
        "process_seconds": episodes.process_seconds.tolist(),
        "process_accesses": episodes.process_accesses.tolist(),
        "process_alone_s": episodes.process_alone_s.tolist(),
        "is_truncated": episodes.is_truncated.tolist(),
        "reference_s": episodes.reference_s.tolist(),
        "counts": {key: values.tolist() for key, values in episodes.counts.items()},
        "steps": episodes.steps.tolist(),
        "cpu_s": {key: values.tolist() for key, values in episodes.cpu_s.items()},
        "recovery": episodes.recovery and {key: values.tolist() for key, values in vars(episodes.recovery).items()},
    }


def _from_json(content: dict[str, Any]) -> Episodes:
    """What `_to_json` made this of."""
    return Episodes(
        seconds=np.array(content["seconds"], dtype=np.float64),
        objective=np.array(content["objective"], dtype=np.float64),
        objective_all_fast=np.array(content["objective_all_fast"], dtype=np.float64),
        process_seconds=np.array(content["process_seconds"], dtype=np.float64),
        process_accesses=np.array(content["process_accesses"], dtype=np.float64),
        process_alone_s=np.array(content["process_alone_s"], dtype=np.float64),
        is_truncated=np.array(content["is_truncated"], dtype=np.bool_),
        reference_s=np.array(content["reference_s"], dtype=np.float64),
        counts={key: np.array(values, dtype=np.int64) for key, values in content["counts"].items()},
        steps=np.array(content["steps"], dtype=np.int64),
        cpu_s={key: np.array(values, dtype=np.float64) for key, values in content["cpu_s"].items()},
        recovery=content["recovery"] and _recovery(content["recovery"]),
    )


def _recovery(content: dict[str, Any]) -> Recovery:
    counts = {key: np.array(content[key], dtype=np.int64) for key in ("changes", "regained")}
    return Recovery(seconds=np.array(content["seconds"], dtype=np.float64), **counts)
