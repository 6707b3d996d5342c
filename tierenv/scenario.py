"""Processes and scenarios: frozen records read from YAML (`tierenv.records`).

A scenario refers to its platform, its daemon and its workloads, or holds them.
"""

import itertools
import math
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tierenv.daemon import Daemon, HintFaultDaemon, HintFaultKnobs
from tierenv.objective import ObjectiveField, objective_name
from tierenv.platform import Platform
from tierenv.records import (
    Bytes,
    NamedRecord,
    Record,
    Reference,
    Seconds,
    load_record,
    validate_record,
)
from tierenv.units import CACHE_LINE_BYTES, DAY_S, GIB, PAGE_BYTES, format_bytes
from tierenv.workload import Workload

Control = Annotated[
    Literal["tunables", "kernel-rule", "off"],
    BeforeValidator(lambda control: "off" if control is False else control),  # what YAML reads in off
]
MAX_LUMPS = 1 << 16
"""Of a machine: regions times classes of all its processes. Each takes some kilobytes, and every scan looks at it."""
MAX_REGION_PAGES = 1 << 30
"""Pages of a lump are counted in 32 bits."""
MAX_DECISIONS = 100_000
"""Of a run: so many take about half a minute."""
NOMINAL_ACCESS_S = 150e-9
"""Latency between DRAM's and a card's: how long a run lasts about, before its platform is known."""
MIN_ROUND_S = 1.0
"""Of a process that begins again: a model looks at each end."""
MAX_CHANGES = 100_000
"""Of a process in a run, from one phase or step of its load to the next: a model looks at each."""
MAX_VISITS = 10**10
"""Of the scanner to a lump in a run: so many take some ten minutes."""
MAX_LUMP_S = 10**8
"""Seconds of a run times lumps: with NUMA balancing, which looks at lumps most often, so many take some ten minutes."""

NumaBalancingMode = Literal[0, 1, 2]
ScanScale = Annotated[int, Field(ge=0, le=10)]
"""prctl(PR_SET_PTE_A_SCAN_SCALE): 0 takes a process out of the scan (kmmscand.md section 5)."""


Lifetime = Literal["once", "endless", "repeating", "periodic"]
"""Whether a process does its work once; goes on, from its first phase again, until the application ends; or exits when
its work is done and is executed anew, at once or at set times."""

Count = Annotated[int, Field(ge=1, le=4096)]
"""Processes that are alike in everything and do the same at the same time."""

Weight = Annotated[float, Field(ge=0, le=1e6)]
"""Of a process in the objectives of slow-down."""


