"""What a policy loses as integers in C: the compiled export against the floats, on the suite of its daemon.

`python -m tierenv.train.studies.kernel_c --json FILE` (make results) measures the packaged policies; it fails when one
misses a bar.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console

from tierenv.agents.compiled import CompiledActor, CompiledPolicy, Sampler
from tierenv.agents.export import ExportRequest
from tierenv.agents.export.kernel_c import TOLERANCE, write
from tierenv.agents.export.learned_source import learned_source
from tierenv.agents.integer.interface import Interface
from tierenv.agents.network import Network
from tierenv.agents.policies import load_policy
from tierenv.agents.policy import Array
from tierenv.agents.tree import DecisionTree
from tierenv.errors import ConfigError
from tierenv.live.arithmetic import ONE
from tierenv.records import packaged
from tierenv.scenario import load_scenario
from tierenv.system import System
from tierenv.train import seeds as seed_blocks
from tierenv.train.config import load_suite
from tierenv.train.episodes import Actor, Recorder, run_episodes
from tierenv.train.evaluate import evaluation_task
from tierenv.train.provenance import git_revision, machine
from tierenv.train.run_dir import write_json
from tierenv.train.statistics import Estimate, mean_estimate
from tierenv.train.tables import plain_table

Floats = NDArray[np.float64]

MAX_LOSS = 0.005
"""Share of the completion time the integers may cost."""


class SampleRecorder(Recorder):
    """Keeps what a kernel would have reported, too."""

    def __init__(self, actor: Actor, system: System, interface: Interface) -> None:
        super().__init__(actor, system)
        self.samples: list[NDArray[np.void]] = []
        """A sample of every machine at every decision."""
        self._sampler = Sampler(system, interface)

    def reset(self, num_machines: int) -> None:
        """An episode has begun on all machines."""
        super().reset(num_machines)
        self._sampler.restart()

    def act(self, observation: Array) -> Array:
        """The actor's actions."""
        self.samples.append(self._sampler.take())
        return super().act(observation)


def action_errors(model: Network | DecisionTree, compiled: CompiledPolicy, recorded: SampleRecorder) -> Floats:
    """Greatest difference of each decision, float64[decisions]; 0 at thresholds, and where choices are close."""
    state = compiled.initial_state(len(recorded.samples[0]))
    actions = [compiled.act(compiled.observe(samples, state)) / ONE for samples in recorded.samples]
    observations = np.concatenate(recorded.observations)
    errors: Floats = np.abs(np.concatenate(actions) - model(observations)).max(axis=1)
    if isinstance(model, DecisionTree):
        errors[near_threshold(model, observations)] = 0
    else:
        errors[~model.is_decisive(observations)] = 0
    return errors


def near_threshold(tree: DecisionTree, observations: Array) -> NDArray[np.bool_]:
    """bool[n]: some comparison on the way to the leaf is closer than the tolerance."""
    is_near = np.zeros(len(observations), np.bool_)
    node = np.zeros(len(observations), np.intp)
    for _ in range(tree.depth):
        distance = np.take_along_axis(observations, tree.feature[node][:, None], axis=1)[:, 0] - tree.threshold[node]
        is_inner = ~tree.is_leaf[node]
        is_near |= is_inner & (np.abs(distance) < TOLERANCE)
        node = np.where(is_inner, np.where(distance <= 0, tree.left[node], tree.right[node]), node)
    return is_near


@dataclass(frozen=True)
class Row:
    """One policy on one scenario."""

    scenario: str
    float_s: float
    compiled_s: float
    loss: Estimate
    """Share of the floats' mean time by which the C is slower; negative if it is faster."""
    action_error: float
    decisions: int

    @property
    def passes(self) -> bool:
        """Whether both bars are met."""
        return self.loss.value < MAX_LOSS and self.action_error < TOLERANCE

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "scenario": self.scenario,
            "float_s": self.float_s,
            "compiled_s": self.compiled_s,
            "loss": self.loss.value,
            "loss_ci95": self.loss.interval,
            "action_error": self.action_error,
            "decisions": self.decisions,
        }


@dataclass(frozen=True)
class Measured:
    """One policy."""

    policy: str
    form: str
    bytes: int
    """Code and data."""
    decision_ns: float
    rows: list[Row] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "policy": self.policy,
            "form": self.form,
            "bytes": self.bytes,
            "decision_ns": self.decision_ns,
            "rows": [row.to_json() for row in self.rows],
        }


