"""The table of pieces: every committed result and every shipped policy (`tierenv.train.studies.piece`)."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tierenv.train.algorithms import ALGORITHMS
from tierenv.train.config import load_suite, load_training_config
from tierenv.train.studies.generated import ROOT
from tierenv.train.studies.piece import Command, Piece, Scale
from tierenv.train.studies.sources import file_digest

KERNEL_POLICIES = ("no-migration", "numab1", "numab2", "kmmscand-v0", "kmmscand-v1", "kscand-v3")
TRAINED_ON_KMMSCAND = "ppo-moving-hot-set"
TRAINED_ON_NUMA = "ppo-numa-balancing"
NUMA = "numa-balancing"
GENERALIST = "generalist"
"""The policy that is to be of use on machines and programs nobody trained it on, and the family it is judged on."""
GENERALISTS = {
    "kmmscand-tunable": GENERALIST,
    "kmmscand-threshold": f"{GENERALIST}-threshold",
    NUMA: f"{GENERALIST}-{NUMA}",
}
"""Those that are shipped, by daemon; the training of each is called ppo-NAME."""
GENERALIST_SEEDS = {GENERALIST: 1}
"""Of their trainings, where it is not `SHIPPED_SEED`: of 0 and 1 the better on the selection set."""
GENERALIST_TRIALS = 200
"""Settings that are tried on each scenario of a set, for its best and for the best of all together."""
GENERALIST_EPISODES = 8
"""Of each scenario of the final set."""

ALGORITHM_SEEDS = 3
"""Trainings of each algorithm that are compared."""
SHIPPED_SEED = 0
"""Of the trainings whose policies are shipped: the best on the selection episodes of training, not on those of
evaluation."""


def pieces(scale: Scale) -> list[Piece]:
    """All pieces, each after those it needs."""
    tuned = {suite: _tuned(scale, suite) for suite in scale.tuning_seeds}
    on_kmmscand = [_trained(scale, TRAINED_ON_KMMSCAND, seed) for seed in scale.training_seeds]
    on_numa = [_trained(scale, TRAINED_ON_NUMA, seed) for seed in scale.training_seeds]
    on_abench = [_trained(scale, "ppo-abench", 0)]
    of_kmmscand, of_numa = [tuned["kmmscand-tunable"]], [tuned[NUMA]]

    seeds = _evaluated(scale, "moving-hot-set", "moving-hot-set", ["built-in", "best-static"], of_kmmscand, on_kmmscand)
    numa_seeds, numa_seeds_far = (
        _evaluated(scale, f"numa-balancing-seeds{end}", scenario, ["numab2", "best-static"], of_numa, on_numa, NUMA)
        for end, scenario in (("", "moving-hot-set"), ("-far", "moving-hot-set-far"))
    )
    abench = _evaluated(scale, "abench", "abench", ["built-in", "best-static"], of_kmmscand, on_abench)
    bundles = [
        _shipped(scale, "moving-hot-set", on_kmmscand[SHIPPED_SEED], seeds),
        _shipped(scale, "numa-balancing", on_numa[SHIPPED_SEED], numa_seeds),
        _shipped(scale, "abench", on_abench[0], abench),
    ]
    tree = _distilled(scale, bundles[0])
    shipped = [*bundles, tree]
    rivals = [*KERNEL_POLICIES, "built-in", "random", "best-static"]
    with_bundles = [*rivals, _name(bundles[0]), _name(tree), _name(bundles[2])]
    on_numa_balancing = ["no-migration", "numab2", "best-static", f"one-static:{NUMA}", _name(bundles[1])]
    return [
        *tuned.values(),
        *(piece for trained in (on_kmmscand, on_numa, on_abench) for piece in trained),
        *(seeds, numa_seeds, numa_seeds_far, abench),
        *shipped,
        _evaluated(scale, "first-round", "first-round", with_bundles, [*of_kmmscand, *shipped]),
        _evaluated(scale, NUMA, NUMA, on_numa_balancing, [*of_numa, *shipped]),
    ]


def generalists(scale: Scale) -> list[Piece]:
    """The policies for machines and programs of any kind, and how they did on the final set, which they open."""
    tuned = [_tuned_on_set(scale, split, daemon) for daemon in GENERALISTS for split in ("selection", "final")]
    made = []
    for daemon, name in GENERALISTS.items():
        trained = _trained(scale, f"ppo-{name}", GENERALIST_SEEDS.get(name, SHIPPED_SEED))
        evaluated = _evaluated_on_final_set(scale, name, daemon, [*tuned, trained])
        made += [trained, evaluated, _shipped(scale, name, trained, evaluated)]
    return [*tuned, *made]


def studies(scale: Scale, made: Sequence[Piece]) -> list[Piece]:
    """What takes as long at any scale: figures of the model, of the exports, of reliability and of speed.

    Args:
        scale: where they go.
        made: `pieces` and `generalists`, which some of them read.
    """
    tuned = [piece for piece in made if piece.name.removeprefix("tune-") in scale.tuning_seeds]
    shipped = [piece for piece in made if piece.name.startswith("policy-")]
    evaluated = [piece for piece in made if piece.name in ("evaluate-first-round", f"evaluate-{NUMA}")]
    live = (_digest("tierenv/live"), _digest("agents"), _digest("tests/live"))
    kills = ("-m", "tests.reliability", "--kills", "50")
    killed = ("tierenv.train.evaluate", "tierenv.train.search", "tierenv.train.learn")
    return [
        _study(scale, "convergence", needs=tuned),
        _study(scale, "equivalence"),
        _study(scale, "readings"),
        _study(scale, "no_foresight", "no-foresight", needs=evaluated),
        *_algorithms(scale, tuned),
        _study(scale, "search_curves", "search-curves"),
        _study(scale, "open_loop", "open-loop"),
        _study(scale, "growth", "sweep"),
        _study(scale, "ways", "generalist-ways"),
        _study(scale, "kernel_c", "kernel-c", (_digest("agents/export/c_source"),), shipped),
        _measured(scale, "fidelity", ("-m", "tierenv.train", "fidelity"), ("tierenv.train.fidelity",)),
        _measured(scale, "bench", ("-m", "tierenv.train", "bench"), ("tierenv.train.bench",)),
        _measured(scale, "reliability", kills, killed, (_digest("tests", "reliability.py"),)),
        _measured(scale, "live-cost", ("-m", "tests.live.cost"), (), live, shipped),
        _timeline([piece for piece in shipped if piece.name == "policy-moving-hot-set"]),
        *_understood(scale, shipped, tuned),
    ]


def _algorithms(scale: Scale, tuned: Sequence[Piece]) -> list[Piece]:
    """Every algorithm trained for equal time, three quarters of an hour each, and all of them judged."""
    study = ("-m", "tierenv.train.studies.algorithms", "--folder", str(scale.runs / "algorithms"))
    module = "tierenv.train.studies.algorithms"
    trained = []
    for algorithm in ALGORITHMS:
        config = load_training_config(f"{algorithm}-moving-hot-set")
        folders = tuple(scale.runs / "algorithms" / f"{config.name}-s{seed}" for seed in range(ALGORITHM_SEEDS))
        trained.append(
            Piece(
                f"train-{algorithm}",
                ((*study, "--algorithms", algorithm),),
                tuple(folder / "best" / "model.zip" for folder in folders),
                (module,),
                (config.model_dump_json(),),
                is_kept=True,
                gathers=folders,
            )
        )
    return [*trained, _measured(scale, "algorithms", study, (module,), needs=[*trained, *tuned])]


def _understood(scale: Scale, shipped: Sequence[Piece], tuned: Sequence[Piece]) -> list[Piece]:
    """What the generalist goes by and does; nothing as long as there is none."""
    path = scale.results / "understanding.json"
    module = "tierenv.train.studies.understanding"
    command = ("-m", module, GENERALIST, "--output", str(path))
    return [
        Piece("understanding", (command,), (path,), (module,), (_configurations(),), needs=(policy, *tuned))
        for policy in shipped
        if policy.name == f"policy-{GENERALIST}"
    ]


def _timeline(shipped: Sequence[Piece]) -> Piece:
    """The picture in the README."""
    path = ROOT / "docs" / "timeline.png"
    policies = ["moving-hot-set", "built-in", "best-static"]
    return Piece(
        "timeline",
        (_evaluation("moving-hot-set", policies, 1, "--plot", str(path)),),
        (path,),
        ("tierenv.train.evaluate", "tierenv.render"),
        (_configurations(),),
        needs=tuple(shipped),
    )


def _tuned(scale: Scale, suite: str) -> Piece:
    """The best static settings of a suite."""
    path = scale.policies / "best-static.json"
    trials = () if scale.trials is None else ("--trials", str(scale.trials))
    seeds = ("--seeds", str(scale.tuning_seeds[suite]))
    command = ("-m", "tierenv.train.studies.best_static", suite, *seeds, *trials, "--output", str(path))
    return Piece(f"tune-{suite}", (command,), (path,), ("tierenv.train.studies.best_static",), _scenarios(suite))


def _tuned_on_set(scale: Scale, split: str, daemon: str) -> Piece:
    """The best static settings of a set of the family under a daemon, of each scenario and of all of them."""
    path = scale.policies / "best-static.json"
    target = f"{GENERALIST}:{split}"
    opened = ("--open-final",) if split == "final" else ()
    plan = ("--daemon", daemon, "--trials", str(GENERALIST_TRIALS), "--seeds", "2", *opened)
    module = "tierenv.train.studies.best_static"
    command = ("-m", module, target, *plan, "--output", str(path))
    return Piece(f"tune-{GENERALIST}-{split}-{daemon}", (command,), (path,), (module,), _scenarios(target, daemon))


def _evaluated_on_final_set(scale: Scale, name: str, daemon: str, needs: Sequence[Piece]) -> Piece:
    """How a generalist and its rivals did, by stake."""
    path, trained = scale.results / f"{name}.json", needs[-1]
    assert trained.resumes is not None
    options = ("--split", "final", "--open-final", "--rivals", "--daemon", daemon, "--json", str(path))
    policy = str(trained.resumes.relative_to(ROOT))
    command = _evaluation(f"--family={GENERALIST}", [policy], GENERALIST_EPISODES, *options)
    reads = (*_scenarios(f"{GENERALIST}:final", daemon), _digest("configs/daemons"))
    return Piece(f"evaluate-{name}", (command,), (path,), ("tierenv.train.evaluate",), reads, needs=tuple(needs))


def _trained(scale: Scale, configuration: str, seed: int) -> Piece:
    """A run folder."""
    folder = scale.runs / f"{configuration}-s{seed}"
    steps = () if scale.steps is None else ("--timesteps", str(scale.steps))
    command = ("-m", "tierenv.train", "train", configuration, "--seed", str(seed), "--run-dir", str(folder), *steps)
    return Piece(
        f"train-{folder.name}",
        (command,),
        (folder / "best" / "model.zip",),
        ("tierenv.train.learn",),
        (_training(configuration),),
        is_kept=True,
        resumes=folder,
    )


def _evaluated(
    scale: Scale,
    name: str,
    target: str,
    policies: Sequence[str],
    needs: Sequence[Piece],
    trained: Sequence[Piece] = (),
    daemon: str | None = None,
) -> Piece:
    """What `evaluate` writes."""
    path = scale.results / f"{name}.json"
    runs = [str(piece.resumes.relative_to(ROOT)) for piece in trained if piece.resumes is not None]
    under = () if daemon is None else ("--daemon", daemon)
    command = _evaluation(target, [*policies, *runs], scale.episodes, *under, "--json", str(path))
    return Piece(
        f"evaluate-{name}",
        (command,),
        (path,),
        ("tierenv.train.evaluate",),
        (*_scenarios(target, daemon), _digest("configs/daemons")),
        needs=(*needs, *trained),
    )


def _evaluation(target: str, policies: Sequence[str], episodes: int, *options: str) -> Command:
    named = (argument for policy in policies for argument in ("--policy", policy))
    return ("-m", "tierenv.train", "evaluate", target, "--seeds", str(episodes), *named, *options)


def _shipped(scale: Scale, name: str, trained: Piece, evaluated: Piece) -> Piece:
    """A bundle."""
    folder = scale.policies / name
    assert trained.resumes is not None
    source = ("-m", "tierenv.train", "export", str(trained.resumes.relative_to(ROOT)), "--format", "bundle")
    command = (*source, "--output", str(folder), "--evaluation", str(evaluated.outputs[0]))
    return Piece(
        f"policy-{name}",
        (command,),
        (folder / "policy.json",),
        ("tierenv.agents.export.bundle",),
        needs=(trained, evaluated),
        replaces=(folder,),
    )


def _distilled(scale: Scale, teacher: Piece) -> Piece:
    """A tree of a bundle, and how good it is."""
    folder = scale.policies / f"{_name(teacher)}-tree"
    path = scale.results / "distil.json"
    source = ("-m", "tierenv.train", "distil", _name(teacher), "--scenario", "moving-hot-set", "--leaves", "16")
    command = (*source, "--seeds", str(scale.episodes), "--output", str(folder), "--json", str(path))
    return Piece(
        f"policy-{folder.name}",
        (command,),
        (folder / "policy.json", path),
        ("tierenv.train.distil",),
        _scenarios("moving-hot-set"),
        needs=(teacher,),
        replaces=(folder,),
    )


def _study(
    scale: Scale, module: str, name: str | None = None, reads: tuple[str, ...] = (), needs: Sequence[Piece] = ()
) -> Piece:
    """What a module of the studies writes."""
    module = f"tierenv.train.studies.{module}"
    return _measured(scale, name or module.rpartition(".")[2], ("-m", module), (module,), reads, needs)


def _measured(
    scale: Scale,
    name: str,
    command: Command,
    modules: tuple[str, ...],
    reads: tuple[str, ...] = (),
    needs: Sequence[Piece] = (),
) -> Piece:
    path = scale.results / f"{name}.json"
    return Piece(name, ((*command, "--json", str(path)),), (path,), modules, (*reads, _configurations()), tuple(needs))


@cache
def _training(configuration: str) -> str:
    """A training configuration, whole; one on a family takes seconds to read."""
    return load_training_config(configuration).model_dump_json()


def _name(piece: Piece) -> str:
    """Of a shipped policy."""
    return piece.outputs[0].parent.name


def _scenarios(target: str, daemon: str | None = None) -> tuple[str, ...]:
    return tuple(scenario.identity for scenario in load_suite(target, daemon).scenarios)


@cache
def _configurations() -> str:
    """Digest of all configurations but policies, which have pieces of their own, and logs."""
    files = (path for path in sorted((ROOT / "configs").rglob("*")) if _counts(path))
    made = ROOT / "configs" / "policies"
    return file_digest(path for path in files if not path.is_relative_to(made) and ".openings." not in path.name)


def _digest(folder: str, pattern: str = "*") -> str:
    return file_digest(path for path in sorted((ROOT / folder).rglob(pattern)) if _counts(path))


def _counts(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts
