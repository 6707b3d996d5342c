"""Feeds spoiled files to everything that reads one, and says which were neither read nor refused properly.

A refusal is a `ConfigError`: one printable line of bounded length that names the file. It, and reading, take less than
`MAX_CPU_S` and `MAX_MIB`; each target is fed in a process of its own that dies otherwise. Every case follows from its
target, the seed and its number:

    python -m tests.fuzz --cases 20000             # all targets, a line for each
    python -m tests.fuzz --case 123 scenarios      # one case, with its files and its traceback
"""

import argparse
import hashlib
import io
import json
import logging
import mmap
import os
import pickle
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from stable_baselines3.common.buffers import ReplayBuffer

from tests.mutations import Files, spoiled
from tests.train import report_inputs
from tests.train.machine.made import unpack
from tests.train.tiny_training import write_scenario, write_training
from tierenv.agents import bundle
from tierenv.agents.best_static import packaged_path, read_best_static
from tierenv.agents.bundle import BundlePolicy
from tierenv.agents.export.learned_source import learned_source
from tierenv.agents.network import Network
from tierenv.agents.tree import DecisionTree
from tierenv.counters import NUM_COUNTERS
from tierenv.daemon import Daemon
from tierenv.errors import LONGEST_MESSAGE, ConfigError
from tierenv.experiments import is_times, load_experiment, packaged_experiments
from tierenv.family import SPLITS
from tierenv.features import feature_columns
from tierenv.measurements import check_runs, read_measurements
from tierenv.observation_spec import observation_rows
from tierenv.platform import Platform
from tierenv.quantities import Outcome
from tierenv.records import load_record, packaged
from tierenv.scenario import Scenario, load_scenario
from tierenv.train import replay_file
from tierenv.train.config import Suite, TrainingConfig, load_suite, load_training_config
from tierenv.train.fidelity import JudgedRow, modelled
from tierenv.train.gains import read_gains
from tierenv.train.html_report.kinds import read_section
from tierenv.train.imports.importing import ProgramFacts, import_record
from tierenv.train.imports.observations import ReadOptions
from tierenv.train.imports.workload_text import workload_text
from tierenv.train.learn import learn
from tierenv.train.machine.platform_file import platform_of
from tierenv.train.progress_csv import STEPS, ProgressCsv
from tierenv.train.recorded import open_record
from tierenv.train.run_dir import RunDirectory
from tierenv.train.sweep.index import Index
from tierenv.train.sweep.plan import load_sweep
from tierenv.workload import Workload

ROOT = Path(__file__).resolve().parent.parent

MAX_CPU_S = 5
MAX_MIB = 512
"""Above what the process holds when it has imported everything."""
_MAX_FAILURES = 20
"""Of one target; more say nothing new."""

RECORDS: dict[str, Any] = {
    "platforms": Platform,
    "daemons": Daemon,
    "workloads": Workload,
    "scenarios": Scenario,
    "suites": Suite,
    "algorithms": TrainingConfig,
}
"""What the YAML files of each kind hold."""

