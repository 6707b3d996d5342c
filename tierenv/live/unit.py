"""A systemd unit for a controller's archive: started after boot, watched, and taken back however it ends."""

from __future__ import annotations

import re

from tierenv.live.files import Refused

_PATH = re.compile(r"/[A-Za-z0-9_.+/-]+")
"""Nothing that means something to systemd: no spaces, %, $, quotes or backslashes."""
_OPTION = re.compile(r"[A-Za-z0-9_.,:=/+@\\-]+")

_TEMPLATE = """\
# Written by tierenv live unit. Put it into /etc/systemd/system/tierenv-live.service, then: systemctl daemon-reload
[Unit]
Description=Steers NUMA balancing of memory tiers by a learned policy, under a guard
Documentation=file:{archive}
ConditionPathExists=/sys/kernel/debug/sched/numa_balancing
After=tuned.service systemd-sysctl.service

[Service]
Type=notify
NotifyAccess=main
WatchdogSec={watchdog_s}
ExecStart=/usr/bin/python3 -I {archive} run --apply{options}
ExecStopPost=/usr/bin/python3 -I {archive} restore
Restart=on-failure
RestartSec=60
KillMode=mixed
TimeoutStopSec=30
RuntimeDirectory=tierenv
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes

# What it needs: root, the knobs in /proc/sys and debugfs, and CAP_SYS_ADMIN, without which the kernel takes no value of
# kernel.numa_balancing. SETUID and SETGID make the health command nobody.
CapabilityBoundingSet=CAP_SYS_ADMIN CAP_SETUID CAP_SETGID CAP_KILL
ProtectKernelTunables=no
NoNewPrivileges=yes
ProtectSystem=strict
{writable}ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateMounts=yes
{network}ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
SystemCallFilter=~@clock @cpu-emulation @debug @module @mount @obsolete @raw-io @reboot @swap @resources
UMask=0077
MemoryMax=256M
TasksMax=64
CPUQuota=50%

[Install]
WantedBy=multi-user.target
"""


_LEAST_WATCHDOG_S = 30.0
"""Beside that of as many intervals as the supervisor waits, and as many more."""
_ALONE = """\
PrivateNetwork=yes
RestrictAddressFamilies=AF_UNIX
IPAddressDeny=any
"""
_WITH_COMMAND = """\
# The health command may ask what runs on this host.
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
IPAddressDeny=any
IPAddressAllow=localhost
"""
_HIDDEN = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")
"""What the unit does not see."""


def unit_text(archive: str, options: list[str], writable: list[str], interval_s: float, *, has_command: bool) -> str:
    """The unit.

    Args:
        archive: absolute path of the archive.
        options: further ones of `run`.
        writable: folders that it writes beside its own.
        interval_s: between two signs of life.
        has_command: whether a health command runs in it.

    Raises:
        Refused: for a path or an option that would mean something else in a unit file.
    """
    for path in [archive, *writable]:
        if not _PATH.fullmatch(path):
            raise Refused(f"{path}: a unit takes absolute paths of letters, digits, . _ + - and / here; rename it")
    for option in options:
        if not _OPTION.fullmatch(option):
            raise Refused(f"{option}: a unit takes options of letters, digits and . _ , : = / + - here")
    return _TEMPLATE.format(
        archive=archive,
        options="".join(f" {option}" for option in options).replace("\\", "\\\\"),
        watchdog_s=round(_LEAST_WATCHDOG_S + 20 * interval_s),
        writable=f"ReadWritePaths={' '.join(writable)}\n" if writable else "",
        network=_WITH_COMMAND if has_command else _ALONE,
    )


def is_hidden(path: str) -> bool:
    """Whether a service of this unit does not see a path."""
    return path.startswith(_HIDDEN)
