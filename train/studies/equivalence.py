"""The lumped model against the pages model: `python -m tierenv.train.studies.equivalence`.

Outcomes of many runs of packaged scenarios shrunk to 8,192 pages. Where the model is known to be approximate (V0's
serial thread, V3's re-check) the case gives margins within which the means must agree. docs/model.md shows what was
measured; tests/sim/test_equivalence.py holds the bars.
"""

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from tyro.conf import arg

from tierenv.counters import (
    COLDPAGE,
    DEMOTED,
    HOTPAGE,
    IDLEPAGE,
    MIGADDED,
    MIGRATE_FAILED,
    MIGRATED,
    NUMA_HINT_FAULTS,
    NUMA_PTE_UPDATES,
    PGPROMOTE_CANDIDATE,
    PGPROMOTE_SUCCESS,
    SLOWTIER,
    TOPTIER,
)
from tierenv.daemon import Daemon, load_daemon
from tierenv.scenario import Process, Scenario, load_scenario
from tierenv.shrink import shrink
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.pages.system import PagesSystem
from tierenv.sim.records import DUPLICATES, PEAK_LIST, WASTED
from tierenv.train.provenance import git_revision
from tierenv.train.run_dir import write_json
from tierenv.train.tables import plain_table
from tierenv.tunables import BYTES, RATE, TUNABLES, Setting
from tierenv.units import GIB, MIB
from tierenv.workload import LoadStep, Phase

PAGES = 8192
NUM_SEEDS = 60
FINE_SUBSTEP_S = 0.02
FINE_QUANTUM_S = 1e-3
FINE_REGIONS = 512
FINE_REGIONS_WITH_FAULTS = 128
"""Hint faults make the model slow at a fine resolution."""

COUNTED = {
    "migadded": MIGADDED,
    "migrated": MIGRATED,
    "failed": MIGRATE_FAILED,
    "slowtier": SLOWTIER,
    "toptier": TOPTIER,
    "idlepage": IDLEPAGE,
    "demoted": DEMOTED,
    "hotpage": HOTPAGE,
    "coldpage": COLDPAGE,
    "numa_marked": NUMA_PTE_UPDATES,
    "numa_faults": NUMA_HINT_FAULTS,
    "numa_promoted": PGPROMOTE_SUCCESS,
    "numa_candidates": PGPROMOTE_CANDIDATE,
}
MODELLED = {"wasted": WASTED, "duplicates": DUPLICATES, "peak_list": PEAK_LIST}
OUTCOMES = ("seconds", "own_seconds", *COUNTED, *MODELLED)
"""Completion of all processes and of the first, counters, and what only the models know."""

Outcomes = dict[str, NDArray[np.float64]]
Settings = Callable[[int], Iterator[NDArray[np.float64]]]


class Case(NamedTuple):
    """A scenario at full size, and the settings in force during the intervals of a run."""

    scenario: Scenario
    settings: Settings
    approximate: dict[str, float] = {}
    """Margins of the means of outcomes that are known to be approximate."""
    coarse: dict[str, float] = {}
    """More of these, for the shipped resolution alone."""


def kernels_own(seed: int) -> Iterator[NDArray[np.float64]]:
    """No setting: the kernel's rule is in charge."""
    yield from ()


def always(period_ms: float, size_bytes: float, throttle_bytes_per_s: float, **others: float) -> Settings:
    """One setting for the whole run."""
    values = {"scan_period": period_ms, "scan_size": size_bytes, "throttle": throttle_bytes_per_s} | others
    return lambda seed: iter([np.array(Setting(values).row)])


def at_random(daemon: Daemon) -> Settings:
    """Another setting of a daemon every two seconds, sometimes off or unlimited; the same for both models."""
    names = list(daemon.tunables)

    def draw(seed: int) -> Iterator[NDArray[np.float64]]:
        rng = np.random.default_rng(seed)
        bounds = np.log([(row.min, row.max) for row in daemon.tunables.values()])
        while True:
            drawn = dict(zip(names, np.exp(rng.uniform(*bounds.T)), strict=True))
            drawn = {name: TUNABLES[name].quantity.nearest(value) for name, value in drawn.items()}
            drawn["throttle"] = rng.choice([0.0, np.inf, drawn["throttle"]], p=[0.1, 0.1, 0.8])
            yield np.array(Setting(drawn).row)

    return draw


