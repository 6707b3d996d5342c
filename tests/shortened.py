"""Runs a module of the command line as a document says, in less time: `python -m tests.shortened MODULE ARGUMENT...`.

Arguments are parsed by the real parser. Then

* `train` does one small rollout, `evaluate` and `distil` take one episode, on moving-hot-set in place of a suite or of
  a family, under its daemon, and `tune` takes three settings, which it saves for a scenario of the document's alone;
* `sweep` does as much of each of its trainings and searches, in one process and below the working folder;
* code of others (`python:`, `sb3:`), which root must not run, runs as if by another account;
* `fidelity`, `bench`, the studies and `calibrate` end there, the last one unless its rows are the document's own;
* everything else runs as given.
"""

import os
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import tyro

from tierenv.records import packaged
from tierenv.train import config, distil, verbs
from tierenv.train.config import TrainingConfig, load_suite
from tierenv.train.sweep import plan
from tierenv.train.sweep.jobs import SearchJob

parse = tyro.cli
load_training_config, checked = config.load_training_config, config.checked


def load_and_shorten(name_or_path: str) -> TrainingConfig:
    """What load_training_config returns, with fewer machines, steps of a rollout and episodes of the selection."""
    return shorten(load_training_config(name_or_path))


def shorten(loaded: TrainingConfig, **changes: Any) -> TrainingConfig:
    """Returns a configuration with fewer machines, steps of a rollout and episodes of the selection."""
    small = {"n_steps": 16, "batch_size": 64, "n_epochs": 1}
    evaluation = {"interval": 1000, "seeds": 1, "scenarios": loaded.family and 2}
    hyperparameters = loaded.hyperparameters | small
    return loaded.with_overrides(num_envs=8, hyperparameters=hyperparameters, evaluation=evaluation, **changes)


def parse_and_shorten(*arguments: Any, **options: Any) -> Any:
    """What tyro.cli returns, smaller. Raises `SystemExit` where nothing remains to be done."""
    verb = parse(*arguments, **options)
    if isinstance(verb, verbs.Evaluate) and any(":" in name for group in verb.policy for name in group):
        os.geteuid = lambda: 1000
    if isinstance(verb, verbs.Evaluate | verbs.Tune) and verb.family is not None:
        _ = verb.judged_on
        verb = replace(verb, target="moving-hot-set", family=None, split=None, scenarios=None, open_final=False)
    match verb:
        case verbs.Train():
            return replace(verb, timesteps=1)
        case verbs.Sweep():
            plan.checked = lambda *given: shorten(checked(*given), timesteps=1)
            plan.SearchJob = lambda *given: SearchJob(
                *given[:2], sampler="random", sampler_seed=0, trials=3, seeds=1, threads=1
            )
            output = verb.output and Path("runs", verb.output.name)
            return replace(verb, output=output, serial=True, address=None, workers=None)
        case verbs.Evaluate() if verb.target in packaged("suites"):
            daemon = load_suite(verb.target, verb.daemon).scenarios[0].daemon.name
            return replace(verb, target="moving-hot-set", daemon=daemon, seeds=1)
        case verbs.Evaluate():
            return replace(verb, seeds=1)
        case verbs.Distil():
            return replace(verb, seeds=1)
        case verbs.Tune():
            is_own = Path(verb.target or "").is_file()
            return replace(verb, sampler="random", trials=3, seeds=1, save=verb.save and is_own)
        case verbs.Calibrate() if Path(verb.measurements).is_file():
            return verb
        case verbs.Calibrate() | verbs.Fidelity() | verbs.Bench():
            raise SystemExit(0)
    if not type(verb).__module__.startswith(verbs.__name__):
        raise SystemExit(0)
    return verb


if __name__ == "__main__":
    tyro.cli = parse_and_shorten
    config.load_training_config = load_and_shorten
    distil.distil.__kwdefaults__.update(num_rounds=2, num_episodes=2)
    distil.SELECTION_EPISODES = 2
    sys.argv[:2] = [sys.argv[1]]
    runpy.run_module(sys.argv[0], run_name="__main__")
