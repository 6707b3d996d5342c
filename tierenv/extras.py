"""What a base installation leaves out, by the extra of pyproject.toml that brings it."""

from importlib.util import find_spec

from tierenv.errors import ConfigError

EXTRAS = {
    "train": ("torch", "stable_baselines3", "sb3_contrib", "tensorboard"),
    "plots": ("matplotlib",),
    "export": ("onnx", "onnxruntime"),
    "distil": ("sklearn",),
    "report": ("jinja2", "vl_convert"),
    "tune": ("optuna", "cmaes", "threadpoolctl", "torch"),
    "cluster": ("ray",),
}
"""Top-level modules of each extra."""


def require(extra: str, purpose: str) -> None:
    """Raise `ConfigError` with the remedy if a module of an extra is not installed.

    Args:
        extra: a key of `EXTRAS`.
        purpose: what needs it, the start of the message.
    """
    for module in EXTRAS[extra]:
        if find_spec(module) is None:
            raise ConfigError(f"{purpose}: needs {module}; run: pip install 'tierenv[{extra}]'")
