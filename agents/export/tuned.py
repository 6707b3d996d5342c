"""Format `tuned`: a TuneD profile, the folder with its tuned.conf. TuneD puts the old values back by itself."""

import re

from tierenv.agents.export import ExportRequest
from tierenv.agents.export.static_file import files_to_write, header, translated_setting
from tierenv.agents.export.sysctl_d import sysctl_name
from tierenv.errors import ConfigError
from tierenv.files import atomic_folder

CONF = "tuned.conf"

_USAGE = """\
Install: cp -r FOLDER /etc/tuned/profiles/ (/etc/tuned/ in older releases) && tuned-adm profile NAME
Look:    tuned-adm verify
Back:    tuned-adm profile with the profile before (tuned-adm active names it), or tuned-adm off

TuneD keeps one profile at a time: to go on with the present one as well, add include=ITS_NAME to [main].
It says nothing of a file in /sys that does not exist: look whether the values are there. Unless reapply_sysctl is 0 in
/etc/tuned/tuned-main.conf, what sysctl.conf and sysctl.d hold wins over [sysctl] here.
"""


def write(request: ExportRequest) -> None:
    """Write the profile. Raises `ConfigError` for a folder whose name TuneD would not load."""
    name = request.output.resolve().name
    if not re.fullmatch(r"[a-zA-Z0-9_.-]+", name):
        raise ConfigError(f"{request.output}: TuneD takes profile names of letters, digits and _.- only")
    modelled, setting = translated_setting(request)
    summary = re.sub(r"[^\w ,.:;=+()/-]", "?", f"{modelled.origin.policy} for {modelled.scenario.name}; modelled")
    files = files_to_write(request, setting)
    sysctls = [f"{sysctl_name(file)}={file.value}" for file in files if sysctl_name(file)]
    others = [file for file in files if not sysctl_name(file)]
    sysfs = [f"{path}={file.value}" for file in others for path in (file.path, *file.also_at)]
    sections = [
        header(modelled, setting, _USAGE),
        f"[main]\nsummary={' '.join(summary.split())}",
        *(["\n".join(["[sysctl]", *sysctls])] if sysctls else []),
        *(["\n".join(["[sysfs]", *sysfs])] if sysfs else []),
    ]
    with atomic_folder(request.output) as folder:
        (folder / CONF).write_text("\n\n".join(sections) + "\n", encoding="utf-8")
