"""The best static settings `tierenv tune` found, by scenario and by suite, and the file that remembers them.

Scenarios are told apart by what they say (`Scenario.identity`), not by their names: another scenario of the same name
has a setting of its own, a copy under another name shares it. The one setting for all of a suite goes by its name and
that of the daemon.
"""

import math
import os
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from tierenv.daemon import Daemon, load_daemon
from tierenv.errors import ConfigError, close_match
from tierenv.files import atomic_write_text, locked
from tierenv.folders import user_folder
from tierenv.reading import read_json
from tierenv.records import Record, packaged, validate_record
from tierenv.scenario import Scenario, load_scenario
from tierenv.tunables import TUNABLES, Setting

FILE_NAME = "best-static.json"


class StoredSetting(Record):
    """A setting that a search found, and where it comes from."""

    daemon: str
    """Variant that was searched."""
    setting: dict[str, float | None]
    """By symbol; None for unlimited: JSON has no infinity."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    """Tuning seeds it was judged on; disjoint from the evaluation's."""
    command: str
    git_revision: str | None

    @property
    def chosen_on(self) -> tuple[str, ...]:
        """Names of the scenarios it was searched on."""
        raise NotImplementedError

    def setting_for(self, daemon: Daemon) -> Setting:
        """The setting as policies take it. Raises `ConfigError` unless it is one of the daemon's."""
        symbols = {TUNABLES[name].symbol: name for name in daemon.tunables}
        if set(self.setting) != set(symbols):
            raise ConfigError(f"best-static: has {', '.join(self.setting)}, daemon {daemon.name} {', '.join(symbols)}")
        by_name = {symbols[symbol]: math.inf if value is None else value for symbol, value in self.setting.items()}
        return Setting({name: by_name[name] for name in daemon.tunables})


class BestStatic(StoredSetting):
    """What a search over static settings of a scenario found, and what it cost."""

    scenario: str
    """Name of the scenario that was searched."""
    mean_s: Annotated[float, Field(gt=0)]
    """Mean completion time over the tuning seeds, also where another objective is judged."""
    trials: Annotated[int, Field(ge=1)]
    """Settings tried: the budget to print beside a learner's."""
    episodes: Annotated[int, Field(ge=1)]
    """Runs of the scenario it took."""
    env_steps: Annotated[int, Field(ge=1)]
    """Control intervals of all runs."""
    wall_s: Annotated[float, Field(gt=0)]
    machine_s: Annotated[float, Field(gt=0)] | None = None
    """Modelled time of all runs, seconds that a real machine would have been busy; None of searches that did not count
    it."""

    @property
    def chosen_on(self) -> tuple[str, ...]:
        """The scenario alone."""
        return (self.scenario,)


class OneStatic(StoredSetting):
    """The one setting for all scenarios of a suite."""

    scenarios: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of those that were searched."""
    relative_time: Annotated[float, Field(gt=0)]
    """Mean over them of the objective over that without migration."""

    @property
    def chosen_on(self) -> tuple[str, ...]:
        """All of them."""
        return self.scenarios


class BestStaticFile(Record):
    """The content of a file of settings."""

    model_config = ConfigDict(populate_by_name=True)

    schema_version: Annotated[Literal[2], Field(alias="schema")] = 2
    scenarios: dict[str, BestStatic] = {}
    """By `Scenario.identity`."""
    suites: dict[str, OneStatic] = {}
    """By name and daemon, as `one_static_key` puts them."""


def packaged_path() -> Path:
    """The file that comes with tierenv."""
    return Path(str(resources.files("tierenv.configs"))) / "policies" / FILE_NAME


def check_storage() -> Path:
    """The user's own file, which is looked into first. Raises `ConfigError` unless it can be written."""
    folder = user_folder("data")
    if folder is None:
        raise ConfigError("no place to store a setting: neither HOME nor XDG_DATA_HOME names a folder; set one of them")
    path = folder / FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}; set XDG_DATA_HOME") from None
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{path}: cannot be written; set XDG_DATA_HOME")
    read_best_static(path)
    return path


def stored_settings() -> BestStaticFile:
    """All that is stored, the user's own before what comes with tierenv. Raises `ConfigError` for a broken file."""
    folder = user_folder("data")
    own = BestStaticFile() if folder is None else read_best_static(folder / FILE_NAME)
    return _put_over(read_best_static(packaged_path()), own)


