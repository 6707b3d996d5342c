"""Format `sysfs`: a POSIX shell script that sets what a released kernel lets an administrator set.

It says what it would do, does it with --apply and takes it back with --restore. Its parts stand in shell/: head.sh and
tail.sh around files.sh (numbers in files that exist) or damon.sh (files that come into being as one writes).
"""

import re
from importlib import resources

from tierenv.agents.export import ExportRequest
from tierenv.agents.export.static_file import header, translated_setting
from tierenv.agents.export.targets import KernelFile
from tierenv.files import atomic_write_text

_USAGE = """\
Usage: sh FILE              say what would change (dry run)
       sh FILE --apply      change it; what was found is kept under /run/tierenv
       sh FILE --restore    put that back
"""
_DAMON_USAGE = f"""\
{_USAGE}
The fast node is the one with CPUs and memory, the slow node the one with memory alone; where that is not one each,
say which: TIERENV_FAST_NODE=0 TIERENV_SLOW_NODE=2 sh FILE. Nothing is done while DAMON is in use by somebody else.
"""


def write(request: ExportRequest) -> None:
    """Write the script. Raises `ConfigError` for a setting the target cannot express."""
    modelled, setting = translated_setting(request)
    body, usage = ("files.sh", _USAGE) if setting.files else ("damon.sh", _DAMON_USAGE)
    marks = {
        "HEADER": header(modelled, setting, usage),
        "EACH": "\n".join(_call(file) for file in setting.files),
        "IF_MISSING": setting.if_missing,
        **setting.values,
    }
    text = "".join(_part(name) for name in ("head.sh", body, "tail.sh"))
    text = re.sub("@([A-Z_]+)@", lambda mark: marks[mark[1]], text)
    atomic_write_text(request.output, text, executable=True)


def _part(name: str) -> str:
    return (resources.files("tierenv.agents.export") / "shell" / name).read_text(encoding="utf-8")


def _call(file: KernelFile) -> str:
    path = file.path
    if file.also_at:
        path = f'"$(one_of {" ".join((file.path, *file.also_at))})"'
    return f'    "$1" {path} {file.value}'
