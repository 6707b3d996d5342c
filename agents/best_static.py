"""The best static settings `tierenv tune` found, by scenario, and the file that remembers them."""

import fcntl
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from tierenv.daemon import Daemon
from tierenv.errors import ConfigError, close_match
from tierenv.files import atomic_write_text
from tierenv.records import Record, validate_record
from tierenv.scenario import Scenario
from tierenv.tunables import TUNABLES, Setting

FILE_NAME = "best-static.json"


class BestStatic(Record):
    """What a search over static settings found, and what it cost."""

    daemon: str
    """Variant that was searched."""
    setting: dict[str, float | None]
    """By symbol; None for unlimited: JSON has no infinity."""
    mean_s: Annotated[float, Field(gt=0)]
    """Mean completion time over the tuning seeds."""
    trials: Annotated[int, Field(ge=1)]
    """Settings tried: the budget to print beside a learner's."""
    episodes: Annotated[int, Field(ge=1)]
    """Runs of the scenario it took."""
    env_steps: Annotated[int, Field(ge=1)]
    """Control intervals of all runs."""
    wall_s: Annotated[float, Field(gt=0)]
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    """Tuning seeds each setting ran on; disjoint from the evaluation's."""
    command: str
    git_revision: str | None

    def setting_for(self, daemon: Daemon) -> Setting:
        """The setting as policies take it. Raises `ConfigError` unless it is one of the daemon's."""
        symbols = {TUNABLES[name].symbol: name for name in daemon.tunables}
        if set(self.setting) != set(symbols):
            raise ConfigError(f"best-static: has {', '.join(self.setting)}, daemon {daemon.name} {', '.join(symbols)}")
        by_name = {symbols[symbol]: math.inf if value is None else value for symbol, value in self.setting.items()}
        return Setting({name: by_name[name] for name in daemon.tunables})


class BestStaticFile(Record):
    """The content of configs/policies/best-static.json."""

    model_config = ConfigDict(populate_by_name=True)

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    scenarios: dict[str, BestStatic] = {}


def default_path() -> Path:
    """The packaged file."""
    return Path(str(resources.files("tierenv.configs"))) / "policies" / FILE_NAME


def read_best_static(path: Path | None = None) -> dict[str, BestStatic]:
    """What is stored, by name of scenario; empty without a file. Raises `ConfigError` for a broken one."""
    path = path or default_path()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold an object, got {type(content).__name__}")
    return validate_record(BestStaticFile, content, str(path)).scenarios


def write_best_static(scenario_name: str, best: BestStatic, path: Path | None = None) -> Path:
    """Store one scenario's result, keeping the others', and return the file's path."""
    path = path or default_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):  # searches over several scenarios may end at the same time
        scenarios = read_best_static(path) | {scenario_name: best}
        content = BestStaticFile(scenarios=dict(sorted(scenarios.items())))
        atomic_write_text(path, content.model_dump_json(by_alias=True, indent=2) + "\n")
    return path


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def find_best_static(scenario: Scenario) -> BestStatic:
    """What is stored for a scenario. Raises `ConfigError` if there is none for its daemon."""
    known = read_best_static()
    if scenario.name not in known:
        hint = close_match(scenario.name, known)
        raise ConfigError(
            f"best-static: no setting stored for scenario {scenario.name!r}{hint}; "
            f"run: tierenv tune {scenario.name} --save"
        )
    best = known[scenario.name]
    if best.daemon != scenario.daemon.name:
        raise ConfigError(
            f"best-static: the setting stored for {scenario.name!r} is for daemon {best.daemon}, "
            f"not {scenario.daemon.name}; run: tierenv tune {scenario.name} --save"
        )
    return best
