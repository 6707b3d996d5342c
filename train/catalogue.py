"""The tables `tierenv list` shows: everything a command line or a configuration can name."""

from collections.abc import Callable
from dataclasses import dataclass

from tierenv.agents.export import FORMATS
from tierenv.agents.export.targets import TARGETS
from tierenv.agents.foreign import FOREIGN
from tierenv.agents.policies import POLICIES
from tierenv.counters import COUNTERS
from tierenv.daemon import load_daemon
from tierenv.errors import ConfigError, close_match
from tierenv.experiments import is_times, load_experiment
from tierenv.family import SPLITS, load_family
from tierenv.measurements import read_measurements
from tierenv.platform import MemoryTier, Platform
from tierenv.quantities import QUANTITIES
from tierenv.reading import read_yaml
from tierenv.records import load_record, packaged
from tierenv.scenario import load_scenario
from tierenv.train.imports import FORMATS as IMPORT_FORMATS
from tierenv.train.machine.sources import SOURCES
from tierenv.train.search.samplers import SAMPLERS
from tierenv.tunables import TUNABLES
from tierenv.units import format_bytes_per_s


@dataclass(frozen=True)
class Catalogue:
    """A table of texts; the first column holds the names."""

    title: str
    columns: list[str]
    rows: list[list[str]]

    def to_json(self) -> list[dict[str, str]]:
        """The rows by column."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def catalogue(kind: str) -> Catalogue:
    """The table of a kind. Raises `ConfigError`."""
    if kind not in KINDS:
        raise ConfigError(f"unknown kind {kind!r}{close_match(kind, KINDS)}; allowed: {', '.join(KINDS)}")
    columns, make_rows = KINDS[kind]
    return Catalogue(kind, columns, make_rows())


def overview() -> Catalogue:
    """All kinds with the names in them."""
    rows = [[kind, ", ".join(row[0] for row in make_rows())] for kind, (_, make_rows) in KINDS.items()]
    return Catalogue("kinds", ["kind", "names"], rows)


def _policies() -> list[list[str]]:
    named = [[entry.usage(name), entry.summary] for name, entry in POLICIES.items()]
    named += [[f"{name}:{entry.argument}", entry.summary] for name, entry in FOREIGN.items()]
    bundles = [[name, "packaged bundle"] for name, path in packaged("policies").items() if path.is_dir()]
    return [*named, *bundles]


def _scenarios() -> list[list[str]]:
    scenarios = [load_scenario(name) for name in packaged("scenarios")]
    return [[scenario.name, scenario.summary, str(scenario).partition(": ")[2]] for scenario in scenarios]


def _platforms() -> list[list[str]]:
    platforms = [load_record("platforms", Platform, name) for name in packaged("platforms")]
    return [[platform.name, _tier(platform.dram), _tier(platform.cxl)] for platform in platforms]


def _tier(tier: MemoryTier) -> str:
    return f"{1e9 * tier.idle_latency:g}ns, {format_bytes_per_s(tier.bandwidth)}"


def _daemons() -> list[list[str]]:
    daemons = [load_daemon(name) for name in packaged("daemons")]
    return [
        [row.name, row.summary, ", ".join(row.tunables) or "-", "yes" if row.can_be_tuned else "no"] for row in daemons
    ]


def _families() -> list[list[str]]:
    families = [load_family(name) for name in packaged("families")]
    return [
        [row.name, *(str(getattr(row.splits, split).scenarios) for split in SPLITS), row.summary] for row in families
    ]


def _with_summary(kind: str) -> Callable[[], list[list[str]]]:
    def rows() -> list[list[str]]:
        return [[name, str(read_yaml(path).get("summary", ""))] for name, path in packaged(kind).items()]

    return rows


def _measurements() -> list[list[str]]:
    rows = []
    for name, path in packaged("measurements").items():
        if is_times(path):
            cells = read_measurements(name)
            known = {cell.size_gib for cell in cells if cell.size_gib is not None}
            sizes = ", ".join(f"{size:g}" for size in sorted(known))
            systems = ", ".join(dict.fromkeys(cell.system for cell in cells))
            rows.append([name, "times", str(len(cells)), f"{systems} at {sizes} GiB"])
        else:
            experiment = load_experiment(name)
            rows.append([name, experiment.role, str(len(experiment.all_rows)), experiment.summary])
    return rows


def _quantities() -> list[list[str]]:
    return [[name, row.unit, ", ".join(row.takes) or "-", row.meaning] for name, row in QUANTITIES.items()]


def _tunables() -> list[list[str]]:
    return [[row.symbol, row.meaning, row.v1_path or "-"] for row in TUNABLES.values()]


def _counters() -> list[list[str]]:
    return [[row.name, row.unit, "gauge" if row.is_gauge else "counter", row.meaning] for row in COUNTERS]


def _formats() -> list[list[str]]:
    return [[name, ", ".join(row.takes), row.summary, ", ".join(row.targets) or "-"] for name, row in FORMATS.items()]


def _imports() -> list[list[str]]:
    return [[name, row.summary] for name, row in IMPORT_FORMATS.items()]


def _targets() -> list[list[str]]:
    return [
        [name, row.summary, *(row.tunables.get(tunable, "not applied") for tunable in TUNABLES)]
        for name, row in TARGETS.items()
    ]


def _sources() -> list[list[str]]:
    return [[name, row.summary] for name, row in SOURCES.items()]


def _samplers() -> list[list[str]]:
    return [[name, row.summary, "in rounds" if row.proposes else "beforehand"] for name, row in SAMPLERS.items()]


KINDS: dict[str, tuple[list[str], Callable[[], list[list[str]]]]] = {
    "policies": (["policy", "what it does"], _policies),
    "scenarios": (["scenario", "what it is", "where it runs"], _scenarios),
    "suites": (["suite", "what it holds"], _with_summary("suites")),
    "families": (["family", *SPLITS, "what it holds"], _families),
    "workloads": (["workload", "what it does"], _with_summary("workloads")),
    "platforms": (["platform", "fast tier", "slow tier"], _platforms),
    "daemons": (["daemon", "what it is", "tunables", "at run time"], _daemons),
    "algorithms": (["training configuration", "what it trains"], _with_summary("algorithms")),
    "sweeps": (["sweep", "what it does"], _with_summary("sweeps")),
    "measurements": (["measurement", "role", "rows", "what was measured"], _measurements),
    "quantities": (["quantity", "unit", "needs", "meaning"], _quantities),
    "tunables": (["tunable", "meaning", "kernel path (kmmscand V1)"], _tunables),
    "counters": (["counter", "unit", "kind", "meaning"], _counters),
    "formats": (["format", "policies", "what it is", "targets"], _formats),
    "imports": (["format", "what it is"], _imports),
    "samplers": (["sampler", "what it is", "settles on settings"], _samplers),
    "sources": (["source", "what it says of a machine to `tierenv platform`"], _sources),
    "targets": (["target", "what it is", *(name.replace("_", " ") for name in TUNABLES)], _targets),
}
"""Kind to columns and rows; a new kind is a line here."""
