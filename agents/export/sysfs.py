"""Format `sysfs`: a POSIX shell script that sets what a released kernel lets an administrator set.

It says what it would do and what stands in the way, does it with --apply and takes it back with --restore. Its parts
stand in shell/: what all scripts do, then the checks of the target, then files.sh (knobs that exist) or what the target
has of its own (files that come into being as one writes).
"""

import re
from importlib import resources

from tierenv.agents.export import ExportRequest
from tierenv.agents.export.static_file import header, translated_setting
from tierenv.agents.export.targets import TARGETS, KernelFile
from tierenv.files import atomic_write_text

_USAGE = """\
Usage: sh FILE              say what would change, and what stands in the way (dry run)
       sh FILE --check      the latter alone; exit status 1 if --apply would be refused
       sh FILE --apply      change it; what was found is kept under /run/tierenv
       sh FILE --restore    put that back
Needs flock of util-linux.
"""
_DAMON_USAGE = f"""\
{_USAGE}
The fast node is the one with CPUs and memory, the slow node the one with memory alone; where that is not one each,
say which: TIERENV_FAST_NODE=0 TIERENV_SLOW_NODE=2 sh FILE. Nothing is done while DAMON is in use by somebody else.
"""


def write(request: ExportRequest) -> None:
    """Write the script. Raises `ConfigError` for a setting the target cannot express."""
    modelled, setting = translated_setting(request)
    own = f"{TARGETS[setting.target].module}.sh"
    body, usage = ((own, "files.sh"), _USAGE) if setting.files else ((own,), _DAMON_USAGE)
    marks = {
        "HEADER": header(modelled, setting, usage),
        "EACH": "\n".join(_call(file) for file in setting.files),
        "IF_MISSING": setting.if_missing,
        "WITH_DEMOTION": "yes" if request.with_demotion else "",
        **setting.values,
    }
    text = "".join(_part(name) for name in ("head.sh", "preflight.sh", "knobs.sh", *body, "tail.sh"))
    text = re.sub("@([A-Z_]+)@", lambda mark: marks[mark[1]], text)
    atomic_write_text(request.output, text, executable=True)


def _part(name: str) -> str:
    return (resources.files("tierenv.agents.export") / "shell" / name).read_text(encoding="utf-8")


def _call(file: KernelFile) -> str:
    path = file.path
    if file.also_at:
        path = f'"$(one_of {" ".join((file.path, *file.also_at))})"'
    return f'    {"if_there " if file.is_optional else ""}"$1" {path} {file.value}'
