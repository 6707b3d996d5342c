"""Lower bounds on the time an episode can take: what no policy of a promotion daemon beats.

The clairvoyant bound relaxes an episode to a fluid. Somebody who knows all phases ahead moves any part of
any class, scans and demotes for free and may fill the fast tier to its last page. Two things hold him back:
promotions take the migrator's time, and each costs the application its stall. That is a linear programme over
the work done, cut into steps k:

    minimise   sum_k time_k
    time_k  >= work_k / threads line(share . A_k) + stall sum_c P_kc      for lines below the access time
    sum_c P_kc <= R time_k                                                the migrator's rate
    F_(k+1)c <= F_kc + P_kc,  A_kc <= F_kc + P_kc                         what has been promoted is there
    sum_c F_kc, sum_c A_kc <= capacity,  F_kc, A_kc <= pages of c

where for class c, F is the fast pages at the start of the step, P the promotions in it and A the average fast
pages over its work. Averages of a real episode are a feasible point, because the access time, convex in the
fast share, lies on average above its value at the average share. Hence the optimum is a lower bound at any
resolution.

These constraints alone would let all promotions of a step act from its beginning, or take up room only from
its end: a first-order error. But what is promoted before (after) a point of the step is at most R times the
time before (after) it, on average over the work of the step at most

    Q_k <= R (time_k - work_k / (2 threads) line(share . (F_k + P_k)))    for falling lines

since the step never holds more than F + P. Therefore, for single classes and for their sum,

    A_k - F_k <= Q_k,   F_(k+1) - A_k <= Q_k

Where phases end by time, or the load changes, the work of a step is not known ahead, and the bound is a simpler one:
at any time nobody is faster than with the hottest pages there are on the fast tier, as many as it holds or fewer, and
with all threads at work that the load lets. The best access rate is integrated over time until the work is done.
Classes that are absent relax the linear programme as they are: fast pages of theirs may stay, and take room, or go.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.optimize import linprog

from tierenv.objective import objective_name, objective_row
from tierenv.scenario import Scenario
from tierenv.sim.parameters import least_access_time_s
from tierenv.system import ModelledSystem

Floats = NDArray[np.float64]

NUM_STEPS = 150
"""Steps the work is cut into; four times as many raise the bound by 0.05 % at most."""
LAST_TO_FIRST_STEP = 30.0
"""The steps of a phase grow geometrically, fine where pages move."""
NUM_LINES = 8
NUM_FLUID_SAMPLES = 129
"""Fast shares at which the fluid's access time is sampled."""
NUM_SAMPLES = 513
"""Fast shares at which the access time is sampled, and lines drawn below it."""


def clairvoyant_bound_s(system: ModelledSystem, index: int) -> float:
    """Time no policy beats in the episode that a machine has just been reset to, to the end that is judged [s].

    Each process gets the machine to itself: the run takes at least as long as any of those it waits for does then.
    Where the end of the application alone is judged, it is the application's.

    Raises:
        ValueError: for an objective that is not the time to an end.
    """
    scenario = system.scenarios[index]
    return max(
        scenario.processes[number].start
        + (
            _fluid_seconds_of(system, index, number)
            if scenario.processes[number].workload.is_timed or scenario.processes[number].workload.load
            else _clairvoyant_seconds_of(system, index, number)
        )
        for number in judged_processes(scenario)
    )


def judged_processes(scenario: Scenario) -> list[int]:
    """Numbers of the processes the end of the last of which is judged. Raises ValueError where it is not a time."""
    judged = objective_row(scenario.objective).judges_end_of
    if judged is None:
        raise ValueError(
            f"scenario {scenario.name}: bounds hold for times, not for {objective_name(scenario.objective)}"
        )
    processes = enumerate(scenario.processes)
    return [number for number, process in processes if process.is_awaited and (judged == "all" or number == 0)]


def _clairvoyant_seconds_of(system: ModelledSystem, index: int, number: int) -> float:
    """`clairvoyant_seconds` of a process of a machine, by its number."""
    scenario = system.scenarios[index]
    process = scenario.processes[number]
    is_by_faults = scenario.daemon.mechanism == "hint-faults"
    stall_s = scenario.platform.shootdown_receiver / process.count
    return clairvoyant_seconds(
        access_shares=system.access_share(index, number),
        work=system.phase_work(index, number),
        class_pages=system.class_pages(index, number),
        fast_pages_at_start=system.fast_pages_by_class(index, number),
        capacity_pages=scenario.fast_capacity_pages,
        # at hint faults every thread promotes, and works less by what it takes
        promotions_per_s=(process.threads if is_by_faults else 1) / scenario.migration_s,
        stall_s_per_promotion=stall_s + is_by_faults * scenario.migration_s / process.threads,
        threads=process.threads,
        access_time_s=partial(least_access_time_s, scenario, process_index=number),
    )