FAMILY = {
    "platform.yaml": b"like: amd-epyc-cxl\ncxl:\n  idle_latency: 150ns\n",
    "daemon.yaml": b"like: kmmscand-tunable\nscan_sleep: 20ms\ntunables:\n  throttle: null\n",
    "workload.yaml": b"like: skewed\nthreads: 48\nstore_share: 0.25\ntraffic_per_access: 128B\nlayout: address-order\n",
    "scenario.yaml": b"platform: platform.yaml\ndaemon: ./daemon.yaml\nworkload: workload.yaml\nsize: 2GiB\n"
    b"fast_capacity: 1GiB\ncorunners:\n- {workload: {like: workload.yaml, threads: 2}, size: 1GiB}\n",
}
"""Files that refer to each other; quicker to read than most packaged ones, and hence tried more often."""
SWEEPS = [
    {
        "mine.yaml": b"trainings:\n  configurations: [./training.yaml]\n  overrides: {hyperparameters.n_epochs: [1]}\n",
        "training.yaml": b"scenarios: [scenario.yaml]\nalgorithm: ppo\ntimesteps: 64\n",
    },
    {"mine.yaml": b"searches: {targets: [./scenario.yaml], samplers: [random], trials: 2, seeds: 1}\nthreads: 2\n"},
]
HEATS = [
    b"like: skewed\nheat: {zipf: {exponent: 1.1, classes: 8, items: 5000, floor: 0.01}}\n"
    b"drift: {share_per_s: 0.01, classes: 4, steps: 4}\nload: {daily: {low: 0.2, period: 60s, steps: 4}}\n",
    b"like: skewed\nheat: {normal: {deviation: 0.1, classes: 4}}\ngrowth: {from: 0.5, to: 1.0, over: 9s, steps: 2}\n"
    b"load: {bursts: {on: 1s, off: 2s, low: 0.5}}\n",
    b"like: skewed\nphases:\n"
    b"- {name: a, duration: 1s, heat: {classes: {a: {pages: 0.5, visits: stream}, b: {accesses: 0.1}}}}\n"
    b"- {name: b, duration: 2s, shift: 0.5, heat: {classes: {hot: {pages: 0.1, accesses: 1}, c: {}}}}\n",
]
"""Workloads in short, of every form."""
HEAT_FILES = [
    b"# of a run\npages,accesses\n0.1,0.8\n0.2,0.1\n0.7,0.1\n",
    b"start;size;accesses\n0x7f0000000000;2GiB;1820,5\n0x7f0080000000;524288;0\n",
]
FAMILIES: dict[str, list[Files]] = {
    "workloads": [{"mine.yaml": text} for text in HEATS],
    "scenarios": [FAMILY | {"mine.yaml": b"like: scenario.yaml\nplatform:\n  sockets: 1\nslow_capacity: 8GiB\n"}],
    "suites": [FAMILY | {"mine.yaml": b"scenarios: [scenario.yaml]\n"}],
    "algorithms": [
        FAMILY
        | {
            "mine.yaml": b"scenarios: [scenario.yaml]\nalgorithm: ppo\ntimesteps: 64\nobservation: {stack: 4, "
            b"averages: [4, 16], overrides: {idle: {stack: 2}}, machine: [fast_share]}\n"
        }
    ],
}


@dataclass(frozen=True)
class Target:
    """Something that reads files."""

    valid_inputs: Callable[[], list[Files]]
    load: Callable[[Path], object]
    """Reads them from a folder."""
    finish: Callable[[Files], Files] = lambda files: files
    """What is done to the files after they were spoiled."""


def _records(kind: str) -> list[Files]:
    own = [{"mine.yaml": path.read_bytes()} for path in packaged(kind).values()]
    return own + FAMILIES.get(kind, []) * 4 * len(own)


OF_SCENARIOS = b"""daemon: ./daemon.yaml
base: {regions: 4, control_interval: 1s}
platforms:
  a: {like: platform.yaml, cxl: {idle_latency: {draw: uniform, from: 200ns, to: 300ns, step: 10ns}}}
  b: platform.yaml
  c: {like: platform.yaml, sockets: {draw: choice, of: [1, 2]}}
forms:
  d:
    kind: separable
    let: {share: {draw: uniform, from: 0.2, to: 0.5}, size: {draw: log-uniform, from: 1GiB, to: 4GiB}}
    run_time: {draw: log-uniform, from: 60s, to: 200s}
    scenario:
      size: {draw: product, of: [size]}
      fast_capacity: {draw: product, of: [share, size], step: 4KiB}
      workload:
        like: workload.yaml
        heat: {classes: {hot: {pages: {draw: uniform, from: 0.3, to: 0.8, times: share}, accesses: 0.9}, x: {}}}
  e: {kind: flat, scenario: {like: scenario.yaml, size: 3GiB}}
  f:
    kind: flat
    run_time: 9s
    scenario: {size: 1GiB, fast_capacity: 1GiB, workload: {draw: choice, of: [workload.yaml, gups]}}
splits:
  training: {platforms: [a], forms: [d], scenarios: 4, seed: 1, mix: {separable: 1}}
  selection: {platforms: [b], forms: [e], scenarios: 3, seed: 2, mix: {flat: 1}}
  final: {platforms: [c], forms: [f], scenarios: 24, seed: 3, mix: {flat: 1.0}}
"""


def _families() -> list[Files]:
    own = [{"mine.yaml": path.read_bytes()} for path in packaged("families").values()]
    like = FAMILY | {"family.yaml": OF_SCENARIOS, "mine.yaml": b"like: family.yaml\nsplits: {final: {seed: 9}}\n"}
    return own + [FAMILY | {"mine.yaml": OF_SCENARIOS}, like] * 20


