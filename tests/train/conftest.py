"""The tiny training as fixtures."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.train.tiny_training import write_scenario, write_training


@pytest.fixture
def scenario_path(tmp_path: Path) -> Path:
    """Returns the file of a tiny scenario."""
    return write_scenario(tmp_path)


@pytest.fixture
def write_config(tmp_path: Path, scenario_path: Path) -> Any:
    """Returns `write_training` for the folder of the scenario."""
    return partial(write_training, tmp_path)