def _smaller(setting: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """A setting for a machine that is smaller by this factor, as a batch of one."""
    is_scaled = [row.quantity in (BYTES, RATE) for row in TUNABLES.values()]
    return (setting / np.where(is_scaled, factor, 1.0))[np.newaxis]


DUPLICATED = {"duplicates": 0.05, "toptier": 0.01, "idlepage": 0.01}
"""Margins where V0 lists hardly a page twice, and visits pages in as many chunks as its one thread finds time for."""
SERIAL = dict.fromkeys((*COUNTED, "wasted"), 0.04)
"""Margins for V0, whose one thread drains the list between two chunks: how many chunks there are varies a little
more."""
RECHECKED = dict.fromkeys((*COUNTED, "wasted"), 0.05) | {"duplicates": 0.2, "peak_list": 0.2}
"""Margins for V3, where later entries of a page that failed the re-check count as stale."""


BY_CLASS = {"failed": 0.25, "migadded": 0.03, "slowtier": 0.03} | dict.fromkeys(("migrated", "demoted", "wasted"), 0.06)
"""Margins where the fast node fills up amid a region: its classes stand one after the other in the list, and those that
find no room are pages of the last ones. Beside, kswapd ages whole lumps, during which it frees nothing."""
IN_LUMPS = {"failed": 0.1} | dict.fromkeys(("migrated", "demoted", "hotpage", "wasted"), 0.06)
"""Margins where the latter is all."""
IN_ORDER = dict.fromkeys(("failed", "migadded", "slowtier"), 0.025) | dict.fromkeys(
    ("seconds", "own_seconds", "toptier", "idlepage"), 0.01
)
"""Margins where a region is all of one heat, as it ages."""


STEADY = dict.fromkeys(("idlepage", "migrated", "demoted"), 0.005)
"""Margins of the means alone where the throttle sets the pace: spreads are those of a handful of pages."""
LONG_STREAKS = {"failed": 0.04, "migadded": 0.02}
"""Margins where few pages come up to the threshold at a time, so that a region is more of a chunk's share of them."""
RACED = dict.fromkeys(("migrated", "demoted"), 0.01)
"""Margins where the migrator fills what room kswapd makes, page by page, all the time."""
IN_VAIN = dict.fromkeys(("numa_faults", "numa_candidates"), 0.005) | {"demoted": 0.06, "numa_promoted": 0.03}
"""Margins where all marked pages fault whatever happens, so that spreads are those of a page, and what leaves is the
tail of how long a page is not touched, while setting Accessed bits takes half of the threads' time."""
WASTED_BY_FAULTS = {"wasted": 0.02}
"""Margin of promotions of what is cold, a few, which depend on the hazard within a sub-step."""
BURSTS = {"demoted": 0.03, "numa_promoted": 0.03, "numa_candidates": 0.01, "wasted": 0.04} | dict.fromkeys(
    ("seconds", "own_seconds"), 0.005
)
"""Margins where a window is all of one heat, so that its pages fault within milliseconds while kswapd makes room."""
ONE_WINDOW = dict.fromkeys(("numa_marked", "numa_faults", "numa_promoted"), 0.02) | dict.fromkeys(
    ("seconds", "own_seconds"), 0.005
)
"""Margins of the means alone where the run may end just before or after its last window."""
ALIKE = {"wasted": math.inf} | dict.fromkeys(COUNTED, 0.04) | dict.fromkeys(("seconds", "own_seconds"), 0.02)
"""Margins for processes alike: as one record all end when each of several does on average, not with the last, and what
is hot enough for the fast tier is so among the pages of all, not of each."""
SWEPT = {"demoted": 0.1, "numa_promoted": 0.1, "wasted": 0.2} | dict.fromkeys(
    ("numa_candidates", "numa_marked", "numa_faults"), 0.015
)
"""Margins where a sweep touches a lump's pages at once, and more of them find no room than one by one."""


def beside(name: str, size: int, **process: Any) -> Process:
    """A process that runs the workload of a packaged scenario; fields as in YAML."""
    return Process.model_validate({"workload": load_scenario(name).workload, "size": f"{size}B"} | process)


def _without_variation(scenario: Scenario) -> Scenario:
    """The scenario with one phase order and phases of equal length."""
    fixed = {"phase_order": "fixed", "phase_length_jitter": 0.0}
    return scenario.model_copy(update={"workload": scenario.workload.model_copy(update=fixed)})


def _with_workload(scenario: Scenario, **changes: object) -> Scenario:
    return scenario.model_copy(update={"workload": scenario.workload.model_copy(update=changes)})


def _swept(scenario: Scenario, visits: str = "stride") -> Scenario:
    """The scenario with its classes visited in one sweep after another."""
    classes = tuple(page_class.model_copy(update={"visits": visits}) for page_class in scenario.workload.classes)
    return _with_workload(scenario, classes=classes)


def _by_the_clock(scenario: Scenario) -> Scenario:
    """The scenario with phases of 12 s, and a load that comes and goes three times as often."""
    own = tuple(phase.model_copy(update={"work": 1.0, "duration": 12.0}) for phase in scenario.workload.phases)
    steps = ((3.0, 1.0), (1.0, 0.3))
    load = tuple(LoadStep.model_construct(duration=seconds, share=share) for seconds, share in steps)
    return _with_workload(scenario, phases=own, load=load)


def _growing(scenario: Scenario) -> Scenario:
    """The scenario with the coldest of its classes there in every other phase of 20 s only."""
    (all_there,) = scenario.workload.phases
    gone = ("cool", "cold")
    share = {"hot": 0.92, "warm": 0.08}
    shrunk = Phase(name="shrunk", access_share=share, absent=gone)
    phases = tuple(phase.model_copy(update={"duration": 20.0}) for phase in (all_there, shrunk))
    return _with_workload(scenario, phases=phases)


def _with_platform(scenario: Scenario, cxl: Mapping[str, object] | None = None, **changes: object) -> Scenario:
    """The scenario on a platform that differs in this."""
    tier = scenario.platform.cxl.model_copy(update=cxl or {})
    return scenario.model_copy(update={"platform": scenario.platform.model_copy(update=changes | {"cxl": tier})})


def _stores(scenario: Scenario) -> Scenario:
    """The scenario with many stores to a card that takes few, and neighbouring lines fetched beside."""
    kind = {"store_share": 0.5, "traffic_per_access": 192, "cache_hit_share": 0.2}
    card = {"store_bandwidth": 9e9, "store_latency": 90e-9}
    return _with_platform(_with_workload(scenario, **kind), card)


def _futile(scenario: Scenario) -> Scenario:
    """The scenario with pages of one heat, more than the fast node holds, all of which any reclaim finds touched."""
    heat = {
        "classes": load_scenario("abench-8g").workload.classes,
        "phases": load_scenario("abench-8g").workload.phases,
    }
    hot = _with_workload(scenario, **heat, initial_placement="slow", accesses_per_page=1500.0)
    return _with_platform(hot, accessed_bit=1e-6)


def _in_order(scenario: Scenario) -> Scenario:
    """The scenario with its classes in address order, the coldest first, and their first addresses on fast memory."""
    order = {
        "classes": scenario.workload.classes[::-1],
        "layout": "address-order",
        "initial_placement": "address-order",
    }
    return _with_workload(scenario, **order)


def make_cases() -> dict[str, Case]:
    """The cases, by what is special about each."""
    v0, v1, v3 = (load_daemon(name) for name in ("kmmscand-v0", "kmmscand-v1", "kscand-v3"))
    fits = load_scenario("abench-8g").replace(daemon=v1, control="kernel-rule")
    skewed, moving = load_scenario("skewed"), _without_variation(load_scenario("moving-hot-set"))
    alone = {"control": "off", "numa_balancing_mode": 2}
    numa, threshold = load_daemon("numa-balancing"), load_daemon("kmmscand-threshold")
    short = load_scenario("abench-8g").workload.model_copy(update={"accesses_per_page": 8000.0})
    visitor = {"workload": short, "size": "8GiB", "start": "20s"}
    two = skewed.replace(size="8GiB", corunners=[visitor], remote_fast_capacity="2GiB")
    repeating = {"workload": short, "size": "4GiB", "lifetime": "repeating"}
    beside_repeating = skewed.replace(size="12GiB", corunners=[repeating], fast_capacity="24GiB")
    visiting = {"workload": short, "size": "4GiB", "lifetime": "periodic", "every": "45s"}
    beside_periodic = skewed.replace(size="12GiB", corunners=[visiting], fast_capacity="24GiB")
    four = _with_workload(skewed, initial_placement="slow").replace(size="4GiB", count=4)
    other_socket = [beside("skewed", 6 * GIB, cpu_node=1, scan_scale=4)]
    return {
        "everything fits": Case(fits, kernels_own),
        "everything fits, V1 under mode 1": Case(fits.replace(numa_balancing_mode=1), kernels_own),
        "over capacity, throttled": Case(skewed, always(500.0, 4 * GIB, 200 * MIB)),
        "over capacity, unlimited": Case(skewed, always(500.0, GIB, np.inf), RACED, BY_CLASS),
        "over capacity, V0": Case(
            skewed.replace(daemon=v0, control="kernel-rule"), kernels_own, DUPLICATED, SERIAL | IN_LUMPS
        ),
        "over capacity, V3": Case(skewed.replace(daemon=v3, control="kernel-rule"), kernels_own, RECHECKED, IN_LUMPS),
        "over capacity, mode 1": Case(skewed.replace(**alone | {"numa_balancing_mode": 1}), kernels_own),
        "over capacity, mode 2": Case(skewed.replace(**alone), kernels_own, WASTED_BY_FAULTS),
        "moving, throttled": Case(moving, always(500.0, 4 * GIB, 200 * MIB), STEADY, {"wasted": 0.02}),
        "moving, tuned at random": Case(moving, at_random(moving.daemon)),
        "moving, throttled, 4 windows": Case(
            moving.replace(daemon=threshold),
            always(500.0, 4 * GIB, 200 * MIB, access_threshold=4.0),
            coarse={"wasted": 0.03},
        ),
        "moving, throttled, 8 windows": Case(
            moving.replace(daemon=threshold),
            always(500.0, 4 * GIB, 200 * MIB, access_threshold=8.0),
            coarse=LONG_STREAKS,
        ),
        "moving, threshold tuned at random": Case(moving.replace(daemon=threshold), at_random(threshold)),
        "moving, NUMA balancing tuned at random": Case(moving.replace(daemon=numa), at_random(numa)),
        "moving, mode 2": Case(moving.replace(**alone), kernels_own),
        "two processes, one of which comes and goes": Case(
            two, always(500.0, 4 * GIB, 200 * MIB), coarse={"peak_list": 0.02}
        ),
        "two processes on two sockets, V3": Case(
            skewed.replace(
                size="10GiB",
                corunners=other_socket,
                daemon=v3,
                control="kernel-rule",
                remote_fast_capacity="3GiB",
            ),
            kernels_own,
            RECHECKED,
        ),
        "stores, mode 2": Case(_stores(skewed.replace(**alone)), kernels_own, WASTED_BY_FAULTS),
        "reclaim in vain, mode 2": Case(_futile(skewed.replace(**alone)), kernels_own, IN_VAIN),
        "address order, throttled": Case(_in_order(skewed), always(500.0, 4 * GIB, 200 * MIB), coarse=IN_ORDER),
        "address order, mode 2": Case(_in_order(skewed.replace(**alone)), kernels_own, BURSTS),
        "beside one that repeats, throttled": Case(beside_repeating, always(500.0, 4 * GIB, 200 * MIB)),
        "beside one that repeats, mode 2": Case(beside_repeating.replace(**alone), kernels_own, ONE_WINDOW),
        "four processes alike, throttled": Case(four, always(2000.0, GIB, 100 * MIB), ALIKE),
        "four processes alike, mode 2": Case(four.replace(**alone), kernels_own, ALIKE),
        # by half as much, else reclaim, which finds most pages swept, would set the pace
        "sweeps, throttled": Case(
            _swept(skewed), always(500.0, 4 * GIB, 100 * MIB), STEADY | {"wasted": 0.01}, {"wasted": 0.02}
        ),
        "sweeps, mode 2": Case(_swept(skewed.replace(**alone)), kernels_own, SWEPT),
        "streams, throttled": Case(_swept(skewed, "stream"), always(500.0, 4 * GIB, 100 * MIB)),
        "by the clock, throttled": Case(
            _by_the_clock(moving), always(500.0, 4 * GIB, 200 * MIB), STEADY, {"wasted": 0.025}
        ),
        "memory that comes and goes, throttled": Case(_growing(skewed), always(500.0, 4 * GIB, 200 * MIB)),
        "memory that comes and goes, mode 2": Case(_growing(skewed.replace(**alone)), kernels_own),
        "beside one that is periodic, throttled": Case(beside_periodic, always(500.0, 4 * GIB, 200 * MIB)),
    }


CASES = make_cases()


def run(system: Any, settings: Iterator[NDArray[np.float64]], factor: float, seed: int) -> list[float]:
    """What a run to completion ends with, in the order of `OUTCOMES`."""
    system.reset(np.array([seed], np.uint64), ["training"])
    first = next(settings, None)
    if first is not None:
        system.apply(_smaller(first, factor))
    for setting in settings:
        system.advance(2.0)
        system.apply(_smaller(setting, factor))
        if system.is_done[0]:
            break
    system.run_to_end()
    counters, model = system.counters[0], system.model[0]
    return [
        system.elapsed_s[0],
        system.finished_s[0, 0],
        *counters[list(COUNTED.values())],
        *model[list(MODELLED.values())],
    ]


def outcomes(system: Any, case: Case, first_seed: int) -> Outcomes:
    """Outcomes of many runs; the settings depend on the run alone, the seeds of the models differ."""
    factor = case.scenario.pages / PAGES
    runs = [run(system, case.settings(index), factor, first_seed + index) for index in range(NUM_SEEDS)]
    return dict(zip(OUTCOMES, np.array(runs, dtype=np.float64).T, strict=True))


@cache
def pages_outcomes(name: str) -> Outcomes:
    """Outcomes of the pages model."""
    return outcomes(PagesSystem(shrink(CASES[name].scenario, PAGES)), CASES[name], first_seed=1000)


def coarse_and_fine(case: Case) -> tuple[LumpedSystem, LumpedSystem]:
    """The lumped model at the shipped resolution and at a finer one."""
    small = shrink(case.scenario, PAGES)
    regions = FINE_REGIONS_WITH_FAULTS if small.numa_balancing_mode else FINE_REGIONS
    fine = small.model_copy(update={"regions": regions})
    return LumpedSystem([small]), LumpedSystem([fine], FINE_SUBSTEP_S, FINE_QUANTUM_S)


GROUPS = {
    "time": ("seconds", "own_seconds"),
    "promotions": ("migrated", "numa_promoted"),
    "demotions": ("demoted",),
    "entries listed": ("migadded",),
    "duplicates": ("duplicates",),
    "peak list": ("peak_list",),
    "other counters": ("slowtier", "toptier", "idlepage", "hotpage", "coldpage", "numa_marked", "numa_faults"),
}
"""What docs/model.md shows of the outcomes."""


def measured() -> list[dict[str, Any]]:
    """For each case the largest relative difference of means in each group, at the shipped resolution."""
    rows = []
    for name, case in CASES.items():
        pages, lumped = pages_outcomes(name), outcomes(coarse_and_fine(case)[0], case, first_seed=0)
        row: dict[str, Any] = {"scenario": name}
        for group, members in GROUPS.items():
            # of fewer than one in a hundred pages a relative difference says little
            seen = [member for member in members if pages[member].mean() > PAGES / 100 or "seconds" in member]
            row[group] = max(
                (lumped[member].mean() / pages[member].mean() - 1 for member in seen), key=abs, default=None
            )
        rows.append(row)
    return rows


@dataclass(frozen=True)
class Equivalence:
    """Show by how much the lumped model's outcomes differ from those of the pages model."""

    json: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write the result to this file, for machines."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table. Returns the exit code."""
    options = tyro.cli(Equivalence, args=arguments)
    rows = measured()
    cells = [(row["scenario"], *(_cell(row[group]) for group in GROUPS)) for row in rows]
    Console().print(plain_table("largest relative difference of means", ["scenario", *GROUPS], cells))
    if options.json is not None:
        report = {"schema": 1, "git_revision": git_revision(), "pages": PAGES, "seeds": NUM_SEEDS, "rows": rows}
        write_json(options.json, report)
    return 0


def _cell(difference: float | None) -> str:
    return "-" if difference is None else f"{100 * difference:+.2f} %"


if __name__ == "__main__":
    sys.exit(main())