def _load_family(folder: Path) -> object:
    """As evaluate and train do, a few scenarios of each set."""
    suite = load_suite(f"{folder / 'mine.yaml'}:training:1")
    assert suite.origin is not None
    try:
        return [suite.origin.family.scenarios(split, 2) for split in SPLITS]
    except ConfigError as error:
        raise ConfigError(f"{suite.origin.path}: {error}") from None


def _heat_files() -> list[Files]:
    return [{"mine.yaml": b"like: skewed\nheat: {file: mine.csv}\n", "mine.csv": text} for text in HEAT_FILES]


def _load_record(kind: str, folder: Path) -> object:
    return load_record(kind, RECORDS[kind], str(folder / "mine.yaml"))


def _measurements() -> list[Files]:
    own = [{"mine.csv": path.read_bytes()} for path in packaged("measurements").values() if is_times(path)]
    return [*own, {"mine.csv": b'\xef\xbb\xbf# of a spreadsheet\r\nsystem;seconds;"size_gb"\r\nnumab2;134,5;8\r\n'}]


def _load_measurements(folder: Path) -> object:
    cells = read_measurements(str(folder / "mine.csv"))
    check_runs(cells, load_scenario("abench-8g"), str(folder / "mine.csv"))
    return cells


EXPERIMENT = {
    "mine.yaml": b"like: experiment.yaml\nsummary: another\nruns:\n  off: {size: 1GiB}\n",
    "experiment.yaml": b"role: check\nscenario: scenario.yaml\nruns:\n  off: {control: off}\n"
    b"  on: {since: 1s, duration: 2s, platform: {cxl: {bandwidth: 20GB/s}}}\nrows:\n"
    b"- {id: a, run: on, beside: off, compare: change, quantity: pgpromote_success, published: -5, required: sign}\n"
    b"- {id: b, quantity: slowdown, fast_share: 0.5, published: 1.1, tolerance: {points: 0.1}}\n"
    b"- {id: c, quantity: loaded_latency, tier: cxl, traffic: 9GB/s, published: 300}\n",
}


def _experiments() -> list[Files]:
    own = [{"mine.yaml": packaged("measurements")[name].read_bytes()} for name in packaged_experiments()]
    times = packaged("measurements")["abench_rfc_v0"].read_bytes()
    with_times = {"mine.yaml": b"role: fitted\nscenario: abench-8g\ntimes: ./mine.csv\n", "mine.csv": times}
    return [*own, *[FAMILY | EXPERIMENT, with_times] * len(own)]


def _load_experiment(folder: Path) -> object:
    """As the verb does, short of the runs."""
    mine = load_experiment(str(folder / "mine.yaml"))
    nothing = Outcome(seconds=1.0, counted_s=0.0, accesses=0.0, traffic_bytes=0.0, counters=np.zeros(NUM_COUNTERS))
    outcomes = {run.identity: nothing for run in mine.planned.values()}
    rows = [JudgedRow(mine, row, modelled(mine, row, outcomes)) for row in mine.all_rows]
    return json.dumps([row.to_json() for row in rows], allow_nan=False)


@cache
def _bundles() -> list[Files]:
    folders = [path for path in packaged("policies").values() if path.is_dir()]
    bundles = [{file.name: file.read_bytes() for file in folder.iterdir()} for folder in folders]
    with tempfile.TemporaryDirectory() as temporary:  # a small one, which accidents are likelier to change in its midst
        policy = BundlePolicy.load(packaged("policies")["moving-hot-set-tree"])
        document, daemon = policy.document, policy.document.daemon
        folder = Path(temporary) / "small"
        bundle.write_bundle(
            folder,
            name="small",
            model=policy.model,
            daemon=daemon,
            scenarios=document.scenarios,
            training={},
        )
        wide = observation_rows({"features": ["idle"], "stack": 4, "averages": [4], "machine": ["fast_share"]}, daemon)
        one_leaf = DecisionTree(
            num_features=len(feature_columns(wide)),
            **dict.fromkeys(("feature", "left", "right"), np.array([-1], np.int32)),
            threshold=np.zeros(1, np.float32),
            value=np.zeros((1, len(daemon.tunables)), np.float32),
        )
        bundle.write_bundle(
            Path(temporary) / "wide",
            name="wide",
            model=one_leaf,
            daemon=daemon,
            scenarios=(),
            training={},
            observation=wide,
        )
        choosing = Path(temporary) / "choosing"
        columns = np.zeros((2, policy.model.num_features), np.float32)
        menu = np.array([[-1, 0, 1], [0.5, 0.5, 0.5]], np.float32)
        network = Network((columns,), (np.array([0.1, 0.2], np.float32),), "relu", "menu", menu)
        bundle.write_bundle(
            choosing,
            name="choosing",
            model=network,
            daemon=document.daemon,
            scenarios=document.scenarios,
            training={},
        )
        small = [folder, Path(temporary) / "wide", choosing]
        return bundles + [{file.name: file.read_bytes() for file in each.iterdir()} for each in small]


