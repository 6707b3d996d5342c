"""Programs that tests run. Where one is missing its tests are skipped, except in CI, where they fail."""

import os
import shutil
from typing import NoReturn

import pytest

ARE_REQUIRED = os.environ.get("TIERENV_TOOLS") == "required"
"""Set by .ci/run, so that nothing goes untested there unnoticed."""

SBIN = "/usr/sbin:/sbin"
"""Where programs for root stand, which others' PATH may lack."""


def needs(tool: str, is_there: bool | None = None) -> pytest.MarkDecorator:
    """Marks a test that runs a tool; `is_there` for one that is no program on PATH."""
    if is_there is None:
        is_there = shutil.which(tool, path=f"{os.environ['PATH']}:{SBIN}") is not None
    return pytest.mark.skipif(not is_there and not ARE_REQUIRED, reason=f"{tool} is missing: run .ci/fetch-tools")


def unusable(reason: str) -> NoReturn:
    """Ends a test whose tool is there and does not run."""
    (pytest.fail if ARE_REQUIRED else pytest.skip)(reason)
