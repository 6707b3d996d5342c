"""Where a result comes from: versions, git revision, machine."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("tierenv", "gymnasium", "numba", "numpy", "scipy", "stable-baselines3", "torch")


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
    """The checkout's revision ("-dirty" appended when files differ from it), None outside a checkout."""
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"]
    try:
        finished = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    # A site-packages folder may lie inside some other project's checkout.
    is_ours = (folder.parent / "pyproject.toml").is_file()
    return finished.stdout.strip() if finished.returncode == 0 and is_ours else None


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