class Process(Record):
    """One process of a machine, or several alike: a workload over its own memory."""

    workload: Annotated[Workload, Reference("workloads")]
    """What it does."""
    size: Annotated[Bytes, Field(ge=64 * PAGE_BYTES)]
    """Resident memory of one."""
    count: Count = 1
    """How many there are, each with its own memory and threads."""
    start: Seconds = 0.0
    """Time at which it is executed."""
    lifetime: Lifetime = "once"
    """`once`: the run waits for it. `endless`: it begins again when it has done its work, until those have ended that
    the run waits for. `repeating`: so, too, but it exits before and is executed anew, its memory on the slow node.
    `periodic`: so, too, but only `every` so often, and in between it holds no memory."""
    every: Annotated[Seconds, Field(ge=MIN_ROUND_S)] | None = None
    """Of a periodic process: time from one execution to the next, counted from its start; one that is still at work by
    then is executed at the next multiple."""
    cpu_node: Literal[0, 1] = 0
    """Socket its threads run on."""
    scan_scale: ScanScale = 1
    """prctl(PR_SET_PTE_A_SCAN_SCALE): 0 takes it out of the scan, 2 to 10 may lengthen its period."""
    weight: Weight = 1.0
    """What its slow-down counts in objective mean-slowdown; 0 leaves it out there and in worst-slowdown."""

    @property
    def is_awaited(self) -> bool:
        """Whether it ends, and the run waits for it."""
        return self.lifetime == "once"

    @property
    def pages(self) -> int:
        """Resident pages of all."""
        return self.count * (self.size // PAGE_BYTES)

    @property
    def threads(self) -> int:
        """Threads of all."""
        return self.count * self.workload.threads

    def thread_seconds(self, seconds: ArrayLike) -> NDArray[np.float64]:
        """Time that its threads have worked by so many seconds after its start, as its load has it [s].

        NaN of one that pauses, or begins its load anew nobody knows when.
        """
        if self.lifetime == "periodic" or (self.lifetime == "repeating" and self.workload.load):
            return np.full(np.shape(seconds), np.nan)
        elapsed = np.asarray(seconds, dtype=np.float64)
        load = self.workload.load
        if not load:
            return self.threads * elapsed
        ends = np.cumsum([0.0, *(step.duration for step in load)])
        worked = np.cumsum([0.0, *(step.duration * step.share for step in load)])
        rounds, rest = np.divmod(elapsed, ends[-1])
        return self.threads * (rounds * worked[-1] + np.interp(rest, ends, worked))

    @property
    def starts_on_slow_node(self) -> bool:
        """Whether none of its pages starts on a fast node."""
        return self.workload.initial_placement == "slow" and not any(
            page_class.fast_at_start for page_class in self.workload.classes
        )

    @property
    def total_accesses(self) -> float:
        """Work [accesses of all threads]."""
        return self.workload.accesses_per_page * self.pages

    @cached_property
    def active_pages(self) -> float:
        """Pages one is busy with: as many as, touched alike, would leave the address of an access as uncertain [1].

        That is 2 to the entropy of the page an access falls on, averaged over the phases by what a run has of them. How
        often a page walk leaves the caches goes by how many pages share them, not by what is resident.
        """
        bits, length = 0.0, 0.0
        for phase, part in zip(self.workload.phases, self.phase_lengths, strict=True):
            for page_class, pages in zip(self.workload.classes, self.class_pages, strict=True):
                share = phase.access_share.get(page_class.name, 0.0)
                if share > 0 and pages > 0:
                    bits += part * share * math.log2(pages / (share * self.count))
            length += part
        return 2.0 ** (bits / length)

    @property
    def phase_lengths(self) -> list[float]:
        """How much of a run each phase is: work, or the time it has in a run of accesses that take NOMINAL_ACCESS_S."""
        workload = self.workload
        lengths = [phase.length for phase in workload.phases]
        if not workload.is_timed:
            return lengths
        access_s = workload.think + (1 - workload.cache_hit_share) * NOMINAL_ACCESS_S / workload.memory_parallelism
        rounds, rest_s = divmod(workload.loaded_s(self.total_accesses * access_s / self.threads), sum(lengths))
        ends = itertools.accumulate(lengths)
        return [
            rounds * length + min(length, max(0.0, rest_s - (end - length)))
            for end, length in zip(ends, lengths, strict=True)
        ]

    @property
    def most_resident_pages(self) -> int:
        """Pages that all of them hold at a time, in the phase that has most."""
        names = [page_class.name for page_class in self.workload.classes]
        return max(
            sum(pages for name, pages in zip(names, self.class_pages, strict=True) if name not in phase.absent)
            for phase in self.workload.phases
        )

    @property
    def comes_and_goes(self) -> bool:
        """Whether memory of it is freed and allocated anew in the course of a run."""
        return self.lifetime in ("repeating", "periodic") or any(phase.absent for phase in self.workload.phases)

    @property
    def class_pages(self) -> list[int]:
        """Pages of each class in all of them, rounded so that they add up to `pages`."""
        edges = [0.0, *itertools.accumulate(page_class.fraction for page_class in self.workload.classes)]
        ends = [round(edge * self.pages) for edge in edges]
        ends[-1] = self.pages
        return [high - low for low, high in itertools.pairwise(ends)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.start > 0 and not self.starts_on_slow_node:
            raise ValueError(
                f"start={self.start:g}s: a process that starts later finds room on the slow node only; "
                f"workload {self.workload.name} must have initial_placement: slow and no fast_at_start"
            )
        if self.weight != 1 and not self.is_awaited:
            raise ValueError(
                f"weight={self.weight:g}: a process with lifetime={self.lifetime} never ends and is not judged; leave "
                "weight out"
            )
        if self.lifetime == "periodic" and self.every is None:
            raise ValueError("every: is missing; a process with lifetime=periodic must have one")
        if self.lifetime != "periodic" and self.every is not None:
            raise ValueError(f"every={self.every:g}s: must be left out where lifetime={self.lifetime}")
        return self


class Scenario(NamedRecord):
    """A workload of a given size on a platform whose fast tier has a given capacity, under a daemon.

    Other processes may run beside it (`corunners`); the run is complete when the last is that does its work once.
    """

    platform: Annotated[Platform, Reference("platforms")]
    """The machine."""
    daemon: Annotated[Daemon, Reference("daemons")]
    """What promotes."""
    workload: Annotated[Workload, Reference("workloads")]
    """What the application does."""
    size: Annotated[Bytes, Field(ge=64 * PAGE_BYTES)]
    """Resident memory of the application."""
    count: Count = 1
    """Applications alike, each with its own memory and threads."""
    scan_scale: ScanScale = 1
    """prctl(PR_SET_PTE_A_SCAN_SCALE) of the application; see `AccessedBitDaemon.scale_rule`."""
    weight: Weight = 1.0
    """As that of a process."""
    corunners: tuple[Process, ...] = ()
    """Other processes, in the order in which they start: that of their registration, in which they are scanned."""
    fast_capacity: Annotated[Bytes, Field(ge=64 * PAGE_BYTES)]
    """DRAM of node 0, on whose socket the application's threads run; at most what the platform has there."""
    remote_fast_capacity: Bytes = 0
    """DRAM of the other socket, node 1, as far as it belongs to the fast tier; 0: none."""
    slow_capacity: Annotated[Bytes, Field(ge=64 * PAGE_BYTES)] | None = None
    """Memory of the slow node; None for all the platform has there."""
    target_node: Literal[0, 1] = 0
    """/sys/kernel/mm/kmmscand/target_node: where promotions go if a scan has seen no top-tier page."""
    demotion: bool = True
    """Whether kswapd demotes cold pages of the fast tier (/sys/kernel/mm/numa/demotion_enabled)."""
    control: Control = "tunables"
    """Who sets the tunables: the caller, the kernel's adaptation rule, or nobody because the daemon is off."""
    numa_balancing_mode: NumaBalancingMode | None = None
    """/proc/sys/kernel/numa_balancing: 0 off, 1 normal, 2 memory tiering; None for the daemon's mode where it is NUMA
    balancing itself, and otherwise 0."""
    numa_balancing: HintFaultKnobs = HintFaultKnobs()
    """Knobs of NUMA balancing beside a daemon that scans Accessed bits."""
    control_interval: Annotated[Seconds, Field(ge=1e-3)] = 2.0
    """Time from one decision of a policy to the next."""
    objective: ObjectiveField = "last-end"
    """What policies are judged by; less is better. `last-end`: time to the end of the last process that the run waits
    for. `application`: to that of the application. `mean-slowdown`: weighted mean over these processes of time over
    time alone with all memory fast. `worst-slowdown`: the worst of them. `access-time`, or `access_time` with its
    fields: a percentile of the mean access time."""
    regions: Annotated[int, Field(ge=1, le=4096)] = 64
    """Resolution of the model: lumps per class."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        starts = [process.start for process in self.corunners]
        if starts != sorted(starts):
            raise ValueError(f"corunners: must be in the order in which they start, got {starts} s")
        if 0 < self.remote_fast_capacity < 64 * PAGE_BYTES:
            raise ValueError(f"remote_fast_capacity={self.remote_fast_capacity}B: must be 0B or at least 256KiB")
        if self.target_node > 0 and not self.remote_fast_capacity:
            raise ValueError(f"target_node={self.target_node}: must be a node of the fast tier, which is node 0 alone")
        self._check_objective()
        self._check_counts()
        self._check_capacities()
        if isinstance(self.daemon, HintFaultDaemon):
            self._check_numa_balancing(self.daemon)
        self._check_resolution()
        self._check_duration()
        return self

    def _check_objective(self) -> None:
        """Refuse slow-downs of nobody."""
        is_of_slowdowns = self.objective in ("mean-slowdown", "worst-slowdown")
        if is_of_slowdowns and not any(process.weight > 0 for process in self.processes if process.is_awaited):
            raise ValueError(f"weight=0: objective {self.objective} needs a process that ends with a weight above 0")

    def _check_counts(self) -> None:
        """Refuse processes alike under a rule that adapts to each of them by itself."""
        is_ruled = self.control == "kernel-rule" or not self.daemon.tunable_at_run_time
        if is_ruled and self.control != "off" and not isinstance(self.daemon, HintFaultDaemon):
            for process in self.processes:
                if process.count > 1:
                    raise ValueError(
                        f"count={process.count}: must be 1 where a rule sets period and size of each process; list "
                        "them one by one as corunners"
                    )

    def _check_capacities(self) -> None:
        """Refuse more memory than the platform has, and more pages than the nodes they start on hold."""
        platform = self.platform
        if self.remote_fast_capacity and platform.sockets == 1:
            raise ValueError(
                f"remote_fast_capacity={format_bytes(self.remote_fast_capacity)}: platform {platform.name} has one "
                "socket; must be 0B"
            )
        for field, size, tier in (
            ("fast_capacity", self.fast_capacity, platform.dram),
            ("remote_fast_capacity", self.remote_fast_capacity, platform.dram),
            ("slow_capacity", self.slow_capacity or 0, platform.cxl),
        ):
            if size > tier.capacity:
                raise ValueError(
                    f"{field}={format_bytes(size)}: must be at most {format_bytes(tier.capacity)}, what a node of "
                    f"platform {platform.name} has"
                )
        room = sum(capacity - round(platform.kswapd_target * capacity) for capacity in self.node_capacity_pages)
        asked, filling = 0, 0
        for process in self.processes:
            for page_class, pages in zip(process.workload.classes, process.class_pages, strict=True):
                if not process.workload.may_start_with(page_class.name):
                    continue
                if page_class.fast_at_start is not None:
                    asked += round(page_class.fast_at_start * pages)
                elif process.workload.initial_placement != "slow":
                    filling += pages
        if asked > room:
            raise ValueError(
                f"classes: fast_at_start asks for {format_bytes(asked * PAGE_BYTES)} of the fast nodes, of which "
                f"{format_bytes(room * PAGE_BYTES)} can be filled"
            )
        most = sum(process.most_resident_pages for process in self.processes)
        on_slow = most - asked - min(filling, room - asked)
        if any(process.comes_and_goes for process in self.processes):
            on_slow = most  # where it is allocated anew, and what it left on fast nodes others may have taken
        if on_slow > self.slow_capacity_pages:
            raise ValueError(
                f"size={format_bytes(self.size)}: {format_bytes(on_slow * PAGE_BYTES)} of all processes would start, "
                f"or start anew, on the slow node, which holds {format_bytes(self.slow_capacity_pages * PAGE_BYTES)}"
            )

    def _check_numa_balancing(self, daemon: HintFaultDaemon) -> None:
        if self.numa_balancing_mode not in (None, daemon.mode):
            raise ValueError(
                f"numa_balancing_mode={self.numa_balancing_mode}: daemon {daemon.name} is NUMA balancing in mode "
                f"{daemon.mode}; leave numa_balancing_mode out"
            )
        if self.numa_balancing != HintFaultKnobs():
            raise ValueError(f"numa_balancing: daemon {daemon.name} has knobs of its own; leave numa_balancing out")

    def _check_resolution(self) -> None:
        """Refuse classes without a page, and more or larger lumps than a model holds."""
        for process in self.processes:
            for page_class, pages in zip(process.workload.classes, process.class_pages, strict=True):
                if pages == 0:
                    raise ValueError(
                        f"size={format_bytes(process.size)}: class {page_class.name} of workload "
                        f"{process.workload.name} has no page of it; its fraction, {page_class.fraction:g}, must be "
                        f"at least {1 / process.pages:g}"
                    )
        lumps = self.regions * len(self.class_pages)
        if lumps > MAX_LUMPS:
            raise ValueError(
                f"regions={self.regions}: must be at most {MAX_LUMPS // len(self.class_pages)} with "
                f"{len(self.class_pages)} classes"
            )
        least = math.ceil(max(process.pages for process in self.processes) / MAX_REGION_PAGES)
        if self.regions < least:
            raise ValueError(f"regions={self.regions}: must be at least {least} for this much memory")

    def _check_duration(self) -> None:
        """Refuse runs nobody would see the end of."""
        once = [process for process in self.processes if process.is_awaited]
        longest_s = sum(self._longest_s(process) for process in once)
        # those that never end take their part of the memory as long as any runs
        longest_s *= sum(process.threads for process in self.processes) / sum(process.threads for process in once)
        longest_s += max(process.start for process in once)
        for process in self.corunners:
            if process.lifetime in ("endless", "repeating") and self._shortest_s(process) < MIN_ROUND_S:
                raise ValueError(
                    f"accesses_per_page={process.workload.accesses_per_page:g}: workload {process.workload.name} of a "
                    f"process with lifetime={process.lifetime} takes {self._shortest_s(process):.3g} s at best; must "
                    f"take at least {MIN_ROUND_S:g} s"
                )
        if longest_s > DAY_S:
            raise ValueError(
                f"accesses_per_page={self.workload.accesses_per_page:g}: on the slower tier all work together would "
                f"take about {longest_s:.3g} s; must take at most a day, {DAY_S:g} s"
            )
        self._check_changes(longest_s)
        num_classes = len(self.class_pages)
        most_regions = MAX_LUMP_S / (longest_s * num_classes)
        if self.regions > most_regions:
            raise ValueError(
                f"regions={self.regions}: must be at most {most_regions:.0f} with {num_classes} classes in the "
                f"{longest_s:.3g} s this run may take"
            )
        most = {"control_interval": (self.control_interval, MAX_DECISIONS)}
        if bounds := self.daemon.tunables.get("scan_period"):
            most["daemon.tunables.scan_period.min"] = (bounds.min / 1e3, MAX_VISITS // (self.regions * num_classes))
        for field, (interval_s, count) in most.items():
            if longest_s > count * interval_s:
                raise ValueError(
                    f"{field}={interval_s:g}s: must be at least {longest_s / count:.3g}s, a {count:,}th of the "
                    f"{longest_s:.3g} s this run may take"
                )

    def _check_changes(self, longest_s: float) -> None:
        """Refuse phases and steps of a load that end more often in a run than anybody wants to wait for."""
        for process in self.processes:
            workload = process.workload
            for field, durations in (
                ("phases", [phase.duration for phase in workload.phases if phase.duration is not None]),
                ("load", [step.duration for step in workload.load]),
            ):
                changes = longest_s * len(durations) / sum(durations) if durations else 0.0
                if changes > MAX_CHANGES:
                    raise ValueError(
                        f"{field}: those of workload {workload.name} last {sum(durations) / len(durations):.3g} s on "
                        f"average; must last at least {longest_s / MAX_CHANGES:.3g} s, a {MAX_CHANGES:,}th of the "
                        f"{longest_s:.3g} s this run may take"
                    )

    def _shortest_s(self, process: Process) -> float:
        """The least time a process takes, alone with its memory on the faster tier [s]."""
        platform, workload = self.platform, process.workload
        latency_s = min(tier.access_latency(workload.store_share) for tier in (platform.dram, platform.cxl))
        missing = 1 - workload.cache_hit_share
        return workload.loaded_s(
            process.total_accesses
            / process.threads
            * (workload.think + missing * latency_s / workload.memory_parallelism)
        )

    def _longest_s(self, process: Process) -> float:
        """About the most time a process takes alone, its memory on the slower tier and nothing in its way [s].

        It keeps that tier less than half busy, which no more than doubles the queueing latency's share, or else more.
        """
        platform, workload = self.platform, process.workload
        work = process.total_accesses
        missing = 1 - workload.cache_hit_share
        latency_s = self.page_walk_s(process) + platform.remote_latency
        full_s = max(
            max(
                work
                / process.threads
                * (
                    workload.think
                    + missing
                    * (latency_s + tier.access_latency(workload.store_share) + tier.queueing_latency)
                    / workload.memory_parallelism
                ),
                2
                * work
                * missing
                * (
                    workload.traffic_per_access / tier.bandwidth + workload.store_share * CACHE_LINE_BYTES / tier.writes
                ),
            )
            for tier in (platform.dram, platform.cxl)
        )
        return workload.loaded_s(full_s)

    @property
    def hint_faults(self) -> tuple[NumaBalancingMode, HintFaultKnobs]:
        """Mode and knobs of NUMA balancing, whether it is the daemon or runs beside it."""
        if isinstance(self.daemon, HintFaultDaemon):
            return (0 if self.control == "off" else self.daemon.mode), self.daemon.knobs
        return self.numa_balancing_mode or 0, self.numa_balancing

    @cached_property
    def processes(self) -> tuple[Process, ...]:
        """The application and its corunners."""
        application = Process.model_construct(
            workload=self.workload,
            size=self.size,
            count=self.count,
            scan_scale=self.scan_scale,
            weight=self.weight,
        )
        return (application, *self.corunners)

    def one_by_one(self) -> "Scenario":
        """The scenario with every process of its own in place of several alike."""
        copies = [process.model_copy(update={"count": 1}) for process in self.processes for _ in range(process.count)]
        return self.model_copy(update={"count": 1, "corunners": tuple(copies[1:])})

    @property
    def pages(self) -> int:
        """Resident pages of all processes."""
        return sum(process.pages for process in self.processes)

    @property
    def node_capacity_pages(self) -> list[int]:
        """Pages each node of the fast tier holds."""
        return [size // PAGE_BYTES for size in (self.fast_capacity, self.remote_fast_capacity) if size]

    @property
    def fast_capacity_pages(self) -> int:
        """Pages the fast tier holds."""
        return sum(self.node_capacity_pages)

    @property
    def slow_capacity_pages(self) -> int:
        """Pages the slow node holds."""
        return (self.slow_capacity or self.platform.cxl.capacity) // PAGE_BYTES

    @property
    def kernel_memory(self) -> int:
        """Memory from which the kernel takes the entries of the migration list [bytes].

        The other socket's as far as it does not belong to the fast tier, and what kswapd keeps free on the nodes that
        do: an allocation falls back from node to node.
        """
        others = self.platform.dram.capacity * (self.platform.sockets - 1) - self.remote_fast_capacity
        return others + round(self.platform.kswapd_target * (self.fast_capacity + self.remote_fast_capacity))

    @property
    def total_accesses(self) -> float:
        """Work of one run [accesses of all threads]: that of the processes it waits for."""
        return sum(process.total_accesses for process in self.processes if process.is_awaited)

    @property
    def class_pages(self) -> list[int]:
        """Pages of each class, those of the application first."""
        return [pages for process in self.processes for pages in process.class_pages]

    @property
    def class_names(self) -> list[str]:
        """Name of each class, those of a corunner after its workload."""
        own = [page_class.name for page_class in self.workload.classes]
        return own + [
            f"{process.workload.name}/{page_class.name}"
            for process in self.corunners
            for page_class in process.workload.classes
        ]

    @property
    def process_names(self) -> list[str]:
        """Name of each process: that of its workload, numbered from the second that has it."""
        names = [process.workload.name for process in self.processes]
        before = [names[:index].count(name) for index, name in enumerate(names)]
        return [f"{name} {count + 1}" if count else name for name, count in zip(names, before, strict=True)]

    @property
    def migration_s(self) -> float:
        """Migrator time for one promotion at the footprint of all processes [s]."""
        growth = (self.pages * PAGE_BYTES / (8 * GIB)) ** self.platform.migration_footprint_exponent
        return self.platform.migration_per_page_at_8gib * growth

    def page_walk_s(self, process: Process) -> float:
        """Page-walk time of one access to a process's active memory, before memory parallelism [s]."""
        return self.platform.page_walk_per_doubling * max(0.0, math.log2(process.active_pages * PAGE_BYTES / GIB))

    def under(self, daemon: Daemon, **changes: Any) -> "Scenario":
        """A copy with another daemon, and no NUMA balancing beside one that is NUMA balancing itself."""
        if isinstance(daemon, HintFaultDaemon):
            changes = {"numa_balancing_mode": None, "numa_balancing": HintFaultKnobs()} | changes
        return self.replace(daemon=daemon, **changes)

    def replace(self, **changes: Any) -> "Scenario":
        """A copy with other fields, validated; values as in YAML ("16GiB"), or whole records."""
        new = {key: _dumped(value) for key, value in changes.items()}
        return validate_record(Scenario, self.model_dump() | new, f"scenario {self.name}")

    def __str__(self) -> str:
        """One line for people."""
        fast = format_bytes(self.fast_capacity + self.remote_fast_capacity)
        resident = format_bytes(self.pages * PAGE_BYTES)
        objective = "" if self.objective == "last-end" else f", objective {objective_name(self.objective)}"
        return f"{self.name}: {resident} on {self.platform.name}, fast tier {fast}, {self.daemon.name}{objective}"


def _check_names_differ(scenarios: tuple[Scenario, ...]) -> tuple[Scenario, ...]:
    names = [scenario.name for scenario in scenarios]
    if len(set(names)) < len(names):
        raise ValueError(f"names must differ, got {', '.join(names)}")
    return scenarios


Scenarios = Annotated[
    tuple[Annotated[Scenario, Reference("scenarios")], ...], Field(min_length=1), AfterValidator(_check_names_differ)
]
"""Scenarios that are used together: results tell them apart by their names."""


def load_scenario(name_or_path: str) -> Scenario:
    """Read a scenario and the platform, daemon and workload it names. Raises `ConfigError`."""
    return load_record("scenarios", Scenario, name_or_path)


def _dumped(value: object) -> object:
    """Records as the mappings they are read from, also within sequences."""
    if isinstance(value, list | tuple):
        return [_dumped(entry) for entry in value]
    return value.model_dump() if isinstance(value, Record) else value
