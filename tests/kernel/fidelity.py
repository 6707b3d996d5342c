"""`make kernel-fidelity`: counts what the daemon does in a real kernel, and writes that down as an experiment.

Its scenario is the guest as it was: how fast program, scanner, migrator and kswapd were is measured, and the kernel
says how many pages it keeps free. Nothing is fitted. `tierenv fidelity kernel` holds the model against it.
"""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import yaml

from tests.kernel.boots import STUDIES, WORK, prepare
from tests.kernel.packages import UnavailableError
from tests.kernel.qemu import Boot, BootError
from tierenv.experiments import Experiment
from tierenv.files import atomic_write_text
from tierenv.records import packaged, validate_record
from tierenv.scenario import Scenario
from tierenv.sim.parameters import access_time_s
from tierenv.train.provenance import git_revision
from tierenv.units import MIB, PAGE_BYTES

NAME = "kernel"
TARGET = packaged("measurements")["guest"].with_name(f"{NAME}.yaml")
TOLERANCE = {"share": 0.05}
HOT_ACCESSES = 0.9
"""Of all accesses of abench; the others fall on any page."""
PLACES = 4
"""Where abench's hot set is in turn."""

CHUNKS = "nr_kmmscand_mm_scans"
COUNTED = {
    "slow-tier hits": "nr_kmmscand_slowtier",
    "idle": "nr_kmmscand_idlepage",
    "listed": "nr_kmmscand_migadded",
    "migrated": "nr_kmmscand_migrated",
    "demoted": "pgdemote_kswapd",
}
"""Counters that are compared, by what people call them."""

HEAD = """\
# Counters of the module of `tierenv export --format daemon` in a QEMU guest, kernel {kernel}. Its decisions
# are real there, its speed is not, so that what a page took scanner, migrator and kswapd, and how often the program
# touched its memory, is measured and stands in the scenario. Nothing is fitted. The guest has one processor, and each
# chunk ends with a flush: an emulated TLB sets no Accessed bit again before. Counted is from the middle of a window to
# that of another, first after two chunks, one that only resets and one that has seen one window. Where the node is full
# it begins two moves of the hot set later; which pages reclaim takes is the kernel's own there: nothing is required.
# Made by `make kernel-fidelity` at revision {revision}.
summary: what the daemon counts in a real kernel, by scan period and throttle, and on a fast node that is full
source: own runs of the module, one of each setting
role: check
"""


@dataclass(frozen=True)
class Watch:
    """What was watched in a guest, as it has reported it."""

    row: Mapping[str, Any]

    @property
    def is_full(self) -> bool:
        """Whether every promotion takes a demotion."""
        return self.row["step"] == "full"

    @property
    def throttle(self) -> str:
        """As a scenario has it."""
        limit = self.row["throttle"]
        return limit if isinstance(limit, str) else f"{limit // MIB}MiB/s"

    @property
    def name(self) -> str:
        """Of its run."""
        limit = self.throttle.replace("/s", " a second").replace("MiB", " MiB")
        return f"{self.row['period_ms']} ms, " + ("node full" if self.is_full else limit)

    @property
    def pages(self) -> int:
        """Of the program."""
        return int(self.row["end"]["pages"])

    @property
    def hot(self) -> float:
        """Share of them that is hot."""
        return float(self.row["end"]["hot_pages"] / self.pages)

    @property
    def accesses_per_s(self) -> float:
        """Of the program, from its start to its end."""
        return float(self.row["end"]["accesses"] / self.row["end"]["elapsed_s"])

    @property
    def seconds(self) -> float:
        """That were counted."""
        return float(self.row["last"]["at_s"] - self.row["first"]["at_s"])

    def grown(self, counter: str) -> int:
        """What a counter has grown by in them."""
        return int(self.row["last"][counter] - self.row["first"][counter])


def experiment_of(guests: Sequence[Boot]) -> dict[str, Any]:
    """The experiment, but for what it says of itself."""
    watches = [Watch(row) for step in ("free", "full") for guest in guests for row in guest.steps(step)]
    scenario = scenario_of(watches)
    base = validate_record(Scenario, scenario, NAME)
    return {
        "scenario": scenario,
        "runs": {watch.name: run_of(watch, base) for watch in watches},
        "rows": [row for watch in watches for row in rows_of(watch)],
    }


def scenario_of(watches: list[Watch]) -> dict[str, Any]:
    """What the runs share: machine, daemon, and a program whose hot pages stay the same."""
    free = [watch for watch in watches if not watch.is_full]
    first, unlimited = free[0], [watch for watch in free if watch.throttle == "unlimited"]
    scanner_ns = sum(watch.grown("scanner_ns") for watch in free)
    migrator_ns = sum(watch.grown("migrator_ns") for watch in unlimited)
    return {
        "name": NAME,
        "platform": {
            "like": "amd-epyc-cxl",
            "name": "guest",
            "scan_per_page": _ns(scanner_ns / sum(watch.grown(CHUNKS) * watch.pages for watch in free)),
            "migration_per_page_at_8gib": _ns(
                migrator_ns / sum(watch.grown(COUNTED["migrated"]) for watch in unlimited)
            ),
            "migration_footprint_exponent": 0,
            # what the program loses to the daemon is in its measured speed
            "shootdown_receiver": "0s",
            "accessed_bit": "0s",
        },
        "daemon": {"like": "kmmscand-tunable", "initial_delay": "100ms"},
        "workload": {
            "name": "hot-tenth",
            "threads": first.row["end"]["threads"],
            "memory_parallelism": 1,
            "accesses_per_page": 1000,
            "layout": "address-order",
            **_heat({"hot": first.hot, "cold": 1 - first.hot}, ["hot"]),
        },
        "size": f"{first.pages * PAGE_BYTES}B",
        "fast_capacity": "512MiB",
        "demotion": False,
    }


