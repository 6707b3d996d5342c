"""What scenarios come to without migration, for those forms of a reward that compare with it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.agents.policies import load_policy
from tierenv.agents.policy import scenario_for
from tierenv.bounds import clairvoyant_bound_s
from tierenv.objective import objective_row
from tierenv.phase_orders import PhaseOrders
from tierenv.progress import ReportProgress, unreported
from tierenv.scenario import Scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.task import simulated_task
from tierenv.train.episodes import MAX_TIME_MULTIPLE, episode_seeds
from tierenv.train.limits import of_each
from tierenv.train.rewards import NUM_POINTS, Baseline

EPISODES = 2
"""Of each scenario without migration, for its time and its bound."""
LEAST_GAP = 0.01
"""Share of the reference time: of less a learner sees nothing but noise."""


def baselines_of_machines(
    scenarios: Sequence[Scenario],
    num_machines: int,
    seed: int,
    phase_orders: PhaseOrders,
    report_progress: ReportProgress = unreported,
    *,
    has_gap: bool = True,
) -> list[Baseline]:
    """Of machines of which number i runs scenario i mod their number.

    Args:
        scenarios: the machines'.
        num_machines: how many.
        seed: of the first of the episodes without migration.
        phase_orders: the split of these.
        report_progress: told the scenarios done; one takes up to some seconds.
        has_gap: whether the form weighs scenarios by their gap: the bound takes much longer than the runs.
    """
    seeds = [seed + index for index in range(EPISODES)]
    found = []
    for index, scenario in enumerate(judged := scenarios[:num_machines]):
        report_progress(index, len(judged), "runs without migration, which rewards are held against")
        found.append(baseline(scenario, seeds, phase_orders, has_gap=has_gap))
    return [found[index % len(found)] for index in range(num_machines)]


def baseline(scenario: Scenario, seeds: Sequence[int], phase_orders: PhaseOrders, *, has_gap: bool = True) -> Baseline:
    """What the episodes of these seeds come to on average; without a gap the factor is 1."""
    idle = scenario_for(load_policy("no-migration", scenario), scenario)
    task = simulated_task([idle] * len(seeds), phase_orders=phase_orders, max_time_multiple=MAX_TIME_MULTIPLE)
    _, info = task.reset(episode_seeds(seeds))
    infos = [info]
    nothing = np.zeros((len(seeds), len(task.codec.names)), np.float32)
    is_over = np.zeros(len(seeds), dtype=np.bool_)
    while not is_over.all():
        outcome = task.step(nothing)
        infos.append(outcome.info)
        is_over = outcome.terminated | outcome.truncated
    work, elapsed_s = (np.array([entry[key] for entry in infos]) for key in ("work_done", "elapsed_s"))
    points = np.linspace(0, 1, NUM_POINTS)
    curves = [np.interp(points, *pair) for pair in zip(work.T, elapsed_s.T, strict=True)]
    factor = _factor(scenario, seeds, phase_orders, infos[-1]) if has_gap else 1.0
    return Baseline(factor, np.mean(curves, axis=0))


def _factor(
    scenario: Scenario, seeds: Sequence[int], phase_orders: PhaseOrders, final: Mapping[str, NDArray[Any]]
) -> float:
    if objective_row(scenario.objective).judges_end_of is None:
        return 1.0
    system = LumpedSystem([scenario] * len(seeds))
    system.reset(episode_seeds(seeds), [phase_orders] * len(seeds))
    clairvoyant_s = of_each(system, clairvoyant_bound_s)
    reference_s = float(final["objective_all_fast"].mean())
    gap_s = float((final["objective"] - clairvoyant_s).mean())
    return 0.5 * float(np.sqrt(reference_s / max(gap_s, LEAST_GAP * reference_s)))
