"""The verb `platform`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import UseAppendAction, arg

from tierenv.train.verbs.common import JsonFile, check_outputs, print_results, write_json_output

Files = UseAppendAction[tuple[tuple[Path, ...], ...]]


@dataclass(frozen=True)
class Platform:
    """Write a platform file of what tools and the kernel say of a machine: this one, or one whose files are at hand."""

    output: Annotated[Path, arg(metavar="MACHINE.yaml")]
    """Platform file to write: each value with its source and how sure it is, and what is assumed."""
    mlc: Annotated[Files, arg(metavar="FILE")] = ()
    """What Intel MLC printed: a default run, or single modes; may be repeated."""
    numactl: Annotated[Files, arg(metavar="FILE")] = ()
    """What `numactl -H` printed."""
    sysfs: Annotated[Files, arg(metavar="FOLDER")] = ()
    """Folder with a copy of the machine's /sys and /proc/cpuinfo; / is this machine, asked where nothing is given."""
    like: Annotated[str, arg(metavar="PLATFORM")] = "amd-epyc-cxl"
    """Platform that has everything unknown: a path, or a name from `tierenv list platforms`."""
    fast_node: Annotated[int | None, arg(metavar="NODE")] = None
    """Node of the fast tier in whose CPUs' eyes all is seen; by default the one that is nearest to the slow node."""
    slow_node: Annotated[tuple[int, ...], arg(metavar="NODE")] = ()
    """Node of the slow tier, several together; by default the nearest below the kernel's top tier, or without CPUs."""
    json: JsonFile = None

    def run(self) -> int:
        """Write it."""
        read = [path for paths in (*self.mlc, *self.numactl) for path in paths]
        check_outputs(self.output, self.json, inputs=read)
        from tierenv.files import atomic_write_text
        from tierenv.train.machine.platform_file import platform_of
        from tierenv.train.machine.sources import SOURCES

        given = {name: [path for paths in getattr(self, name) for path in paths] for name in SOURCES}
        made = platform_of(given, self.like, self.output, self.fast_node, self.slow_node)
        atomic_write_text(self.output, made.text)
        write_json_output(self.json, made.to_json)
        print_results(made.table(), *made.remarks, f"wrote {self.output}", beside=self.json)
        return 0
