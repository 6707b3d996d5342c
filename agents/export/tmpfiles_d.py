"""Format `tmpfiles.d`: a file for /etc/tmpfiles.d that writes a static setting at every boot."""

from tierenv.agents.export import ExportRequest
from tierenv.agents.export.static_file import files_to_write, header, translated_setting
from tierenv.files import atomic_write_text

_USAGE = """\
Install: install -m 644 FILE /etc/tmpfiles.d/tierenv.conf && systemd-tmpfiles --create /etc/tmpfiles.d/tierenv.conf
Back:    remove the file and reboot; to have the old values back at once, use --format sysfs or tuned instead

systemd-tmpfiles says nothing of a file that does not exist: look whether the values are there.
"""


def write(request: ExportRequest) -> None:
    """Write the file."""
    modelled, setting = translated_setting(request)
    files = files_to_write(request, setting)
    rows = [f"w {path} - - - - {file.value}" for file in files for path in (file.path, *file.also_at)]
    atomic_write_text(request.output, "\n".join([header(modelled, setting, _USAGE), "", *rows]) + "\n")
