"""Guests of the kernel that tells of faults: scripts of tests/kernel as they are, and daemons with planted faults."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.kernel.build import make, write_image
from tests.kernel.image import Image
from tests.kernel.packages import CACHE
from tests.kernel.qemu import Boot, BootError, boot
from tests.kernel_debug.kernel import DebugKernel
from tests.kernel_debug.plants import PLANTS, plant

HERE = Path(__file__).parent
SCRIPTS = ("stress", "daemon")
"""Scripts of tests/kernel/guest that load the daemon."""
PLANTED = "planted"
"""Script that takes the daemon past all faults that are planted."""
UNPLANTED = "static"
"""The module of tests/kernel in which they are."""
WORK = CACHE / "run-debug"
WORDS = "ignore_loglevel kasan_multi_shot hung_task_panic=1"
"""Of the command line: the console has all of the kernel's log, with all faults, and a guest that hangs ends."""
LIMIT_S = 1800


@dataclass(frozen=True)
class Guest:
    """What a guest has said, whether or not it has come to its end."""

    boot: Boot
    error: str | None

    @property
    def console(self) -> list[str]:
        """Lines of the kernel's log."""
        return self.boot.logs[0].decode(errors="replace").splitlines()


def prepare(kernel: DebugKernel) -> Callable[[str], Guest]:
    """Build everything. Raises `UnavailableError`.

    Returns:
        What boots a guest, by the name of a script or of what is planted.
    """
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    base = WORK / "initrd"
    write_image(base, kernel)

    def run(name: str) -> Guest:
        folder = WORK / name.replace(" ", "-")
        folder.mkdir()
        script = PLANTED if name in PLANTS else name
        initrd = folder / "initrd"
        overlay = _overlay(folder, kernel, name)
        initrd.write_bytes(base.read_bytes() + overlay.to_bytes())  # the kernel unpacks one archive over the other
        words = f"{WORDS} tierenv_script=debugged tierenv_debugged={script}"
        try:
            return Guest(boot(kernel.image, initrd, words, folder, in_real_time=True, limit_s=LIMIT_S), None)
        except BootError as error:
            return Guest(Boot(folder), str(error))

    return run


def _overlay(folder: Path, kernel: DebugKernel, name: str) -> Image:
    """What a guest has beside all that those of tests/kernel have."""
    image = Image()
    image.add_tree("guest", HERE / "guest", lambda path: path.suffix == ".py")
    if name in PLANTS:
        source = folder / "module"
        shutil.copytree(WORK / "modules" / UNPLANTED, source)
        plant(name, source)
        make("-C", source, f"KDIR={kernel.sources}", kernel=kernel)
        image.add("modules/planted/tierd.ko", (source / "tierd.ko").read_bytes())
    return image