def _load_bundle(folder: Path) -> object:
    policy = BundlePolicy.load(folder)
    policy.act(np.zeros((2, policy.model.num_features), np.float32))
    source = learned_source(str(folder))
    return json.dumps(source.training, allow_nan=False), source.origin.comment()  # what exports make of it


def signed(files: Files) -> Files:
    """Puts the digests of the spoiled files into policy.json, as somebody would who means harm."""
    document, weights = files.get(bundle.DOCUMENT, b""), files.get(bundle.WEIGHTS, b"")
    try:
        content = json.loads(document)
        digests = content["sha256"]
        for name, digest in ((bundle.WEIGHTS, hashlib.sha256(weights).hexdigest()), (bundle.DOCUMENT, None)):
            before = digests[name]
            digests[name] = digest or bundle._document_digest(content)
            document = document.replace(before.encode(), digests[name].encode())
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):  # beyond a signature
        return files
    return files | {bundle.DOCUMENT: document}


def _evaluations() -> list[Files]:
    policies = {"abench": [90.0, 100.0, 98.0], "built-in": [100.0, 120.0, 110.0], "best-static": [95.0, 99.0, 100.0]}
    rows = [
        {"scenario": "skewed", "policy": policy, "daemon": "d", "seconds": {"runs": runs}, "truncated_runs": 0}
        for policy, runs in policies.items()
    ]
    small = json.dumps({"schema": 1, "suite": "s", "rows": rows}).encode()
    return [{"mine.json": small}, {"mine.json": (ROOT / "results/abench.json").read_bytes()}]


def _load_evaluation(folder: Path) -> object:
    gains = [str(gain) for gain in read_gains(folder / "mine.json", "abench")]
    assert not any(word in clause for clause in gains for word in ("nan", "inf")), gains
    return gains


def _machine_records() -> list[Files]:
    setting = {"scan_period_ms": 1000, "scan_size_bytes": 1 << 28, "throttle_bytes_per_s": None, "hot_threshold_ms": 9}
    samples = [
        {
            "monotonic_ns": time_ns,
            "boottime_ns": time_ns + 5,
            "counters": {"numa_hint_faults": 10 * time_ns, "pgpromote_success": 0},
            "setting": setting if time_ns < 3 else None,
            "resident_pages": 1 << 22,
            "nodes": {"0": {"free_pages": 9}, "1": {"free_pages": 8}},
        }
        for time_ns in range(1, 5)
    ]
    nodes = {"0": {"tier": "fast", "total_pages": 1 << 20}, "1": {"tier": "slow", "total_pages": 1 << 22}}
    header = {"tierenv_record": 1, "kernel": "6.12.1", "page_bytes": 4096, "nodes": nodes}
    return [{"mine.jsonl": b"".join(json.dumps(line).encode() + b"\n" for line in [header, *samples])}]


@cache
def _machines() -> list[Files]:
    """What tools and the kernel say of a machine, each alone and all together."""
    files = ROOT / "tests/train/machine/files"
    two_sockets = (files / "numactl-2.0.16-two-sockets.txt").read_bytes()
    mlc = [{"mlc.txt": path.read_bytes()} for path in sorted(files.glob("mlc-*")) if path.name != "mlc-3.11-cxl.txt"]
    numactl = [{"numactl.txt": path.read_bytes()} for path in sorted(files.glob("numactl-*"))]
    with tempfile.TemporaryDirectory() as temporary:
        root = unpack("sysfs-6.12-two-tiers.txt", Path(temporary))
        wanted = [path for path in root.rglob("*") if path.is_file() and "access0" not in path.parts]
        sysfs = {str(path.relative_to(root)): path.read_bytes() for path in wanted}
    return [*mlc, *numactl, sysfs, mlc[-1] | {"numactl.txt": two_sockets}]