def run_of(watch: Watch, base: Scenario) -> dict[str, Any]:
    """What differs in a run from the scenario, and which part of it was counted."""
    period, first, last = watch.row["period_ms"], watch.row["first"], watch.row["last"]
    think_s = watch.row["end"]["threads"] / watch.accesses_per_s - float(access_time_s(base, 0.5))
    run: dict[str, Any] = {
        "since": f"{first['at_s']:.4f}s",
        "duration": f"{last['at_s']:.4f}s",
        "daemon": {"tunables": {"scan_period": {"start": f"{period}ms"}, "throttle": {"start": watch.throttle}}},
        "workload": {"think": _ns(1e9 * think_s)},
    }
    return with_moves(watch, run) if watch.is_full else run


def with_moves(watch: Watch, run: dict[str, Any]) -> dict[str, Any]:
    """A run with a hot set that moves, on a node that does not hold all places where it is in turn."""
    move_s = watch.row["move_s"]
    zone = watch.row["zone"]
    capacity = watch.row["end"]["fast_pages"] + zone["free"]
    parts = {f"{part}{place}": size for place in range(PLACES) for part, size in _parts(watch.hot)}
    moves = math.ceil(watch.row["end"]["elapsed_s"] / move_s)
    return run | {
        "demotion": True,
        "size": f"{watch.pages * PAGE_BYTES}B",
        "fast_capacity": f"{capacity * PAGE_BYTES}B",
        "platform": {
            "demotion_per_page": _ns(watch.grown("kswapd_ns") / watch.grown(COUNTED["demoted"])),
            "promotion_watermark": round(zone["low"] / capacity, 6),
            "kswapd_target": round(zone["high"] / capacity, 6),
        },
        "workload": {
            **run["workload"],
            "accesses_per_page": round(moves * move_s * watch.accesses_per_s / watch.pages, 3),
            **_heat(parts, [f"hot{move % PLACES}" for move in range(moves)]),
        },
    }


def _parts(hot: float) -> Iterator[tuple[str, float]]:
    yield "hot", hot
    yield "rest", 1 / PLACES - hot


def _heat(parts: Mapping[str, float], hottest: list[str]) -> dict[str, Any]:
    """Classes by their share of the pages, and phases by which of them is hot."""

    def shares(hot: str) -> dict[str, float]:
        return {name: (1 - HOT_ACCESSES) * size + HOT_ACCESSES * (name == hot) for name, size in parts.items()}

    return {
        "classes": [{"name": name, "fraction": round(size, 8)} for name, size in parts.items()],
        "phases": [
            {"name": f"phase {number}", "access_share": {name: round(share, 8) for name, share in shares(hot).items()}}
            for number, hot in enumerate(hottest)
        ],
    }


def rows_of(watch: Watch) -> Iterator[dict[str, Any]]:
    """What was counted in a run."""
    requirement = {"tolerance": TOLERANCE} | ({} if watch.is_full else {"required": "tolerance"})

    def row(name: str, quantity: str, number: float) -> dict[str, Any]:
        row = {"id": f"{watch.name}: {name}", "run": watch.name, "quantity": quantity}
        return row | {"published": float(f"{number:.6g}")} | requirement

    yield row("chunks", f"{CHUNKS}_per_s", watch.grown(CHUNKS) / watch.seconds)
    for name, counter in COUNTED.items():
        if name != "demoted" or watch.is_full:
            yield row(name, f"{counter}_per_chunk", watch.grown(counter) / watch.grown(CHUNKS))


def _ns(number: float) -> str:
    return f"{number:.1f}ns"


def written(guests: list[Boot]) -> str:
    """The experiment as a file. Raises `ConfigError` where it is none."""
    experiment = experiment_of(guests)
    head = HEAD.format(kernel=guests[0].step("load")["kernel"], revision=git_revision())
    text = head + _block({"scenario": experiment["scenario"]}) + "runs:\n"
    text += "".join(f"  {_flow(name)}: {_flow(run)}\n" for name, run in experiment["runs"].items())
    text += "rows:\n" + "".join(f"  - {_flow(row)}\n" for row in experiment["rows"])
    validate_record(Experiment, yaml.safe_load(text) | {"name": NAME}, str(TARGET))
    return text


def _block(values: object) -> str:
    return yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=120)


def _flow(values: object) -> str:
    return (
        yaml.safe_dump(values, sort_keys=False, default_flow_style=True, width=math.inf).removesuffix("...\n").strip()
    )


def main() -> int:
    """Returns 0, or 2 where no guest can run."""
    try:
        run = prepare()
        with ThreadPoolExecutor(len(STUDIES)) as pool:
            guests = list(pool.map(lambda name: run(name, WORK / name), STUDIES))
    except (UnavailableError, BootError) as error:
        print(f"kernel-fidelity: {error}", file=sys.stderr)
        return 2
    atomic_write_text(TARGET, written(guests))
    print(f"{TARGET} is written; `tierenv fidelity {NAME}` shows the model beside it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
