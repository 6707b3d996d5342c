"""Format `sysctl.d`: a file for /etc/sysctl.d, with those values of a static setting that live in /proc/sys."""

from dataclasses import replace

from tierenv.agents.export import ExportRequest
from tierenv.agents.export.static_file import header, translated_setting
from tierenv.agents.export.targets import KernelFile
from tierenv.files import atomic_write_text

_PREFIX = "/proc/sys/"
_USAGE = """\
Install: install -m 644 FILE /etc/sysctl.d/zz-tierenv.conf && sysctl --load=/etc/sysctl.d/zz-tierenv.conf
         The last file that sets a value wins. At boot they are loaded in the order of their names: 90-... would lose
         to 99-sysctl.conf, which Debian and Fedora link to /etc/sysctl.conf; sysctl --system loads /etc/sysctl.conf
         last whatever it is called, so these names must not stand in it. TuneD loads all of them after its profile,
         so they win over it, unless reapply_sysctl is 0 in /etc/tuned/tuned-main.conf.
Look:    sysctl --dry-run --load=FILE
Back:    remove the file and reboot; to have the old values back at once, use --format sysfs or tuned instead

--format tmpfiles.d --target numa-balancing writes all of the setting.
"""


def write(request: ExportRequest) -> None:
    """Write the file; what sysctl does not reach is named in it."""
    modelled, setting = translated_setting(request)
    left_out = [file for file in setting.files if not sysctl_name(file)]
    unreached = {file.tunable for file in left_out}
    setting = replace(
        setting,
        applied={
            name: f"{text} - NOT applied by this file, sysctl reaches /proc/sys only" if name in unreached else text
            for name, text in setting.applied.items()
        },
        remarks=(*setting.remarks, *(f"NOT written by this file: {file.value} to {file.path}" for file in left_out)),
    )
    rows = [f"{sysctl_name(file)} = {file.value}" for file in setting.files if sysctl_name(file)]
    atomic_write_text(request.output, "\n".join([header(modelled, setting, _USAGE), "", *rows]) + "\n")


def sysctl_name(file: KernelFile) -> str:
    """The name sysctl gives a file, empty for one it does not reach."""
    return file.path.removeprefix(_PREFIX).replace("/", ".") if file.path.startswith(_PREFIX) else ""