def _load_machine(folder: Path) -> object:
    given = {name: [folder / f"{name}.txt"] for name in ("mlc", "numactl") if (folder / f"{name}.txt").exists()}
    made = platform_of(given or {"sysfs": [folder]}, "amd-epyc-cxl", folder / "m.yaml")
    return json.dumps(made.to_json(), allow_nan=False)


def _load_machine_record(folder: Path) -> object:
    with open_record(folder / "mine.jsonl") as (header, samples):
        return header.fast_pages, sum(len(sample.counters) for sample in samples)


_HEAT = ROOT / "tests/train/imports"
_HEAT_RECORDS = {
    "damon": ["damo-2.0.0.json", "damo-3.4.3.json_compressed", "damo-3.4.3.perf_script", "damo-2.0.0.report"],
    "perf-script": ["perf-6.1.data-source"],
    "abench": ["abench.jsonl"],
}


def _heat_records() -> list[Files]:
    """Records of every format, in files that are called by it."""
    table = b"start_kib;size [pages];accesses;time_ms\n0;0x10;5e3;0\n64;16;7;500\n64;2;7,5;900\n"
    inputs: list[Files] = [{"heat-csv.csv": table}]
    for name, files in _HEAT_RECORDS.items():
        for file in files:
            suffix = {".json": ".json", ".json_compressed": ".zlib"}.get(Path(file).suffix, ".txt")
            inputs.append({f"{name}{suffix}": (_HEAT / file).read_bytes()})
    return inputs


def _load_heat_record(folder: Path) -> object:
    [path] = folder.iterdir()
    facts = ProgramFacts(threads=2, accesses_per_page=100.0)
    imported = import_record(path.stem, path, ReadOptions(), facts)
    path.with_suffix(".yaml").write_text(workload_text(imported))
    workload = load_record("workloads", Workload, str(path.with_suffix(".yaml")))
    assert workload.model_copy(update={"name": "imported", "summary": ""}) == imported.workload
    return workload


@cache
def _runs() -> list[Files]:
    """Runs' folders, with what is in their models' archives under names of their own."""
    own = {"learning_starts": 8, "batch_size": 8, "target_update_interval": 8, "n_quantiles": 3, "buffer_size": 64}
    chooses = {"algorithm": "qr-dqn", "hyperparameters": own, "log_std_init": None, "activation": "relu"}
    return [_run(), _run(**chooses)]


def _run(**changes: Any) -> Files:
    with tempfile.TemporaryDirectory() as temporary:
        write_scenario(Path(temporary))
        config = load_training_config(str(write_training(Path(temporary), timesteps=64, **changes)))
        with RunDirectory.create(Path(temporary) / "run", config, "tierenv train") as run:
            learn(config, run)
        names = ["config.yaml", "manifest.json", "evaluations.json", "best/evaluation.json", "progress.csv"]
        files = {name: (run.path / name).read_bytes() for name in [*names, "scenarios/moving-hot-set.yaml"]}
        with zipfile.ZipFile(run.best_model) as archive:
            files |= {f"{_MODEL}{name}": archive.read(name) for name in ("data", "policy.optimizer.pth")}
            with zipfile.ZipFile(io.BytesIO(archive.read("policy.pth"))) as state:
                files |= {f"{_STATE}{name}": state.read(name) for name in state.namelist()}
        return files


_MODEL, _STATE = "model.zip/", "model.zip/policy.pth/"


def packed(files: Files) -> Files:
    """Puts the members of archives where they belong, with digests that are right."""
    state, model = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(state, "w") as archive:
        for name, content in files.items():
            if name.startswith(_STATE):
                archive.writestr(name.removeprefix(_STATE), content)
    with zipfile.ZipFile(model, "w") as archive:
        archive.writestr("policy.pth", state.getvalue())
        for name, content in files.items():
            if name.startswith(_MODEL) and not name.startswith(_STATE):
                archive.writestr(name.removeprefix(_MODEL), content)
    others = {name: content for name, content in files.items() if not name.startswith(_MODEL)}
    return others | {"best/model.zip": model.getvalue()}


