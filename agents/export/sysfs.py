"""Format `sysfs`: a POSIX shell script that sets what a released kernel lets an administrator set.

It says what it would do, does it with --apply and takes it back with --restore. Its parts stand in shell/: head.sh and
tail.sh around files.sh (numbers in files that exist) or damon.sh (files that come into being as one writes).
"""

import re
from importlib import resources

from tierenv.agents.export import ExportRequest
from tierenv.agents.export.modelled import ModelledSetting, modelled_setting
from tierenv.agents.export.targets import TARGETS, KernelFile, TargetSetting, target_setting
from tierenv.files import atomic_write_text

_USAGE = """\
# Usage: sh FILE              say what would change (dry run)
#        sh FILE --apply      change it; what was found is kept under /run/tierenv
#        sh FILE --restore    put that back"""
_DAMON_USAGE = f"""\
{_USAGE}
#
# The fast node is the one with CPUs and memory, the slow node the one with memory alone; where that is not one each,
# say which: TIERENV_FAST_NODE=0 TIERENV_SLOW_NODE=2 sh FILE. Nothing is done while DAMON is in use by somebody else."""


def write(request: ExportRequest) -> None:
    """Write the script. Raises `ConfigError` for a setting the target cannot express."""
    modelled = modelled_setting(request)
    setting = target_setting(request.target, modelled.setting, modelled.scenario)
    atomic_write_text(request.output, script(modelled, setting), executable=True)


def script(modelled: ModelledSetting, setting: TargetSetting) -> str:
    """The text of the script."""
    body = "files.sh" if setting.files else "damon.sh"
    text = "".join(_part(name) for name in ("head.sh", body, "tail.sh"))
    marks = {
        "TARGET": setting.target,
        "SUMMARY": TARGETS[setting.target].summary,
        "ORIGIN": modelled.origin.comment(is_other_target=True),
        "DAEMON": modelled.scenario.daemon.name,
        "SETTING": setting.comment(),
        "USAGE": _USAGE if setting.files else _DAMON_USAGE,
        "EACH": "\n".join(_call(file) for file in setting.files),
        "IF_MISSING": setting.if_missing,
        **setting.values,
    }
    return re.sub("@([A-Z_]+)@", lambda match: marks[match[1]], text)


def _part(name: str) -> str:
    return (resources.files("tierenv.agents.export") / "shell" / name).read_text(encoding="utf-8")


def _call(file: KernelFile) -> str:
    path = file.path
    if file.also_at:
        path = f'"$(one_of {" ".join((file.path, *file.also_at))})"'
    return f'    "$1" {path} {file.value}'
