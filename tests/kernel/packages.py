"""Debian's packages: resolved and downloaded by apt as any user, unpacked into build/kernel, never installed.

What is unpacked stays under a name that its versions give it: a second run downloads nothing, and a new version takes
the place of the older.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / "build/kernel"

USERLAND = (
    "busybox-static",
    "dash",
    "libc6",
    "libexpat1",
    "libffi8",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "python3.11-minimal",
    "util-linux",
    "zlib1g",
)
"""What runs in a guest: Debian's python3 with the libraries of what is imported there, two shells, flock."""


class UnavailableError(Exception):
    """This machine cannot run the tests: one line, what is missing and what to do."""


@dataclass(frozen=True)
class Kernel:
    """A kernel of Debian's with its headers, where it is asked for with them."""

    release: str
    root: Path

    @property
    def image(self) -> Path:
        """What boots."""
        return self.root / f"boot/vmlinuz-{self.release}"

    @property
    def headers(self) -> Path:
        """What modules are built with that is of this kernel alone."""
        return self.root / f"usr/src/linux-headers-{self.release}"

    @property
    def sources(self) -> Path:
        """What they are built with that is of all kernels of its version."""
        [folder] = self.root.glob("usr/src/linux-headers-*-common")
        return folder


def kernel(metapackage: str, with_headers: bool = False) -> Kernel:
    """The kernel that a metapackage stands for today. Raises `UnavailableError`."""

    def packages() -> list[str]:
        [image] = _dependencies(metapackage, "linux-image-")
        headers = image.replace("image", "headers", 1)
        return [image, headers, *_dependencies(headers, "linux-headers-|linux-kbuild-")] if with_headers else [image]

    names, root = unpacked(metapackage, packages)
    return Kernel(names[0].removeprefix("linux-image-"), root)


def userland() -> Path:
    """Folder of what runs in a guest, its Python compiled. Raises `UnavailableError`."""
    return unpacked("userland", lambda: USERLAND, _compile_library)[1]


def _compile_library(root: Path) -> None:
    """Compile the standard library by the Python that is to import it, whatever stands on this machine."""
    libraries = [root / folder / "x86_64-linux-gnu" for folder in ("lib", "usr/lib")]
    loader = [libraries[0] / "ld-linux-x86-64.so.2", "--library-path", ":".join(map(str, libraries))]
    python = ["env", f"PYTHONHOME={root / 'usr'}", *loader, root / "usr/bin/python3.11", "-m", "compileall", "-q"]
    # with a stamp of time the times of the sources would have to survive every copy
    _run(*map(str, python), "--invalidation-mode", "unchecked-hash", "-s", str(root), str(root / "usr/lib/python3.11"))


def program(name: str) -> str:
    """Path of a program of this machine. Raises `UnavailableError`."""
    path = shutil.which(name)
    if path is None:
        raise UnavailableError(f"{name} is missing: run .ci/fetch-tools")
    return path


def unpacked(
    name: str, packages: Callable[[], Sequence[str]], prepare: Callable[[Path], None] = lambda _root: None
) -> tuple[Sequence[str], Path]:
    """Names of packages and the folder in which all of them stand, prepared once."""
    for tool in ("apt-cache", "apt-get", "dpkg-deb"):
        program(tool)
    try:
        return _fetched(name, packages(), prepare)
    except UnavailableError:
        if os.geteuid() != 0:
            raise
    _run("apt-get", "update")  # lists are missing, or so old that what they name is gone
    return _fetched(name, packages(), prepare)


def _fetched(name: str, packages: Sequence[str], prepare: Callable[[Path], None]) -> tuple[Sequence[str], Path]:
    versions = re.findall(
        r"^(?:Package|Version): (.*)", _run("apt-cache", "show", "--no-all-versions", *packages), re.M
    )
    folder = CACHE / f"{name}-{hashlib.sha256(' '.join(versions).encode()).hexdigest()[:12]}"
    if not folder.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
            root = Path(temporary) / "root"
            _run("apt-get", "download", *packages, folder=Path(temporary))
            for archive in Path(temporary).glob("*.deb"):
                _run("dpkg-deb", "--extract", str(archive), str(root))
            prepare(root)
            for older in CACHE.glob(f"{name}-" + 12 * "[0-9a-f]"):
                shutil.rmtree(older)
            root.rename(folder)
    return packages, folder


def _dependencies(package: str, pattern: str) -> list[str]:
    """Those of a package whose names begin as asked."""
    found = re.findall(rf"^  Depends: ((?:{pattern})\S+)", _run("apt-cache", "depends", package), re.M)
    if not found:
        raise UnavailableError(f"package {package} depends on no {pattern}: apt's lists are not as expected")
    return found


def _run(*command: str, folder: Path | None = None) -> str:
    environment = os.environ | {"LC_ALL": "C"}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UnavailableError(
            f"{' '.join(command)}: {reason}; the kernel tests take packages of Debian 12 and its security updates: run "
            "apt-get update, with a network or after a run that has left them in build/kernel"
        )
    return result.stdout
