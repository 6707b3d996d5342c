"""Format `daemon`: the daemon itself, as the source of a kernel module that a policy, a setting or its rule steers.

The C stands in daemon_source; this module fills in ranges, what the daemon's record says, and the sample of a learned
policy, whose own C is that of format `kernel-c`.
"""

import math
from dataclasses import dataclass
from importlib import resources

from tierenv import __version__
from tierenv.agents.export import ExportRequest
from tierenv.agents.export.header import Origin
from tierenv.agents.export.kernel_c import c_files, filled, provenance, quoted
from tierenv.agents.export.learned_source import LearnedSource, requested_source
from tierenv.agents.export.modelled import modelled_setting
from tierenv.agents.integer.arithmetic import tunable_ranges
from tierenv.agents.integer.interface import Interface
from tierenv.agents.policies import POLICIES
from tierenv.counters import COUNTER_INDEX, COUNTERS
from tierenv.daemon import AccessedBitDaemon, Daemon
from tierenv.errors import ConfigError
from tierenv.features import ELAPSED, FAST_NODE_PAGES, RESIDENT_PAGES, TIER_FACTS, Count, Size
from tierenv.files import atomic_folder
from tierenv.tunables import TUNABLES, WINDOWS_OF_SECOND_ACCESS, Setting

LEARNED_SOURCE = "learned.c"
RULE = "built-in"
"""Policy that leaves the tunables to the kernel's rule."""
UNSTEERED_INTERVAL_MS = 2000
"""Control interval where no policy has one."""

IMPLEMENTED = {
    "access_rule": "second-access",
    "first_visit_resets": True,
    "chunk_rule": "scan-size",
    "rechecks_hotness": False,
    "target_rule": "most-scanned",
    "scale_rule": "zero-skips",
    "failure_window": None,
    "has_migration_thread": True,
    "counts_all_slow_pages": False,
    "tunable_at_run_time": True,
}
"""What the C does, in the terms of a daemon's record."""

SAMPLED = {
    "pgdemote_kswapd": "now.pgdemote_kswapd",
    "free_fast_pages": "free_fast_pages()",
    FAST_NODE_PAGES.symbol: "fast_node_pages()",
    RESIDENT_PAGES.symbol: "tierd_resident_pages()",
    **{fact.symbol: fact.symbol for fact in TIER_FACTS},
}
"""C of what a sample can hold, by symbol, beside the module's own counters."""

OWN_COUNTERS = frozenset(
    {
        "nr_kmmscand_mm_scans",
        "nr_kmmscand_vma_scans",
        "nr_kmmscand_migadded",
        "nr_kmmscand_migrated",
        "nr_kmmscand_migrate_failed",
        "nr_kmmscand_slowtier",
        "nr_kmmscand_toptier",
        "nr_kmmscand_idlepage",
        "migrator_ns",
        "scanner_ns",
    }
)
"""Symbols of the counters that the module keeps itself."""


@dataclass(frozen=True)
class Steering:
    """What sets the tunables of a module, and how they start."""

    daemon: AccessedBitDaemon
    origin: Origin
    start: Setting
    policy: str
    """OFF, RULE or LEARNED in C."""
    interval_ms: int
    learned: LearnedSource | None = None


def write(request: ExportRequest) -> None:
    """Write a folder that `make` builds. Raises `ConfigError` for what the module cannot be."""
    steering = _steering(request)
    files = _static_files() | {"settings.h": _settings(steering)}
    policy_objects = ""
    if steering.learned is not None:
        files |= c_files(request.policy, steering.learned)
        files[LEARNED_SOURCE] = filled(_template(LEARNED_SOURCE), _learned_marks(request.policy, steering.learned))
        policy_objects = " learned.o tierenv_policy.o"
    files["Kbuild"] = filled(_template("Kbuild"), {"POLICY_OBJECTS": policy_objects})
    files["dkms.conf"] = filled(_template("dkms.conf"), {"VERSION": __version__})
    with atomic_folder(request.output) as folder:
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")


def _steering(request: ExportRequest) -> Steering:
    name = request.policy.partition(":")[0]
    if name == RULE:
        return _ruled(request)
    if name in POLICIES:
        modelled = modelled_setting(request)
        daemon = _implemented(request.policy, modelled.scenario.daemon)
        return Steering(daemon, modelled.origin, modelled.setting, "OFF", UNSTEERED_INTERVAL_MS)
    source = requested_source(request)
    daemon = _implemented(request.policy, source.daemon)
    return Steering(
        daemon, source.origin, daemon.start_setting, "LEARNED", source.control_interval_ms(request.policy), source
    )


def _ruled(request: ExportRequest) -> Steering:
    if request.scenario is None:
        raise ConfigError(f"policy {request.policy!r}: name the scenario it is for (--scenario)")
    daemon = _implemented(request.policy, request.scenario.daemon)
    origin = Origin(
        policy=RULE,
        training_run="none: the kernel's own rule for period and size",
        trained_for=str(request.scenario),
        daemon=daemon.name,
        gains=request.gains,
    )
    return Steering(daemon, origin, daemon.start_setting, "RULE", UNSTEERED_INTERVAL_MS)