def _fluid_seconds_of(system: ModelledSystem, index: int, number: int) -> float:
    """The bound of a process of a machine whose phases end by time or whose load changes, from its start [s]."""
    scenario = system.scenarios[index]
    process = scenario.processes[number]
    pages = system.class_pages(index, number).astype(np.float64)
    best_share = []
    for share in system.access_share(index, number):
        hottest_first = np.argsort(-share / pages)
        room = scenario.fast_capacity_pages - np.concatenate(([0.0], np.cumsum(pages[hottest_first])[:-1]))
        best_share.append(float((share[hottest_first] * np.clip(room / pages[hottest_first], 0.0, 1.0)).sum()))

    def rate(fast_share: float, load: float) -> float:
        # where the slow tier is the faster one, or lends its bandwidth, a smaller share may be better
        shares = np.linspace(0.0, fast_share, NUM_FLUID_SAMPLES)
        times = least_access_time_s(scenario, shares, process_index=number, working_share=load)
        return process.threads * load / float(times.min())

    steps = [(step.duration, step.share) for step in process.workload.load] or [(math.inf, 1.0)]
    return fluid_seconds(
        best_share=best_share,
        phase_work=system.phase_work(index, number).tolist(),
        phase_s=system.phase_seconds(index, number).tolist(),
        load=steps,
        rate=rate,
        accesses=process.total_accesses,
    )


def fluid_seconds(
    *,
    best_share: Sequence[float],
    phase_work: Sequence[float],
    phase_s: Sequence[float],
    load: Sequence[tuple[float, float]],
    rate: Callable[[float, float], float],
    accesses: float,
) -> float:
    """Time in which work is done at the best access rates there can be, as phases and load change [s].

    Phases that end by work end as soon at these rates as they can, so that nobody has done more in any of them by then.

    Args:
        best_share: float[phases], the largest share of the accesses that can land on the fast tier.
        phase_work: float[phases], accesses in each phase; not looked at where it ends by time.
        phase_s: float[phases], time after which each ends and the next begins, after the last the first; infinite
            where it ends by work.
        load: seconds and share of the threads at work of each step, which repeat.
        rate: accesses per second at a largest share and a load.
        accesses: the work.
    """
    rate_at = cache(rate)
    phase, step = 0, 0
    now_s, done = 0.0, 0.0
    phase_until_s, load_until_s, phase_until = phase_s[0], load[0][0], phase_work[0]
    while True:
        speed = rate_at(best_share[phase], load[step][1])
        until = accesses if math.isfinite(phase_s[phase]) else min(accesses, phase_until)
        next_s = min(phase_until_s, load_until_s)
        if done + speed * (next_s - now_s) >= until:
            now_s += (until - done) / speed
            done = until
            if done >= accesses or phase + 1 == len(best_share):
                return now_s
            phase += 1
            phase_until += phase_work[phase]
            continue
        done += speed * (next_s - now_s)
        now_s = next_s
        if phase_until_s <= now_s:
            phase = (phase + 1) % len(best_share)
            phase_until_s += phase_s[phase]
        if load_until_s <= now_s:
            step = (step + 1) % len(load)
            load_until_s += load[step][0]


def clairvoyant_seconds(
    *,
    access_shares: ArrayLike,
    work: ArrayLike,
    class_pages: ArrayLike,
    fast_pages_at_start: ArrayLike,
    capacity_pages: float,
    promotions_per_s: float,
    stall_s_per_promotion: float,
    threads: float,
    access_time_s: Callable[[Floats], Floats],
    num_steps: int = NUM_STEPS,
) -> float:
    """Time no policy beats [s].

    Args:
        access_shares: float[phases, classes], share of the accesses on each class, in the episode's order.
        work: float[phases], accesses of all threads in each phase.
        class_pages: float[classes].
        fast_pages_at_start: float[classes].
        capacity_pages: pages of the fast tier.
        promotions_per_s: the most the daemon promotes.
        stall_s_per_promotion: what a promotion unavoidably costs every thread.
        threads: number of threads.
        access_time_s: time of one access of one thread, for an array of fast shares.
        num_steps: resolution.
    """
    work = np.asarray(work, dtype=np.float64)
    class_pages = np.asarray(class_pages, dtype=np.float64)
    slopes, offsets = _lines_below(access_time_s)
    step_work, step_phase = _grid(work, num_steps)
    # In units of all pages and of the time the work takes at best, all numbers are about one.
    pages = class_pages.sum()
    shortest_s = (slopes + offsets).max()
    unit_s = work.sum() * shortest_s / threads
    optimum = _solve(
        weight=np.asarray(access_shares, dtype=np.float64)[step_phase] * pages / class_pages,
        work=step_work / work.sum(),
        size=class_pages / pages,
        start=np.asarray(fast_pages_at_start, dtype=np.float64) / pages,
        capacity=capacity_pages / pages,
        rate=promotions_per_s * unit_s / pages,
        stall=stall_s_per_promotion * pages / unit_s,
        lines=list(zip(slopes / shortest_s, offsets / shortest_s, strict=True)),
    )
    return optimum * unit_s