def _load_run(folder: Path) -> object:
    """As evaluate, export and `train --resume` do, short of the learner itself."""
    source = learned_source(str(folder))
    source.model(np.zeros((2, source.model.num_features), np.float32))
    load_training_config(str(folder / "config.yaml"))
    run = RunDirectory(folder)
    run.update_manifest(command="tierenv train")
    run._pair_best()
    ProgressCsv(run.progress_path, 10**9).write({STEPS: 10**9}, {STEPS: ()})
    return json.dumps(source.training, allow_nan=False), source.origin.comment(), run.evaluations


def _buffer() -> ReplayBuffer:
    return ReplayBuffer(6, Box(-1, 1, (3,)), Box(-1, 1, (2,)), device="cpu", n_envs=2)


def _transitions() -> list[Files]:
    """Buffers that are half full, and full."""
    found: list[Files] = []
    for steps in (2, 4):
        buffer = _buffer()
        for _ in range(steps):
            row = np.zeros((2, 3), np.float32)
            buffer.add(row, row, row[:, :2], np.zeros(2), np.zeros(2, np.bool_), [{}, {}])
        found.append({"mine.safetensors": replay_file.to_bytes(buffer)})
    return found


def _load_transitions(folder: Path) -> object:
    buffer = _buffer()
    replay_file.fill(buffer, folder / "mine.safetensors")
    return buffer.sample(4)


def _reported() -> list[Files]:
    files: list[Files] = [{"mine.json": json.dumps(make()).encode()} for make in report_inputs.FILES.values()]
    with tempfile.TemporaryDirectory() as temporary:
        run = report_inputs.write_run(Path(temporary) / "run")
        folder = {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}
    return [*files, folder]


def _load_reported(folder: Path) -> object:
    """As `report` does, short of drawing, which takes what JSON holds."""
    section = read_section(folder / "mine.json" if (folder / "mine.json").exists() else folder)
    return json.dumps(asdict(section), allow_nan=False).encode()


def _load_sweep(folder: Path) -> object:
    """As `sweep` does before the first job begins, which writes the index."""
    jobs = load_sweep(str(folder / "mine.yaml"))[1]
    return [Index.open(folder / "out", "tierenv sweep", jobs).to_json(), json.dumps([job.to_json() for job in jobs])]


def _sweeps() -> list[Files]:
    """Sweeps, each with the index of its folder."""
    inputs = []
    for number, files in enumerate(SWEEPS):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / str(number)
            _write(FAMILY | files, folder)
            (folder / "out").mkdir()
            _load_sweep(folder)
            inputs.append(FAMILY | files | {"out/sweep.json": (folder / "out" / "sweep.json").read_bytes()})
    return inputs


TARGETS: dict[str, Target] = {
    **{kind: Target(partial(_records, kind), partial(_load_record, kind)) for kind in RECORDS},
    "families": Target(_families, _load_family),
    "heat-files": Target(_heat_files, partial(_load_record, "workloads")),
    "measurements": Target(_measurements, _load_measurements),
    "experiments": Target(_experiments, _load_experiment),
    "bundle": Target(_bundles, _load_bundle),
    "signed-bundle": Target(_bundles, _load_bundle, finish=signed),
    "evaluation": Target(_evaluations, _load_evaluation),
    "best-static": Target(
        lambda: [{"mine.json": packaged_path().read_bytes()}], lambda folder: read_best_static(folder / "mine.json")
    ),
    "machine": Target(_machines, _load_machine),
    "machine-record": Target(_machine_records, _load_machine_record),
    "heat-record": Target(_heat_records, _load_heat_record),
    "run": Target(_runs, _load_run, finish=packed),
    "transitions": Target(_transitions, _load_transitions),
    "report": Target(_reported, _load_reported),
    "sweep": Target(_sweeps, _load_sweep),
}
"""All that reads files."""


@cache
def _strangers() -> list[bytes]:
    """Files of every target, and some that are none of ours."""
    own = [content for target in TARGETS.values() for content in target.valid_inputs()[0].values()]
    return [*own, b"", b"\0" * 4096, b"\x7fELF" + bytes(range(256)) * 8, b"\x80\x04.", b"root:$6$x:1:\n", b"[]", b"1"]


