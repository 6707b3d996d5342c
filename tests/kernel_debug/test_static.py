"""What compilers and checkers other than those of `make kernel-test` say of the exported daemon: nothing."""

import subprocess
from pathlib import Path

import pytest

from tests.kernel.build import SPARSE
from tests.kernel.packages import program
from tests.kernel_debug.kernel import CLANG, DebugKernel
from tierenv.agents.export import export_policy

POLICIES = ("moving-hot-set", "moving-hot-set-tree")
"""A network and a tree: most of the C that an export can have."""
CHECKPATCH = "--no-tree --strict --terse --no-summary --quiet --show-types".split()
IS_MEANT = {
    "COMPLEX_MACRO": "lists of counters, of which other macros make names, numbers and texts",
    "MACRO_ARG_REUSE": "names of attributes, which are pasted, not evaluated",
    "UNCOMMENTED_DEFINITION": "meant for definitions of locks, and said of arguments that point to one",
    "LINUX_VERSION_CODE": "outside the kernel's tree there is more than one version",
    "OPEN_ENDED_LINE": "tracepoints are declared as the kernel's are",
    "PARENTHESIS_ALIGNMENT": "tracepoints again, and what a macro is called with",
    "PREFER_KERNEL_TYPES": "what is learned is standard C, which format kernel-c writes for others, too",
    "BIT_MACRO": "the same",
}
"""What checkpatch.pl says and is not followed, and why."""
GENERATED = {"LONG_LINE": "of numbers", "LONG_LINE_COMMENT": "of ranges"}
"""The same of files that are filled in by an export."""


@pytest.fixture(params=POLICIES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An exported folder."""
    folder = tmp_path / "tierd"
    export_policy(request.param, "daemon", folder)
    return folder


def run(*command: str | Path) -> str:
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    return result.stdout + result.stderr


def build(source: Path, headers: Path, *variables: str) -> str:
    """All that the kernel's build says beside what it does."""
    return run(program("make"), "-s", "-C", source, f"KDIR={headers}", "W=1", *variables)


def test_sparse_finds_nothing(source: Path, kernel: DebugKernel) -> None:
    assert build(source, kernel.headers, *SPARSE) == ""
    assert (source / "tierd.ko").exists()


def test_clang_finds_nothing(source: Path, kernel: DebugKernel) -> None:
    assert build(source, kernel.clang_headers, f"CC={CLANG}") == ""
    assert (source / "tierd.ko").exists()


def test_checkpatch_finds_nothing_but_what_is_meant(source: Path, kernel: DebugKernel) -> None:
    complaints = []
    for file in sorted(source.glob("*.[ch]")):
        is_generated = file.name.startswith("tierenv_policy") or file.name in ("learned.c", "settings.h")
        ignored = ",".join(IS_MEANT | (GENERATED if is_generated else {}))
        script = kernel.headers / "scripts/checkpatch.pl"
        complaints += run(program("perl"), script, *CHECKPATCH, "--ignore", ignored, "--file", file).splitlines()
    assert complaints == []