def _implemented(policy: str, daemon: Daemon) -> AccessedBitDaemon:
    """The daemon, if it is what the C does."""
    if not isinstance(daemon, AccessedBitDaemon):
        raise ConfigError(
            f"{policy}: is for daemon {daemon.name}, which kernels have themselves; use format controller for a "
            "learned policy, sysfs or tuned for a setting"
        )
    for field, value in IMPLEMENTED.items():
        if getattr(daemon, field) != value:
            raise ConfigError(
                f"{policy}: daemon {daemon.name}: {field}={getattr(daemon, field)}: the module does {value} only, as "
                "kmmscand-tunable"
            )
    tunables = ("scan_period", "scan_size", "throttle")
    if tuple(daemon.tunables) != tunables:
        raise ConfigError(
            f"{policy}: daemon {daemon.name} has the tunables {', '.join(daemon.tunables)}; the module has "
            f"{', '.join(tunables)}"
        )
    return daemon


def _settings(steering: Steering) -> str:
    daemon, title = steering.daemon, "Settings of tierd, written by tierenv export --format daemon."
    values = {
        "PROVENANCE": provenance(title, steering.origin),
        "TUNABLES": "\n".join(_tunable_lines(steering)),
        "INITIAL_DELAY_MS": _milliseconds(daemon.initial_delay),
        "SCAN_SLEEP_MS": _milliseconds(daemon.scan_sleep),
        "MMS_TO_SCAN": str(daemon.mms_to_scan),
        "MIGRATE_SLEEP_MS": _milliseconds(daemon.migrate_sleep),
        "THROTTLE_WINDOW_MS": _milliseconds(daemon.throttle_window),
        "DECAY_SHIFT": str(daemon.decay_shift),
        "IGNORE_THRESHOLD_PAGES": str(daemon.ignore_threshold_pages),
        "PERIOD_STEP_PERCENT": str(daemon.period_step_percent),
        "PERIOD_JUMP_SHIFT": str(daemon.period_jump_shift),
        "PASSES_WITHOUT_HITS": str(WINDOWS_OF_SECOND_ACCESS),
        "HAS_POLICY": str(int(steering.learned is not None)),
        "POLICY_START": f"TIERD_POLICY_{steering.policy}",
        "POLICY_NAME": quoted(steering.origin.policy),
        "CONTROL_INTERVAL_MS": str(steering.interval_ms),
    }
    return filled(_template("settings.h"), values)


def _tunable_lines(steering: Steering) -> list[str]:
    ranges = zip(steering.daemon.tunables, tunable_ranges(steering.daemon), strict=True)
    return [
        f"#define TIERD_{TUNABLES[name].symbol.upper()}_{end} {_constant(value)}"
        for name, span in ranges
        for end, value in (("MIN", span.min), ("MAX", span.max), ("START", steering.start[name]))
    ]


def _constant(value: float) -> str:
    return "TIERD_UNLIMITED" if math.isinf(value) else f"{round(value)}ULL"


def _milliseconds(seconds: float) -> str:
    return f"{round(1000 * seconds)}ULL"


def _learned_marks(name: str, source: LearnedSource) -> dict[str, str]:
    """What is filled into learned.c. Raises `ConfigError` for a counter that the module does not have."""
    interface = Interface(source.daemon, source.observation)
    facts = [size for size in interface.sizes if size in TIER_FACTS]
    return {
        "SAMPLE": _sample(name, interface),
        "PARAMETERS": "".join(_parameter(fact) for fact in facts),
        "FACTS": "".join(f'\t\t{{ "{fact.symbol}", &{fact.symbol} }},\n' for fact in facts),
    }


def _parameter(fact: Size) -> str:
    """A number that modules cannot ask the kernel for, so that whoever loads it says it."""
    name = fact.symbol
    return (
        f"static unsigned int {name};\nmodule_param({name}, uint, 0400);\n"
        f'MODULE_PARM_DESC({name}, "{quoted(fact.meaning)}");\n\n'
    )


def _sample(name: str, interface: Interface) -> str:
    """Statements that fill in a sample. Raises `ConfigError` for a counter that the module does not have."""
    lines = [f"\tsample->{symbol} = {_count(name, count)};" for symbol, count in interface.increments.items()]
    lines.append(f"\tsample->{ELAPSED.symbol} = now.time_ns - before.time_ns;")
    lines += [f"\tsample->{symbol} = {_count(name, count)};" for symbol, count in interface.levels.items()]
    lines += [f"\tsample->{size.symbol} = {SAMPLED[size.symbol]};" for size in interface.sizes]
    return "\n".join(lines)


def _count(name: str, count: Count) -> str:
    terms = []
    for sign, counter in count.terms:
        symbol = COUNTERS[COUNTER_INDEX[counter]].symbol
        if symbol in OWN_COUNTERS:
            term = f"{'GROWTH' if count.is_increment else 'STANDING'}({symbol})"
        elif symbol in SAMPLED:
            term = SAMPLED[symbol] + f" - {SAMPLED[symbol].replace('now', 'before')}" * count.is_increment
        else:
            raise ConfigError(f"{name}: observes {counter}, which the module does not count")
        terms.append(f"{'+' if sign > 0 else '-'} {term}")
    return " ".join(terms).removeprefix("+ ")


def _static_files() -> dict[str, str]:
    """Files that are the same in every export."""
    filled_in = ("settings.h", LEARNED_SOURCE, "Kbuild", "dkms.conf")
    folder = resources.files("tierenv.agents.export") / "daemon_source"
    return {file.name: file.read_text("utf-8") for file in folder.iterdir() if file.name not in filled_in}


def _template(name: str) -> str:
    return (resources.files("tierenv.agents.export") / "daemon_source" / name).read_text(encoding="utf-8")
