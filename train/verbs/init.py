"""The verb `init`."""

import shlex
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from tierenv.train.verbs.common import stderr_console

Size = Annotated[str | None, arg(metavar="SIZE")]
Time = Annotated[str | None, arg(metavar="TIME")]
Rate = Annotated[str | None, arg(metavar="RATE")]


@dataclass(frozen=True)
class Init:
    """Write a platform, a workload and a scenario of your own into a new folder, to be changed and evaluated.

    Without any option it asks, on a terminal; what no option says has a default.
    """

    folder: Annotated[Positional[Path], arg(metavar="FOLDER")] = Path("mine")
    """Folder to make; one that holds anything is left alone."""
    platform: Annotated[str | None, arg(metavar="FILE")] = None
    """Platform that exists, such as `tierenv platform` writes, in place of a new one: a path, or a packaged name."""
    workload: Annotated[str | None, arg(metavar="FILE")] = None
    """Workload that exists, such as `tierenv import` writes, in place of a new one: a path, or a packaged name."""
    memory: Size = None
    """Memory the program uses, such as 256GiB."""
    threads: Annotated[str | None, arg(metavar="N")] = None
    """Threads of the program."""
    heat: Annotated[str | None, arg(metavar="FORM")] = None
    """Heat of its pages: zipf, hot-cold, normal or uniform."""
    like: Annotated[str | None, arg(metavar="PLATFORM")] = None
    """Packaged machine that yours is most like: a name from `tierenv list platforms`."""
    dram: Size = None
    """DRAM that the program can have."""
    cxl: Size = None
    """Memory of the CXL node."""
    dram_latency: Time = None
    """Idle latency of DRAM, such as 110ns."""
    cxl_latency: Time = None
    """Idle latency of the CXL node."""
    dram_bandwidth: Rate = None
    """Read bandwidth of DRAM, such as 300GB/s."""
    cxl_bandwidth: Rate = None
    """Read bandwidth of the CXL node."""
    daemon: Annotated[str | None, arg(metavar="DAEMON")] = None
    """What promotes: a name from `tierenv list daemons`."""

    def run(self) -> int:
        """Ask if nothing is said, and write."""
        from tierenv.train.init import OWN_FILES, ask, check_folder, check_own_files, with_defaults, write_scenario

        check_folder(self.folder)
        options = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "folder"}
        said = {name: text for name, text in options.items() if text is not None}
        own = {name: text for name, text in said.items() if name in OWN_FILES}
        given = {name: text for name, text in said.items() if name not in OWN_FILES}
        check_own_files(own, given)
        is_asking = not said and sys.stdin.isatty() and sys.stderr.isatty()
        paths = write_scenario(self.folder, ask(stderr_console()) if is_asking else with_defaults(given), own)
        if not said and not is_asking:
            print("no terminal to ask on, and no option: written with defaults (tierenv init --help)")
        print(*(f"wrote {path}" for path in paths), sep="\n")
        print(f"next: tierenv evaluate {shlex.quote(str(paths[-1]))} --policy no-migration --policy numab2")
        return 0