def measure(
    policy: str, scenarios: Sequence[str], num_seeds: int, report_progress: Callable[[str], None] = lambda _line: None
) -> Measured:
    """Export, compile and play one policy; no scenarios are those of its daemon's suite. Raises `ConfigError`."""
    seeds = seed_blocks.block(seed_blocks.EVALUATION, num_seeds, "--seeds")
    with tempfile.TemporaryDirectory() as temporary:
        request = ExportRequest(policy, Path(temporary) / "c")
        write(request)
        source = learned_source(policy)
        records = list(map(load_scenario, scenarios)) or load_suite(source.daemon.name).scenarios
        compiled = CompiledPolicy(request.output, Interface(source.daemon, source.observation))
    rows: list[Row] = []
    samples: list[NDArray[np.void]] = []
    for scenario in records:
        report_progress(f"{scenario.name}: {policy}")
        floats = load_policy(policy, scenario)
        task = evaluation_task(floats, scenario, num_seeds)
        recorded = SampleRecorder(floats, task.system, compiled.interface)
        float_s = run_episodes(task, recorded, seeds).seconds
        compiled_s = run_episodes(task, CompiledActor(compiled, task.system), seeds).seconds
        errors = action_errors(source.model, compiled, recorded)
        loss = mean_estimate((compiled_s - float_s) / float_s.mean())
        rows.append(Row(scenario.name, float_s.mean(), compiled_s.mean(), loss, float(errors.max()), len(errors)))
        samples += recorded.samples
    return Measured(
        policy, _form(source.model), compiled.size_bytes, compiled.decision_ns(np.concatenate(samples)), rows
    )


def _form(model: Network | DecisionTree) -> str:
    if isinstance(model, DecisionTree):
        return f"tree, {model.num_leaves} leaves, depth {model.depth}"
    return "network " + " x ".join(map(str, model.layers))


@dataclass(frozen=True)
class Arguments:
    """Compare exported C with the policy it came from."""

    policy: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME_OR_PATH")] = ()
    """Run folders and bundles; by default the packaged ones."""
    scenario: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="SCENARIO")] = ()
    """By default those of the suite that is named for the policy's daemon."""
    seeds: Annotated[int, tyro.conf.arg(metavar="N")] = 20
    """Episodes for each scenario; with fewer, chance alone can move a mean time by half a percent."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the result to this file, for machines."""


def main() -> int:
    """Run the command line. Returns 0, 1 if a policy misses a bar, or 2 for bad input."""
    arguments = tyro.cli(Arguments, prog="python -m tierenv.train.studies.kernel_c")
    bundles = [name for name, path in packaged("policies").items() if path.is_dir()]
    policies = arguments.policy or tuple(bundles)
    console = Console(width=None if sys.stdout.isatty() else 160, markup=False, highlight=False)
    try:
        if not policies:
            raise ConfigError("--policy: name at least one; no bundle is packaged")
        with Console(stderr=True).status("measuring") as status:
            results = [measure(policy, arguments.scenario, arguments.seeds, status.update) for policy in policies]
    except ConfigError as error:
        print(f"tierenv: {error}", file=sys.stderr)
        return 2
    for result in results:
        title = f"{result.policy} ({result.form}): {result.decision_ns:.0f} ns, {result.bytes / 1024:.1f} KiB"
        columns = ["scenario", "float [s]", "C [s]", "loss [%]", "95 %", "action error", "decisions"]
        console.print(plain_table(title, columns, map(_texts, result.rows)))
    if arguments.json is not None:
        write_json(
            arguments.json,
            {
                "schema": 1,
                "git_revision": git_revision(),
                "machine": machine(),
                "episodes": arguments.seeds,
                "policies": [result.to_json() for result in results],
            },
        )
    failed = [f"{result.policy} on {row.scenario}" for result in results for row in result.rows if not row.passes]
    for name in failed:
        print(f"tierenv: {name}: loses {MAX_LOSS:.1%} or more, or differs by {TOLERANCE:g} or more", file=sys.stderr)
    return 1 if failed else 0


def _texts(row: Row) -> list[str]:
    interval = row.loss.interval
    limits = f"[{100 * interval[0]:.3f}, {100 * interval[1]:.3f}]" if interval else ""
    return [
        row.scenario,
        f"{row.float_s:.2f}",
        f"{row.compiled_s:.2f}",
        f"{100 * row.loss.value:+.3f}",
        limits,
        f"{row.action_error:.1e}",
        str(row.decisions),
    ]


if __name__ == "__main__":
    sys.exit(main())
