"""What the formats of static settings for a kernel share: the header, and the setting in the target's terms."""

import logging
from dataclasses import replace

from tierenv.agents.export import ExportRequest
from tierenv.agents.export.header import one_line
from tierenv.agents.export.modelled import ModelledSetting, modelled_setting
from tierenv.agents.export.targets import DEMOTION, TARGETS, KernelFile, TargetSetting, target_setting
from tierenv.daemon import AccessedBitDaemon

log = logging.getLogger(__name__)


def translated_setting(request: ExportRequest) -> tuple[ModelledSetting, TargetSetting]:
    """The request's setting, as modelled and as its target takes it. Raises `ConfigError` where it cannot."""
    modelled = modelled_setting(request)
    setting = target_setting(request.target, modelled.setting, modelled.scenario)
    for warning in setting.warnings:
        log.warning("warning: target %s: %s", request.target, warning)
    modelled_with = "true" if modelled.scenario.demotion else "false"
    written = "written as well" if request.with_demotion else "left as it is"
    remark = f"modelled with {DEMOTION.path} {modelled_with}, which is {written}"
    return modelled, replace(setting, remarks=(*setting.remarks, remark))


def files_to_write(request: ExportRequest, setting: TargetSetting) -> tuple[KernelFile, ...]:
    """The target's, after that of demotion if it was asked for."""
    return (DEMOTION, *setting.files) if request.with_demotion else setting.files


def header(modelled: ModelledSetting, setting: TargetSetting, usage: str) -> str:
    """The comment that a file begins with; `usage` are its last lines."""
    lines = usage.rstrip("\n").split("\n")
    daemon = modelled.scenario.daemon
    which = ", which no released kernel has" if isinstance(daemon, AccessedBitDaemon) else ""
    return "\n".join(
        [
            f"# A setting of {setting.target}, {TARGETS[setting.target].summary}.",
            "#",
            modelled.origin.comment(is_other_target=not TARGETS[setting.target].is_modelled),
            "#",
            f"# It was modelled on the daemon {one_line(daemon.name)}{which}. What the target makes of it:",
            "#",
            setting.comment(),
            "#",
            *[f"# {line}".rstrip() for line in lines],
        ]
    )
