"""Runs a module of the command line as a document says, in less time: `python -m tests.shortened MODULE ARGUMENT...`.

Arguments are parsed by the real parser. Then

* `train` does one rollout, `evaluate` and `distil` take one episode, on moving-hot-set in place of a suite, under
  its daemon, and `tune` takes three settings, which it does not save;
* `fidelity`, `bench`, the studies and `calibrate` end there, the last one unless its rows are the document's own;
* everything else runs as given.
"""

import runpy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import tyro

from tierenv.records import packaged
from tierenv.train import distil, verbs
from tierenv.train.config import load_suite

parse = tyro.cli


def parse_and_shorten(*arguments: Any, **options: Any) -> Any:
    """What tyro.cli returns, smaller. Raises `SystemExit` where nothing remains to be done."""
    verb = parse(*arguments, **options)
    match verb:
        case verbs.Train():
            return replace(verb, timesteps=1)
        case verbs.Evaluate() if verb.target in packaged("suites"):
            daemon = load_suite(verb.target, verb.daemon).scenarios[0].daemon.name
            return replace(verb, target="moving-hot-set", daemon=daemon, seeds=1)
        case verbs.Evaluate():
            return replace(verb, seeds=1)
        case verbs.Distil():
            return replace(verb, seeds=1)
        case verbs.Tune():
            return replace(verb, sampler="random", trials=3, seeds=1, save=False)
        case verbs.Calibrate() if Path(verb.measurements).is_file():
            return verb
        case verbs.Calibrate() | verbs.Fidelity() | verbs.Bench():
            raise SystemExit(0)
    if not type(verb).__module__.startswith(verbs.__name__):
        raise SystemExit(0)
    return verb


if __name__ == "__main__":
    tyro.cli = parse_and_shorten
    distil.distil.__kwdefaults__.update(num_rounds=2, num_episodes=2)
    distil.SELECTION_EPISODES = 2
    sys.argv[:2] = [sys.argv[1]]
    runpy.run_module(sys.argv[0], run_name="__main__")
