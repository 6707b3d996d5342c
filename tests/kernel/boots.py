"""The guests that are booted: which script runs on which kernel, and what every one of them has at hand."""

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.kernel.build import write_image
from tests.kernel.packages import CACHE, kernel, program
from tests.kernel.qemu import Boot, boot

TWO_TIERS, ONE_TIER = "linux-image-6.12-cloud-amd64", "linux-image-cloud-amd64"
"""A kernel that puts the nodes into two tiers, as the firmware's HMAT tells, and one that does not (6.1)."""

WORDS = {"one_tier": "maxcpus=1", "fidelity": "maxcpus=1", "full_node": "maxcpus=1"}
"""What the kernel's command line of a script has beside the rest: 6.1 waits for its second processor without an end
where both are emulated by one thread. Why the other two have one says guest/watching.py."""

BOOTS = {
    "stress": TWO_TIERS,
    "daemon": TWO_TIERS,
    "promotion": TWO_TIERS,
    "exports": TWO_TIERS,
    "controller": TWO_TIERS,
    "changing": TWO_TIERS,
    "one_tier": ONE_TIER,
}
"""Kernels by the scripts of tests/kernel/guest that run on them, those that take longest first. A test that has one of
these names as an argument gets what the script has reported; another is a row here."""

STUDIES = {"full_node": TWO_TIERS, "fidelity": TWO_TIERS}
"""Scripts that no test waits for."""

WORK = CACHE / "run"
"""What the last run built, and what its guests said: console.log and report.jsonl of each."""


def prepare() -> Callable[[str, Path], Boot]:
    """Build everything. Raises `UnavailableError`.

    Returns:
        What boots a guest, by the name of its script, and leaves what it says in a folder.
    """
    for name in ("qemu-system-x86_64", "gcc", "make", "sparse"):
        program(name)
    kernels = {name: kernel(name, with_headers=name == TWO_TIERS) for name in (TWO_TIERS, ONE_TIER)}
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    initrd = WORK / "initrd"
    write_image(initrd, kernels[TWO_TIERS])

    def run(script: str, folder: Path) -> Boot:
        image = kernels[(BOOTS | STUDIES)[script]].image
        return boot(image, initrd, f"{WORDS.get(script, '')} tierenv_script={script}", folder)

    return run
