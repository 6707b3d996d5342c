"""The kernel that tells of faults: Debian's source with kernel.config, built once and kept in build/kernel.

Its modules are built with what stays of the build: headers, scripts, and the symbols that it exports. Another version
of the source, or another configuration, is another build; the older one goes.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.kernel.packages import CACHE, Kernel, UnavailableError, unpacked

SOURCE = "linux-source-6.12"
CONFIG = Path(__file__).with_name("kernel.config")
CLANG = "clang-14"
"""Debian 12's; Linux 6.12 takes 13.0.1 and newer."""
PROGRAMS = ("bc", "bison", CLANG, "flex", "gcc", "make", "perl", "qemu-system-x86_64", "sparse", "xz")
PACKAGE_OF = {"qemu-system-x86_64": "qemu-system-x86", "xz": "xz-utils"}
"""Where a program's package is not of its name."""
HEADER, HEADER_PACKAGE = "gelf.h", "libelf-dev"
"""Of a library that the kernel's own tools are built with."""
BUILD_LIMIT_S = 3600


@dataclass(frozen=True)
class DebugKernel(Kernel):
    """A kernel that was built here, in the layout of Debian's packages."""

    @property
    def sources(self) -> Path:
        """All that modules are built with stands in one folder."""
        return self.headers

    @property
    def clang_headers(self) -> Path:
        """The same for clang, which takes other options than gcc: to see what it says of modules, not to load them."""
        return self.headers.with_name(f"{self.headers.name}-clang")


def debug_kernel() -> DebugKernel:
    """Build it, the first time. Raises `UnavailableError`."""
    _check_programs()
    package = unpacked(SOURCE, lambda: [SOURCE])[1]
    key = hashlib.sha256(package.name.encode() + CONFIG.read_bytes()).hexdigest()[:12]
    folder = CACHE / f"kernel-debug-{key}"
    if not folder.is_dir():
        [archive] = package.glob("usr/src/*.tar.xz")
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="building-") as temporary:
            _build(archive, Path(temporary))
            for older in CACHE.glob("kernel-debug-*"):
                shutil.rmtree(older)
            (Path(temporary) / "root").rename(folder)
    [image] = folder.glob("boot/vmlinuz-*")
    return DebugKernel(image.name.removeprefix("vmlinuz-"), folder)


def lost_lines(wanted: str, config: str) -> list[str]:
    """Lines of a fragment that a configuration made from it has not taken."""
    have = set(config.splitlines())
    lost = []
    for line in wanted.splitlines():
        name, _, value = line.partition("=")
        off = re.fullmatch(r"# (CONFIG_\w+) is not set", line)
        if off or value == "n":
            is_lost = any(other.startswith(f"{off[1] if off else name}=") for other in have)
        else:
            is_lost = line.startswith("CONFIG_") and line not in have
        if is_lost:
            lost.append(line)
    return lost


def _check_programs() -> None:
    missing = {name: PACKAGE_OF.get(name, name) for name in PROGRAMS if shutil.which(name) is None}
    if "gcc" not in missing:
        probe = ["gcc", "-fsyntax-only", "-include", HEADER, "-x", "c", "/dev/null"]
        if subprocess.run(probe, capture_output=True).returncode != 0:
            missing[HEADER] = HEADER_PACKAGE
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        raise UnavailableError(f"{', '.join(missing)} missing: apt-get install --no-install-recommends {packages}")


def _build(archive: Path, work: Path) -> None:
    """Build in a folder; what stays goes into `root` below it."""
    source, built, root = (work / name for name in ("source", "built", "root"))
    source.mkdir()
    _run("tar", "--extract", "--file", archive, "--directory", source, "--strip-components=1")
    _configure(source, built)
    lost = lost_lines(CONFIG.read_text(), (built / ".config").read_text())
    if lost:
        raise UnavailableError(f"{CONFIG.name}: {SOURCE} does not take {', '.join(lost)}")
    _make(built, "vmlinux", "modules")
    release = (built / "include/config/kernel.release").read_text().strip()
    headers = root / f"usr/src/linux-headers-{release}"
    _install_headers(built, headers)
    _make(built, f"INSTALL_MOD_PATH={root}", "DEPMOD=true", "modules_install")
    (root / "boot").mkdir()
    (built / "vmlinux").rename(root / f"boot/vmlinuz-{release}")  # QEMU boots it as it is: there is nothing to unpack

    by_clang = work / "by-clang"
    _configure(source, by_clang, f"CC={CLANG}")
    _make(by_clang, f"CC={CLANG}", "modules_prepare")
    shutil.copy(built / "Module.symvers", by_clang)
    _install_headers(by_clang, headers.with_name(f"{headers.name}-clang"), f"CC={CLANG}")


def _configure(source: Path, folder: Path, *variables: str) -> None:
    """Every symbol off that the fragment does not ask for."""
    folder.mkdir()
    _make(source, f"O={folder}", *variables, f"KCONFIG_ALLCONFIG={CONFIG}", "allnoconfig")


def _install_headers(built: Path, folder: Path, *variables: str) -> None:
    script = f"$(srctree)/scripts/package/install-extmod-build {folder}"
    _make(built, *variables, "HOSTCC=$(CC)", f"KBUILD_RUN_COMMAND={script}", "run-command")


def _make(folder: Path, *arguments: str) -> None:
    _run("make", "--silent", f"--jobs={len(os.sched_getaffinity(0))}", "-C", folder, *arguments)


def _run(*command: str | Path) -> None:
    environment = dict(_environment())
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, env=environment, capture_output=True, text=True, timeout=BUILD_LIMIT_S
    )
    if result.returncode != 0:
        reason = "\n".join(result.stderr.strip().splitlines()[-20:])
        raise UnavailableError(f"{' '.join(map(str, command))}:\n{reason}")


def _environment() -> Iterator[tuple[str, str]]:
    """What would change the build does not reach it from outside."""
    for name, value in os.environ.items():
        if not re.match(r"MAKE|MFLAGS|KBUILD_|KCFLAGS|KCONFIG_|CC$|LD$|LLVM|ARCH$|CROSS_COMPILE", name):
            yield name, value
    yield "LC_ALL", "C"
