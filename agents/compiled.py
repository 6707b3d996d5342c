"""The exported C, compiled and called from Python: for tests, and to see what integers cost in the closed loop."""

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.action import ActionCodec
from tierenv.agents.integer.interface import Interface
from tierenv.agents.policy import Array
from tierenv.errors import ConfigError
from tierenv.observation import sizes_of
from tierenv.system import System

KERNEL_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-mgeneral-regs-only")
"""As a kernel would compile it: no floating-point or vector registers."""


_TIMED_SAMPLES = 256
_TIMED_PASSES = 200


class CompiledPolicy:
    """A folder of `tierenv export --format kernel-c` as a library.

    Raises `ConfigError` without a C compiler or without the files.

    Args:
        folder: of the export.
        interface: of the daemon it was exported for.
        flags: of the compiler.
    """

    def __init__(self, folder: Path, interface: Interface, flags: Sequence[str] = KERNEL_FLAGS) -> None:
        self._library, self.size_bytes = _build(folder, flags)
        self._library.time_batch.restype = ctypes.c_int64
        self._library.state_bytes.restype = ctypes.c_size_t
        self.interface = interface

    def initial_state(self, num_machines: int) -> NDArray[np.uint8]:
        """The past of machines that have none: struct tierenv_state, zeroed."""
        return np.zeros((num_machines, int(self._library.state_bytes())), np.uint8)

    def observe(self, samples: NDArray[np.void], state: NDArray[np.uint8]) -> NDArray[np.int32]:
        """tierenv_policy_observe() of every machine: int32[n, columns]."""
        observations = np.empty((len(samples), self.interface.num_columns), np.int32)
        self._call("observe_batch", state, self._checked(samples), observations)
        return observations

    def act(self, observations: NDArray[np.int32]) -> NDArray[np.int32]:
        """tierenv_policy_act() of every observation: int32[n, T]."""
        actions = np.empty((len(observations), len(self.interface.tunables)), np.int32)
        self._call("act_batch", np.ascontiguousarray(observations, np.int32), actions)
        return actions

    def decide(self, samples: NDArray[np.void], state: NDArray[np.uint8]) -> NDArray[np.void]:
        """tierenv_policy_decide() of every machine: settings."""
        settings = np.zeros(len(samples), self.interface.setting)
        self._call("decide_batch", state, self._checked(samples), settings)
        return settings

    def decision_ns(self, samples: NDArray[np.void]) -> float:
        """Time of a decision [ns]: the best of many short passes over samples, since other programs run beside it."""
        some = self._checked(samples[:: max(1, len(samples) // _TIMED_SAMPLES)])
        state, settings = self.initial_state(len(some)), np.empty(len(some), self.interface.setting)
        return min(self._call("time_batch", state, some, settings) for _ in range(_TIMED_PASSES)) / len(some)

    def _call(self, function: str, *arrays: NDArray[Any]) -> int:
        pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in arrays]
        return int(getattr(self._library, function)(*pointers, ctypes.c_size_t(len(arrays[0]))))

    def _checked(self, samples: NDArray[np.void]) -> NDArray[np.void]:
        if samples.dtype != self.interface.sample:
            raise TypeError(f"samples: must have the layout of {self.interface.sample}")
        return np.ascontiguousarray(samples)


class Sampler:
    """Reports on a system what a kernel would: increments since the last call, present values, settings in force."""

    def __init__(self, system: System, interface: Interface) -> None:
        self._system = system
        self._interface = interface

    def restart(self) -> None:
        """An episode has begun on all machines."""
        self._counters, self._elapsed_s = self._system.counters, self._system.elapsed_s

    def take(self) -> NDArray[np.void]:
        """A sample of every machine."""
        before, elapsed_before_s = self._counters, self._elapsed_s
        self.restart()
        step_s = self._elapsed_s - elapsed_before_s
        sizes = sizes_of(self._system)
        return self._interface.samples_of(before, self._counters, step_s, self._system.tunables, sizes)


class CompiledActor:
    """Lets the C set the tunables of a system, from its counters on.

    For `run_episodes`, which hands over observations: they are not looked at.
    """

    def __init__(self, policy: CompiledPolicy, system: System) -> None:
        self._policy = policy
        self._sampler = Sampler(system, policy.interface)
        self._codec = ActionCodec(*system.daemons)

    def reset(self, num_machines: int) -> None:
        """An episode has begun on all machines."""
        self._sampler.restart()
        self._state = self._policy.initial_state(num_machines)

    def act(self, observation: Array) -> Array:
        """Actions that stand for the settings the C decides on."""
        settings = self._policy.decide(self._sampler.take(), self._state)
        return self._codec.encode(self._policy.interface.tunables_of(settings)).astype(np.float32)


def _build(folder: Path, flags: Sequence[str]) -> tuple[ctypes.CDLL, int]:
    """The library, and the bytes of code and data an unlinked object of the policy has."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise ConfigError("no C compiler (gcc or cc) found; compiling an export needs one")
    batch = resources.files("tierenv.agents.export") / "c_source" / "batch.c"
    with resources.as_file(batch) as batch_path, tempfile.TemporaryDirectory() as temporary:
        objects = []
        for path, its_flags in ((folder / "tierenv_policy.c", flags), (batch_path, ("-O2",))):
            objects.append(f"{temporary}/{path.stem}.o")
            _run([compiler, *its_flags, "-fPIC", f"-I{folder}", "-c", str(path), "-o", objects[-1]])
        library = f"{temporary}/policy.so"
        _run([compiler, "-shared", *objects, "-o", library])
        sizes = _run(["size", objects[0]]).split()  # text data bss dec hex filename, and below it the numbers
        return ctypes.CDLL(library), int(sizes[9])


def _run(command: list[str]) -> str:
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if finished.returncode != 0:
        first_error = next((line for line in finished.stderr.splitlines() if "error" in line), "")
        raise ConfigError(f"{' '.join(command)}: {first_error or finished.stderr.strip()}")
    return finished.stdout