def read_best_static(path: Path) -> BestStaticFile:
    """What a file stores; nothing without one. Raises `ConfigError` for a broken one."""
    try:
        status = path.stat()
    except OSError:
        return BestStaticFile()
    return _read(path, (status.st_ino, status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=4)
def _read(path: Path, _state: tuple[int, ...]) -> BestStaticFile:
    """A file as it is now: a comparison asks once for each policy and scenario."""
    try:
        return validate_record(BestStaticFile, read_json(path), str(path))
    except ConfigError as error:
        raise ConfigError(f"{error}; mend or remove the file") from None


def write_best_static(scenario: Scenario, best: BestStatic, path: Path) -> None:
    """Store one scenario's result in a file, keeping all others."""
    _add(BestStaticFile(scenarios={scenario.identity: best}), path)


def write_one_static(suite: str, one: OneStatic, path: Path) -> None:
    """Store the one setting for a suite in a file, keeping all others."""
    _add(BestStaticFile(suites={one_static_key(suite, one.daemon): one}), path)


def one_static_key(suite: str, daemon: str) -> str:
    """What the one setting for a suite under a daemon, both by name, is stored under."""
    return f"{suite} under {daemon}"


def _add(settings: BestStaticFile, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent):  # searches over several scenarios may end at the same time
        stored = _put_over(read_best_static(path), settings)
        by_name = sorted(stored.scenarios.items(), key=lambda item: (item[1].scenario, item[0]))
        content = BestStaticFile(scenarios=dict(by_name), suites=dict(sorted(stored.suites.items())))
        atomic_write_text(path, content.model_dump_json(by_alias=True, indent=2) + "\n")


def _put_over(below: BestStaticFile, above: BestStaticFile) -> BestStaticFile:
    return BestStaticFile(scenarios=below.scenarios | above.scenarios, suites=below.suites | above.suites)


def find_best_static(scenario: Scenario) -> BestStatic:
    """What is stored for a scenario. Raises `ConfigError` if there is nothing."""
    known = stored_settings().scenarios
    if scenario.identity in known:
        return known[scenario.identity]
    namesakes = [best for best in known.values() if best.scenario == scenario.name]
    hint = close_match(scenario.name, [best.scenario for best in known.values()])
    if namesakes:
        hint = f"; those stored under that name are for others, with daemon {_daemons(namesakes)}"
    raise ConfigError(
        f"best-static: no setting stored for scenario {scenario.name!r} with daemon {scenario.daemon.name}{hint}; "
        f"{_remedy(scenario)}"
    )


def find_one_static(suite: str, daemon: Daemon) -> OneStatic:
    """What is stored for all scenarios of a suite under a daemon, whatever it shall run on now.

    Raises `ConfigError` if there is nothing.
    """
    known = stored_settings().suites
    key = one_static_key(suite, daemon.name)
    if key not in known:
        others = [one.daemon for other, one in known.items() if other == one_static_key(suite, one.daemon)]
        hint = f"; there is one with daemon {others[0]}: one-static:{suite}:{others[0]}" if others else ""
        raise ConfigError(
            f"one-static: no setting stored for suite {suite!r} with daemon {daemon.name}"
            f"{hint or close_match(suite, suites_of(daemon.name))}; run tierenv tune --save on the suite"
        )
    return known[key]


def suites_of(daemon: str) -> list[str]:
    """Names of the suites for which one setting under a daemon is stored. Raises `ConfigError` for a broken file."""
    end = one_static_key("", daemon)
    return [key.removesuffix(end) for key in stored_settings().suites if key.endswith(end)]


def _daemons(settings: list[BestStatic]) -> str:
    return ", ".join(dict.fromkeys(best.daemon for best in settings))


def _remedy(scenario: Scenario) -> str:
    """A command that works: only a packaged scenario can be called by its name."""
    name = scenario.daemon.name
    if scenario.name in packaged("scenarios"):
        own = load_scenario(scenario.name)
        if own.identity == scenario.identity:
            return f"run: tierenv tune {scenario.name} --save"
        if name in packaged("daemons") and own.under(load_daemon(name)).identity == scenario.identity:
            return f"run: tierenv tune {scenario.name} --daemon {name} --save"
    is_packaged = name in packaged("daemons") and load_daemon(name).identity == scenario.daemon.identity
    return "run tierenv tune --save on its file, or on the set of the family it is drawn from" + (
        f", with --daemon {name}" * is_packaged
    )
