"""tierenv: a calibrated model of Linux tiered memory behind a Gymnasium interface.

Importing the package registers the environments with string entry points and loads neither numba nor torch; the names
of `__all__` load when first used. Without Gymnasium it registers nothing, so that modules of the standard library alone
import in a bare interpreter.
"""

from importlib import import_module as _import_module
from importlib.util import find_spec as _find_spec
from pathlib import Path as _Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tierenv.daemon import load_daemon
    from tierenv.env import TieredMemoryEnv
    from tierenv.errors import ConfigError
    from tierenv.scenario import Scenario, load_scenario
    from tierenv.vector_env import TieredMemoryVectorEnv

__all__ = ["ConfigError", "Scenario", "TieredMemoryEnv", "TieredMemoryVectorEnv", "load_daemon", "load_scenario"]

__version__ = "0.1.0"

# A source checkout keeps agents/, train/ and configs/ beside this folder, an installation inside it. Looking
# in both makes tierenv.agents the same module for a checkout, an editable install and a wheel.
_root = _Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "agents").is_dir():
    __path__.append(str(_root))
del _Path, _root

if _find_spec("gymnasium") is not None:
    from gymnasium.envs.registration import register as _register
    from gymnasium.envs.registration import registry as _registry

    # Registering again (after importlib.reload, say) would warn about overriding the environment. An older version of
    # the id is not registered: Gymnasium refuses it and names this one.
    if "tierenv/TieredMemory-v1" not in _registry:
        _register(
            id="tierenv/TieredMemory-v1",
            entry_point="tierenv.env:TieredMemoryEnv",
            vector_entry_point="tierenv.vector_env:TieredMemoryVectorEnv",
        )

_MODULES = {
    "ConfigError": "errors",
    "Scenario": "scenario",
    "TieredMemoryEnv": "env",
    "TieredMemoryVectorEnv": "vector_env",
    "load_daemon": "daemon",
    "load_scenario": "scenario",
}


def __getattr__(name: str) -> object:
    """A name of `__all__`, out of its module."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
