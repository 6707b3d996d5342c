"""Jobs on the workers of a Ray cluster: one that is started here for the sweep, or one that runs already.

What travels is text: descriptions of jobs there, what came of them back. Where a worker or its node dies, the job is
begun again elsewhere and goes on from what its folder keeps, which all nodes see.
"""

import json
import logging
import os
import secrets
import shutil
import socket
import stat
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, chdir, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tierenv
from tierenv.errors import ConfigError
from tierenv.files import locked
from tierenv.progress import unreported
from tierenv.train.interrupt import end_as_by_ctrl_c
from tierenv.train.journal import sources_digest
from tierenv.train.provenance import versions
from tierenv.train.sweep.executors import Watcher
from tierenv.train.sweep.index import INDEX
from tierenv.train.sweep.jobs import Outcome, Task, one_line, perform

log = logging.getLogger(__name__)

MAX_DEATHS = 3
"""Of a job's workers without anything new kept in between; it is the job then that kills them."""
LOOK_EVERY_S = 2.0
"""Between two looks at how far the jobs are."""
GRACE_S = 30.0
"""For trainings to store what they have when they are stopped."""
NODE_S = 120.0
"""For a node to start a worker that has imported tierenv."""
ANSWER_S = 10.0
"""For a cluster to answer."""
OBJECT_STORE_BYTES = 75 << 20
"""The least that Ray takes; texts of a few KiB go through it."""

Environment = dict[str, Any]


def environment_here() -> Environment:
    """What decides results besides a job's description; nodes must have the same."""
    return {"sources": sources_digest(), "versions": versions()}


def problem_of_node(expected: Environment, folder: str) -> str | None:
    """What keeps this process's machine from doing jobs of a sweep, None for nothing.

    Args:
        expected: what `environment_here` is where the sweep is run from.
        folder: of the sweep, which is locked there.
    """
    found = environment_here()
    for name, version in expected["versions"].items():
        if found["versions"].get(name) != version:
            return f"has {name} {found['versions'].get(name)}, not {version}"
    if found["sources"] != expected["sources"]:
        return "has other sources of tierenv"
    if not (Path(folder) / INDEX).is_file():
        return f"does not see {folder}, which all nodes must share"
    try:
        with locked(Path(folder), wait=False):
            return f"takes no notice of the lock on {folder}: two workers could write one job's folder"
    except BlockingIOError:
        return None
    except OSError as error:
        return f"cannot lock {folder}: {error.strerror}"


def perform_remotely(task: str, expected: str, folder: str) -> str:
    """`perform` between texts, if the node is one on which results are the same."""
    if problem := problem_of_node(json.loads(expected), folder):
        return Outcome("failed", reason=f"node {os.uname().nodename}: {problem}").to_text()
    try:
        return perform(Task.from_text(task), unreported).to_text()
    except KeyboardInterrupt:  # between two statements of `perform`
        return Outcome("interrupted").to_text()


def _problem_as_text(expected: str, folder: str) -> str | None:
    return problem_of_node(json.loads(expected), folder)


def check_address(address: str) -> None:
    """Raise `ConfigError` for what is no address, or where nothing answers: Ray would try for minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    is_port = port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 1 << 16
    if not (host and is_port) or "/" in host:
        raise ConfigError(f"--address={address}: must be HOST:PORT, or auto on a node of the cluster")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()
    except (OSError, UnicodeError) as error:  # the latter of a host whose name cannot be one
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"--address={address}: nothing answers there: {reason}") from None


@dataclass(frozen=True)
class OnRay:
    """Runs jobs side by side on Ray.

    Args:
        address: of a cluster that runs, HOST:PORT or "auto"; None starts one here that ends with the sweep.
        at_once: jobs at a time; None for as many as there are processors.
    """

    address: str | None = None
    at_once: int | None = None

    def run(self, tasks: Sequence[Task], watcher: Watcher) -> None:
        """See `Executor`."""
        threads = max(task.job.threads for task in tasks)
        with self._cluster(threads):
            folder, expected = str(tasks[0].folder.parent), json.dumps(environment_here())
            if self.address is not None:
                _check_nodes(threads, expected, folder, self.address)
            _Dispatcher(tasks, watcher, expected, folder, self.at_once).run()

    @contextmanager
    def _cluster(self, threads: int) -> Iterator[None]:
        """A connection to a cluster. Raises `ConfigError`."""
        with ExitStack() as stack:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell strangers
            if self.address is None:
                arguments = self._own_cluster(threads, stack.enter_context(_short_folder()))
            else:
                arguments = {"address": self.address}
            import ray

            try:
                with chdir(Path(tierenv.__file__).parents[1]):  # Ray lets workers import first what lies in it
                    ray.init(**arguments, log_to_driver=False, logging_level=logging.ERROR)
            except Exception as error:  # Ray raises what its parts raise
                where = "Ray" if self.address is None else f"--address={self.address}"
                reason = " ".join(str(error).split()).partition(". ")[0]  # Ray adds advice
                hint = "" if self.address is None else "; is this one of its nodes, with its token (RAY_AUTH_TOKEN)?"
                raise ConfigError(f"{where}: {type(error).__name__}: {reason}{hint}") from None
            stack.callback(ray.shutdown)
            end_as_by_ctrl_c()  # Ray aborts at SIGTERM
            yield

    def _own_cluster(self, threads: int, folder: Path) -> dict[str, Any]:
        """Arguments for one on this machine, which only this process can use."""
        # Without a token whoever reaches its ports runs code here; Ray would leave one in the user's home.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        at_once = self.at_once or max(1, len(os.sched_getaffinity(0)) // threads)
        return {
            "address": "local",
            "num_cpus": at_once * threads,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "_temp_dir": str(folder),
        }


@contextmanager
def _short_folder() -> Iterator[Path]:
    """A folder for Ray's sockets, whose paths may have 107 characters; those of sweeps that were killed go."""
    base = Path("/tmp") if os.access("/tmp", os.W_OK) else Path(tempfile.gettempdir())
    prefix = f"tierenv-sweep-{os.getuid()}-"
    for old in base.glob(f"{prefix}*"):
        with suppress(OSError):  # in use
            kind = old.lstat()
            if stat.S_ISDIR(kind.st_mode) and kind.st_uid == os.getuid():  # anybody may put anything into /tmp
                with locked(old, wait=False):
                    shutil.rmtree(old, ignore_errors=True)
    with ExitStack() as stack:
        folder = _new_folder(base, prefix, stack)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


