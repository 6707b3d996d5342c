"""What stands in a guest: Debian's programs, the benchmark, what tierenv exports, scripts that try it."""

import lzma
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.agents.script_trees import POLICY, asked_of, killed_text, make_script
from tests.agents.test_kernel_c import any_samples
from tests.kernel.daemons import sources, spoil_policy
from tests.kernel.image import Image
from tests.kernel.packages import Kernel, program, userland
from tests.live.hosts import bundle, network, tables
from tierenv.agents.export import export_policy
from tierenv.agents.export.controller import archive
from tierenv.agents.export.learned_source import learned_source
from tierenv.agents.integer.policy import IntegerPolicy

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
DOCUMENTED = ("live", "daemon")
"""Documents whose commands of root run in guests."""
QUICK_INTERVAL_S = 0.25
"""Of a controller whose states follow each other fast."""
BENCHMARKS = ("abench", "churn")
PROGRAMS = ("bin/busybox", "bin/dash", "usr/bin/flock", "usr/bin/python3.11")
LIBRARIES = "lib/x86_64-linux-gnu", "lib64", "usr/lib/x86_64-linux-gnu", "usr/lib/python3.11"
POLICIES = {"network": "moving-hot-set", "tree": "moving-hot-set-tree"}
"""Packaged policies that run as modules, by the names of these."""
SWAP_MODULES = ("fs/configfs/configfs", "drivers/block/null_blk/null_blk")
"""Of the kernel's own, in the order in which they are loaded: a disk to swap to."""
SPARSE = ("C=1", "CF=-Wsparse-error")
"""Variables of a module's build under which sparse has to find nothing: no lock kept, no pointer into user space."""
ROUNDS, MACHINES = 10, 1000
"""Decisions of each policy: rounds, in each of which each of so many machines takes one."""
KILLED_AT = (6, 24, 41)
"""Changes after which a script is killed: when it has written its first file, some of them, and its last."""
NO_VALUES = {"refused": ("promote_rate_limit_MBps", 2**32), "clamped": ("scan_period_max_ms", 2**32 + 100)}
"""Files with values that the kernel does not take: it refuses one, and takes another one in place of the other."""