def spoiled_input(name: str, seed: int, number: int) -> Files:
    """Returns the files of one case."""
    target, rng = TARGETS[name], random.Random(f"{name} {seed} {number}")
    return target.finish(spoiled(rng.choice(target.valid_inputs()), _strangers(), rng))


def problem_with(error: BaseException, folder: Path) -> str | None:
    """Returns what is wrong with the way a loader refuses, None for nothing."""
    if not isinstance(error, ConfigError):
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} from {Path(frame.filename).name}:{frame.lineno}: {str(error)[:200]!r}"
    message = str(error)
    if not message.isprintable() or len(message) > LONGEST_MESSAGE + len(" ... "):
        return f"not a printable line of bounded length: {message!r}"
    return None if str(folder) in message else f"names no file: {message!r}"


@dataclass
class Report:
    """What came of the cases of one target."""

    name: str
    cases: int = 0
    refused: int = 0
    accepted: int = 0
    worst_s: float = 0.0
    peak_mib: float = 0.0
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"{self.name:<14} {self.cases:>6} cases, {self.refused:>6} refused, {self.accepted:>5} read, "
            f"{len(self.failures)} failed; worst {self.worst_s:.3f} s CPU, {self.peak_mib:.1f} MiB above the start"
        )


def campaign(name: str, cases: int, seed: int) -> Report:
    """Returns what comes of feeding a target that many cases, in a process that a bad one may take down."""
    current = mmap.mmap(-1, 8)  # the number of the case, shared with the child
    reader, writer = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        child = os.fork()
        if child == 0:
            try:
                with os.fdopen(writer, "wb") as pipe:
                    pickle.dump(_feed(name, cases, seed, Path(folder), current), pipe)
            except BaseException:  # a fault of this module, for nothing else gets here
                traceback.print_exc()
            os._exit(0)  # in any case, or there would be two of the caller
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            answer = pipe.read()
        _, status = os.waitpid(child, 0)
    if answer:
        report: Report = pickle.loads(answer)
        return report
    [number] = struct.unpack("q", current[:])
    cause = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "what is printed above"
    return Report(name, cases=number + 1, failures=[f"case {number}: the process died of {cause}"])


def _feed(name: str, cases: int, seed: int, folder: Path, current: mmap.mmap) -> Report:
    report = Report(name)
    TARGETS[name].valid_inputs(), _strangers()
    warnings.simplefilter("error")  # a warning is a second line
    logging.disable()  # what is set aside of a run is told
    start_mib = _resident_mib()
    _, hard_limit = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + (MAX_MIB << 20), hard_limit))
    for number in range(cases):
        current[:] = struct.pack("q", number)
        input_folder = folder / str(number)
        _write(spoiled_input(name, seed, number), input_folder)
        signal.setitimer(signal.ITIMER_PROF, MAX_CPU_S)  # its signal ends the process
        start_s = time.process_time()
        try:
            TARGETS[name].load(input_folder)
            report.accepted += 1
        except BaseException as error:
            problem = problem_with(error, input_folder)
            report.refused += problem is None
            report.failures += [] if problem is None else [f"case {number}: {problem}"]
        report.worst_s = max(report.worst_s, time.process_time() - start_s)
        signal.setitimer(signal.ITIMER_PROF, 0)
        report.cases += 1
        shutil.rmtree(input_folder)
        if len(report.failures) == _MAX_FAILURES:
            break
    report.peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - start_mib
    return report


def _write(files: Files, folder: Path) -> None:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def show(name: str, seed: int, number: int) -> None:
    """Prints the files of one case and what their loader makes of them."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "case"
        files = spoiled_input(name, seed, number)
        _write(files, folder)
        for file, content in files.items():
            print(f"--- {file}\n{content[:4000]!r}")
        try:
            print("read:", repr(TARGETS[name].load(folder))[:2000])
        except ConfigError as error:
            print("refused:", error)


def main() -> int:
    """Runs what the command line asks for; 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("targets", nargs="*", default=list(TARGETS), metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--cases", type=int, default=2000, help="of each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="show this one alone")
    options = parser.parse_args()
    if options.case is not None:
        for name in options.targets:
            show(name, options.seed, options.case)
        return 0
    failed = False
    for name in options.targets:
        report = campaign(name, options.cases, options.seed)
        print(report, *report.failures, sep="\n  ", flush=True)
        failed |= bool(report.failures)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
