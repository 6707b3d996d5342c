"""Where a result comes from: versions, git revision, machine."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = (
    *("tierenv", "cmaes", "gymnasium", "numba", "numpy", "optuna", "sb3-contrib", "scikit-learn", "scipy"),
    *("stable-baselines3", "torch"),
)

SOURCES = (".ci", "Makefile", "agents", "configs", "constraints.txt", "pyproject.toml", "tests", "tierenv", "train")
"""What decides a result, at the top of a checkout; the rest is prose, or was made from these."""
ARTEFACTS = ("configs/policies",)
"""What stands among the sources and was made from them."""
LOGS = ("configs/families/*.openings.json",)
"""What stands there and tells what was done with them (`tierenv.train.openings`)."""


def versions() -> dict[str, str]:
    """Versions of Python and of those packages results depend on that are installed."""
    installed = {name: version for name in PACKAGES if (version := _version(name)) is not None}
    return {"python": platform.python_version()} | installed


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_revision() -> str | None:
    """The checkout's revision ("-dirty" appended when sources differ from it), None outside a checkout."""
    return revision_of(Path(__file__).resolve().parent.parent)


def revision_of(root: Path) -> str | None:
    """The same for any checkout, None if `root` is not the top of one."""
    try:
        top, revision = _git(root, "rev-parse", "--show-toplevel", "--short=12", "HEAD").splitlines()
        if Path(top).resolve() != root.resolve():  # a site-packages folder may lie inside some other project's checkout
            return None
        changes = _git(root, "--no-optional-locks", "status", "--porcelain", "--untracked-files=all", "--", *_SOURCES)
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{revision}-dirty" if changes else revision


_SOURCES = [f":(top){name}" for name in SOURCES] + [f":(top,exclude){name}" for name in (*ARTEFACTS, *LOGS)]


def _git(root: Path, *arguments: str) -> str:
    """What git prints. A hook's GIT_DIR and the like would name another repository."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10, check=True).stdout


def machine() -> dict[str, str | int]:
    """CPU model and cores this process may use."""
    return {"cpu": _cpu_model(), "cores": len(os.sched_getaffinity(0)), "system": platform.platform()}


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