def write_image(path: Path, kernel: Kernel) -> None:
    """The first file system of every guest, with modules for this kernel. Raises `UnavailableError`."""
    work = path.parent
    image = Image()
    for folder in ("dev", "proc", "run", "sys", "tmp", "usr/local/lib", "etc/systemd/system"):
        image.add_folder(folder)
    image.add_device("dev/console", 5, 1)
    image.add("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    image.add("init", (HERE / "guest/init").read_bytes(), 0o755)
    image.add_tree("guest", HERE / "guest", lambda script: script.suffix == ".py")
    root = userland()
    for name in PROGRAMS:
        image.add_tree(name, root / name)
    image.add_link("usr/bin/python3", "python3.11")
    for name in LIBRARIES:
        image.add_tree(name, root / name, lambda item: item.name not in ("gconv", "test"))
    for name in BENCHMARKS:
        image.add_tree(f"bin/{name}", benchmark(work, name))
    image.add_tree("exports", _exports(work / "exports"))
    image.add_tree("modules", _modules(work / "modules", kernel), lambda item: item.is_dir() or item.suffix == ".ko")
    for number, samples in enumerate(policy_samples()):
        image.add(f"samples/{number:02}", samples.tobytes())
    path.write_bytes(image.to_bytes())


def benchmark(folder: Path, name: str = "abench") -> Path:
    """A program of ours that uses memory, compiled into a folder to run anywhere."""
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-pthread"]
    _run(program("gcc"), *flags, HERE / f"bench/{name}.c", "-lm", "-o", folder / name)
    return folder / name


def _exports(folder: Path) -> Path:
    """Scripts and files of settings, among them scripts that go wrong."""
    folder.mkdir()
    script = make_script(folder, "numa-balancing")
    demoting = make_script(folder, "numa-balancing", name="demoting.sh", with_demotion=True)
    make_script(folder, "damon", name="damon.sh")
    scenario, policy = asked_of("numa-balancing", POLICY)
    export_policy(policy, "sysctl.d", folder / "sysctl.conf", scenario)
    export_policy(policy, "tmpfiles.d", folder / "tmpfiles.conf", scenario, target="numa-balancing")
    for name, (knob, value) in NO_VALUES.items():
        text, count = re.subn(rf"({knob}) \d+$", rf"\1 {value}", script.read_text(), flags=re.M)
        assert count == 1
        (folder / f"{name}.sh").write_text(text)
    export_policy(str(bundle(folder / "bundle", network(32, 32))), "controller", folder / "tierenv-live.pyz")
    for document in DOCUMENTED:
        (folder / f"{document}-commands").write_text("".join(f"{line}\n" for line in commands_of(document)))
    quick = archive(tables(folder / "quick-bundle", network(32, 32), QUICK_INTERVAL_S))
    (folder / "quick.pyz").write_bytes(quick)
    for number in KILLED_AT:
        (folder / f"killed-{number:02}.sh").write_text(killed_text(demoting, number))
    return folder


def commands_of(document: str, prompt: str = "#") -> list[str]:
    """What one of docs/ has its reader do: as root on his host, or with another prompt."""
    consoles = re.findall(r"^```console\n(.*?)^```$", (DOCS / f"{document}.md").read_text(), re.M | re.S)
    return re.findall(rf"^{re.escape(prompt)} (\S.*)$", "".join(consoles), re.M)


def _modules(folder: Path, kernel: Kernel) -> Path:
    """Modules of the exported policies, without a warning of the kernel's build."""
    folder.mkdir()
    for name, policy in POLICIES.items():
        module = f"tierenv_{name}"
        export_policy(policy, "kernel-c", folder / name)
        shutil.copy(HERE / "module/main.c", folder / name)
        (folder / name / "Kbuild").write_text(f"obj-m := {module}.o\n{module}-y := main.o tierenv_policy.o\n")
    (folder / "Kbuild").write_text("".join(f"obj-m += {name}/\n" for name in POLICIES))
    make("-C", kernel.sources, f"M={folder}", "modules", kernel=kernel)
    exports = sources(folder)
    for source in exports.values():
        make("-C", source, f"KDIR={kernel.sources}", kernel=kernel)
    _make_broken(exports["learned"], folder / "broken", kernel)
    _follow_daemon_document(folder, kernel)
    (folder / "swap").mkdir()
    for number, name in enumerate(SWAP_MODULES):
        packed = kernel.root / f"lib/modules/{kernel.release}/kernel/{name}.ko.xz"
        (folder / f"swap/{number}-{Path(name).name}.ko").write_bytes(lzma.decompress(packed.read_bytes()))
    return folder


def _make_broken(learned: Path, folder: Path, kernel: Kernel) -> None:
    """The module of another one's sources with a spoilt policy, of which alone there is something to compile anew."""
    folder.mkdir()
    whole = learned / "tierd.ko"
    kept = whole.rename(learned / "whole")
    spoil_policy(learned)
    make("-C", learned, f"KDIR={kernel.sources}", kernel=kernel)
    whole.rename(folder / whole.name)
    kept.rename(whole)


def _follow_daemon_document(folder: Path, kernel: Kernel) -> None:
    """Export and build as docs/daemon.md says, for this kernel."""
    export, build = (command.split() for command in commands_of("daemon", "$"))
    assert (export[:2], build[:2]) == (["tierenv", "export"], ["make", "-C"])
    _run(sys.executable, "-m", "tierenv.train", *export[1:], folder=folder)
    make("-C", folder / build[2], f"KDIR={kernel.sources}", *SPARSE, kernel=kernel)


def make(*arguments: str | Path, kernel: Kernel) -> None:
    """Build modules for a kernel, without a warning.

    The headers expect to be installed where they say; as a build folder of the sources they need not be. Type
    information for BPF would take pahole.
    """
    flags = ["-s", "-j2", f"O={kernel.headers}", "W=1", "KCFLAGS=-Werror", "CONFIG_DEBUG_INFO_BTF_MODULES="]
    _run(program("make"), *flags, *arguments)


def policy_samples() -> Iterator[NDArray[np.void]]:
    """Samples of every round: of every magnitude and hostile ones in one half, such as occur in the other."""
    rng = np.random.default_rng(6)
    for round_ in range(ROUNDS):
        samples = any_samples(MACHINES, seed=round_)
        usual = samples[: MACHINES // 2]
        usual["elapsed_ns"] = rng.integers(10**8, 10**10, len(usual))
        usual["resident_pages"] = usual["fast_node_pages"] = 1 << rng.integers(16, 26, len(usual))
        for name in samples.dtype.names or ():
            if name not in ("elapsed_ns", "resident_pages", "fast_node_pages", "in_force"):
                usual[name] = np.exp2(rng.uniform(0, 24, len(usual))).astype(np.int64)
        yield samples


def integer_settings(policy: str) -> NDArray[np.void]:
    """What the integer reference decides on in every round, one round after the other."""
    source = learned_source(policy)
    reference = IntegerPolicy(source.model, source.daemon, source.observation)
    state = reference.interface.initial_state(MACHINES)
    settings = np.zeros(ROUNDS * MACHINES, reference.interface.setting)  # also what lies between its fields
    for round_, samples in enumerate(policy_samples()):
        decided = reference.decide(samples, state)
        for name in settings.dtype.names or ():
            settings[name][round_ * MACHINES : (round_ + 1) * MACHINES] = decided[name]
    return settings


def _run(*command: str | Path, folder: Path | None = None) -> None:
    result = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, f"{command[0]}: {result.stderr}"