def _new_folder(base: Path, prefix: str, stack: ExitStack) -> Path:
    """A folder that is locked as long as the stack lasts."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
        with suppress(FileNotFoundError):
            stack.enter_context(locked(folder))
            if folder.is_dir():  # else another sweep took it for left behind before it was locked
                return folder


def _check_nodes(threads: int, expected: str, folder: str, address: str) -> None:
    """Refuse a cluster of which one node would not do. Raises `ConfigError`."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= threads]
    if not nodes:
        raise ConfigError(f"--address={address}: no node has {threads} CPU, as a job needs")
    check = ray.remote(num_cpus=0, max_retries=0)(_problem_as_text)
    asked = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
        asked[node["NodeManagerAddress"]] = check.options(scheduling_strategy=there).remote(expected, folder)
    for name, answer in asked.items():
        try:
            problem = ray.get(answer, timeout=NODE_S)
        except Exception as error:  # what it raises over there, with what Ray adds
            problem = f"cannot run tierenv ({type(error).__name__})"
        if problem:
            raise ConfigError(f"--address={address}: node {name}: {problem}")


@dataclass
class _Attempt:
    """A job that is with a worker, or waits for one."""

    task: Task
    kept: int
    """By its folder, when it was handed over."""
    deaths: int = 0
    """Of workers before it, since something new was kept."""


class _Dispatcher:
    """Hands jobs over and takes back what came of them."""

    def __init__(
        self, tasks: Sequence[Task], watcher: Watcher, expected: str, folder: str, at_once: int | None
    ) -> None:
        import ray

        self._waiting = deque(_Attempt(task, task.kept) for task in tasks)
        self._going: dict[Any, _Attempt] = {}
        self._watcher = watcher
        self._arguments = expected, folder
        self._at_once = at_once
        self._function = ray.remote(max_retries=0)(perform_remotely)  # who repeats, and how often, is decided here

    def run(self) -> None:
        """Until no job is left. Raises `KeyboardInterrupt`."""
        import ray

        try:
            while self._waiting or self._going:
                self._hand_over()
                ready, _ = ray.wait(list(self._going), timeout=LOOK_EVERY_S)
                for reference in ready:
                    self._take_back(reference)
                for attempt in self._going.values():
                    if share := attempt.task.share_done:
                        self._watcher.is_at(attempt.task, share)
        except KeyboardInterrupt:
            self._stop()
            raise

    def _hand_over(self) -> None:
        import ray

        threads = max((attempt.task.job.threads for attempt in self._waiting), default=1)
        room = self._at_once or max(1, int(ray.cluster_resources().get("CPU", 1) // threads))  # nodes come and go
        while self._waiting and len(self._going) < room:
            attempt = self._waiting.popleft()
            job = attempt.task.job
            function = self._function.options(name=job.name, num_cpus=job.threads)
            self._watcher.began(attempt.task)
            self._going[function.remote(attempt.task.to_text(), *self._arguments)] = attempt

    def _take_back(self, reference: Any) -> None:
        attempt = self._going.pop(reference)
        task = attempt.task
        outcome = _outcome(reference)
        if outcome is not None and outcome.state != "interrupted":
            self._watcher.ended(task, outcome)
            return
        kept = task.kept
        deaths = 1 if kept > attempt.kept else attempt.deaths + 1
        if deaths > MAX_DEATHS:
            reason = f"its workers died, {deaths} in a row without anything new kept"
            self._watcher.ended(task, Outcome("failed", reason=reason))
            return
        log.warning("%s: its worker is gone; it goes on with another", task.job.name)
        self._waiting.appendleft(_Attempt(task, kept, deaths))

    def _stop(self) -> None:
        """Let the workers store what they have."""
        import ray

        if not self._going:
            return
        for reference in self._going:
            ray.cancel(reference)
        log.info("stopping: trainings store what they have")
        ready, _ = ray.wait(list(self._going), num_returns=len(self._going), timeout=GRACE_S)
        for reference in ready:
            attempt = self._going.pop(reference)
            self._watcher.ended(attempt.task, _outcome(reference) or Outcome("interrupted"))


def _outcome(reference: Any) -> Outcome | None:
    """What a worker said; None if it said nothing, for it is dead."""
    import ray
    from ray.exceptions import RayTaskError

    try:
        return Outcome.from_text(ray.get(reference))
    except RayTaskError as error:  # not of the job, whose errors are outcomes
        return Outcome("failed", reason=one_line(error.cause if error.cause is not None else error))
    except ray.exceptions.RayError:
        return None