def _grid(work: Floats, num_steps: int) -> tuple[Floats, NDArray[np.int64]]:
    """Work and phase of each step."""
    steps_per_phase = max(2, num_steps // len(work))
    parts = np.geomspace(1, LAST_TO_FIRST_STEP, steps_per_phase)
    steps = np.outer(work, parts / parts.sum())
    return steps.ravel(), np.repeat(np.arange(len(work)), steps_per_phase)


def _lines_below(access_time_s: Callable[[Floats], Floats]) -> tuple[Floats, Floats]:
    """Slopes and offsets of lines that nowhere exceed the access time as a function of the fast share.

    They are its tangents where it is convex; elsewhere each is lowered until it only touches.
    """
    shares = np.linspace(0, 1, NUM_SAMPLES)
    times = access_time_s(shares)
    chosen = np.linspace(0, NUM_SAMPLES - 1, NUM_LINES).round().astype(np.int64)
    slopes = np.unique(np.gradient(times, shares)[chosen])
    offsets = (times[:, None] - slopes * shares[:, None]).min(axis=0)
    return slopes, offsets


def _solve(
    *,
    weight: Floats,
    work: Floats,
    size: Floats,
    start: Floats,
    capacity: float,
    rate: float,
    stall: float,
    lines: list[tuple[float, float]],
) -> float:
    """Optimum of the linear programme of this module.

    Args:
        weight: float[steps, classes], rise of the fast share with a class's fast pages.
        work: float[steps].
        size: float[classes], pages.
        start: float[classes], fast pages at the start.
        capacity: pages of the fast tier.
        rate: promotions per unit of time.
        stall: time lost by a promotion.
        lines: slope and offset of each.
    """
    num_steps, num_classes = weight.shape
    num_cells = weight.size
    cells = sparse.eye_array(num_cells, format="csr")
    steps = sparse.eye_array(num_steps, format="csr")
    totals = sparse.kron(steps, np.ones((1, num_classes)), format="csr")  # sums of a step's cells
    spread = totals.T.tocsr()  # a step's value for each of its cells
    now, later = slice(None, -num_classes), slice(num_classes, None)  # cells of a step, cells of the next
    weighted = totals @ sparse.diags_array(weight.ravel())

    # Rows "blocks . (F, P, A, Q, time) <= limit"; None is a block of zeros.
    rows = [
        ([None, totals, None, None, -rate * steps], np.zeros(num_steps)),
        ([cells[later] - cells[now], -cells[now], None, None, None], np.zeros(num_cells - num_classes)),
        ([-cells, -cells, cells, None, None], np.zeros(num_cells)),
        ([totals, None, None, None, None], np.full(num_steps, capacity)),
        ([None, None, totals, None, None], np.full(num_steps, capacity)),
        ([-cells, None, cells, -spread, None], np.zeros(num_cells)),
        ([-totals, None, totals, -steps, None], np.zeros(num_steps)),
        ([cells[later], None, -cells[now], -spread[now], None], np.zeros(num_cells - num_classes)),
        ([totals[1:], None, -totals[:-1], -steps[:-1], None], np.zeros(num_steps - 1)),
    ]
    for slope, offset in lines:
        access = sparse.diags_array(work * slope) @ weighted
        rows.append(([None, stall * totals, access, None, -steps], -work * offset))
        if slope < 0:
            half = 0.5 * rate * access
            rows.append(([half, half, None, steps, -rate * steps], -0.5 * rate * work * offset))
    sizes = {"F": num_cells, "P": num_cells, "A": num_cells, "Q": num_steps, "time": num_steps}
    most = {"F": np.tile(size, num_steps), "A": np.tile(size, num_steps)}
    upper = np.concatenate([most.get(name, np.full(length, np.inf)) for name, length in sizes.items()])
    lower = np.zeros(upper.shape)
    lower[:num_classes] = upper[:num_classes] = start
    cost = np.zeros(upper.shape)
    cost[-num_steps:] = 1
    result = linprog(
        cost,
        A_ub=sparse.block_array([blocks for blocks, _ in rows], format="csr"),
        b_ub=np.concatenate([limit for _, limit in rows]),
        bounds=np.stack((lower, upper), axis=1),
        method="highs",
    )
    if not result.success:
        raise RuntimeError(f"clairvoyant bound: {result.message}")
    return float(result.fun)
