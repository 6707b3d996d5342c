"""A platform file with the source of each value, and what a person reads about it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from rich.table import Table

from tierenv.errors import ConfigError
from tierenv.platform import MemoryTier, Platform
from tierenv.records import (
    NamedRecord,
    is_bare_word,
    load_record,
    quantity_writer,
    read_values,
    reference_from,
    resolve,
    with_changes,
)
from tierenv.train.machine.findings import Finding, Findings, findings
from tierenv.train.machine.observed import Kind, Observation, in_gb_per_s, in_ns, listed
from tierenv.train.machine.sources import read_machine
from tierenv.train.machine.tiers import Tiers, tiers_of_machine
from tierenv.train.tables import plain_table
from tierenv.units import GIB, MIB

TIERS = ("dram", "cxl")

_KNOWN: dict[Kind, str] = {
    "measured": "measured",
    "kernel": "counted",
    "firmware": "firmware",
    "distances": "guessed",
    "assumed": "assumed",
}
"""How a value is known, for people."""

_HEADER = """\
# A machine as `tierenv platform` found it. Each value has its source, and how sure it is: prior is the factor of one
# standard deviation that `tierenv calibrate` goes by, fixed is exact.
"""


@dataclass(frozen=True)
class Row:
    """A field of the platform, for people."""

    field: str
    value: str
    kind: str
    source: str
    prior: float | None = None


@dataclass(frozen=True)
class MachinePlatform:
    """A platform that was made of what is said of a machine."""

    platform: Platform
    text: str
    """Of its file."""
    rows: list[Row]
    remarks: list[str]
    """What people should know, one line each."""
    fast_node: int
    slow_nodes: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """What `--json` writes."""
        return {
            "schema": 1,
            "fast_node": self.fast_node,
            "slow_nodes": list(self.slow_nodes),
            "fields": [
                {"field": row.field, "value": row.value, "kind": row.kind, "source": row.source, "prior": row.prior}
                for row in self.rows
            ],
            "remarks": self.remarks,
            "platform": self.platform.model_dump(mode="json"),
        }

    def table(self) -> Table:
        """Every field, what is known first."""
        cells = [
            (row.field, row.value, row.kind, "-" if row.prior is None else f"{row.prior:.3g}", row.source)
            for row in self.rows
        ]
        return plain_table(self.platform.name, ["field", "value", "known", "prior, one sd", "source"], cells)


def platform_of(
    given: Mapping[str, Sequence[Path]],
    like: str,
    output: Path,
    fast_node: int | None = None,
    slow_nodes: Sequence[int] = (),
) -> MachinePlatform:
    """A platform of what is said of a machine, and the text of its file, which is yet to be written.

    Raises `ConfigError` for an unknown platform to be like, for sources that cannot be read or are not of one machine,
    and where they do not tell a slow node.

    Args:
        given: files and folders by the name of their source; without any this machine is asked.
        like: name or path of the platform that has everything unknown.
        output: where the file is to stand.
        fast_node: as of `tiers_of_machine`.
        slow_nodes: likewise.
    """
    base = _platform_below(like, output)
    machine = read_machine(given)
    tiers = tiers_of_machine(machine, fast_node, slow_nodes)
    found = findings(machine, tiers, base)
    text = _text(found, machine, tiers, base, like if is_bare_word(like) else reference_from(output.parent, like))
    return MachinePlatform(
        platform=_checked(text, base, output),
        text=text,
        rows=[*_known_rows(found), *(Row(*pair, "assumed", base.name) for pair in _unknown(found, base))],
        remarks=list(map(_printable, found.remarks)),
        fast_node=tiers.fast,
        slow_nodes=tiers.slow,
    )


def _platform_below(like: str, output: Path) -> Platform:
    """The platform to be like. Raises `ConfigError`, also where it is like the file that is to be written."""
    path = resolve("platforms", like)
    try:
        if os.path.realpath(path) == os.path.realpath(output):
            raise ConfigError(f"{like}: is the file to be written")
        read_values("platforms", path, Platform, seen=(os.path.realpath(output),))
        return load_record("platforms", Platform, like)
    except ConfigError as error:
        raise ConfigError(f"--like: {error}") from None


def _text(found: Findings, machine: Observation, tiers: Tiers, base: Platform, like: str) -> str:
    """The file: what is known as mappings with their source, what is assumed in a comment."""
    lines = [f"summary: {_yaml(_summary(machine, tiers))}", f"like: {_yaml(like)}"]
    for tier in TIERS:
        known = {name: found.fields[f"{tier}.{name}"] for name in _names(found, tier)}
        lines += (
            [f"{tier}:", *(f"  {name}: {_marked(name, finding)}" for name, finding in known.items())] if known else []
        )
    lines += [f"{name}: {_marked(name, found.fields[name])}" for name in Platform.model_fields if name in found.fields]
    lines += [f"# {remark}" for remark in map(_printable, found.remarks)]
    lines += [
        f"# Assumed, from {_printable(base.name)}:",
        *(f"#   {name}: {value}" for name, value in _unknown(found, base)),
    ]
    return _HEADER + "\n".join(lines) + "\n"


def _summary(machine: Observation, tiers: Tiers) -> str:
    nodes = f"node {tiers.fast} fast, node{'s' * (len(tiers.slow) > 1)} {listed(tiers.slow)} slow"
    return f"{machine.processor}, {nodes}" if machine.processor else nodes


def _names(found: Findings, tier: str) -> list[str]:
    return [name for name in MemoryTier.model_fields if f"{tier}.{name}" in found.fields]


def _marked(name: str, finding: Finding) -> str:
    """A value with its source, as a record reads it."""
    prior: Any = "fixed" if finding.prior is None else float(f"{finding.prior:.3g}")
    return _yaml({"value": _quantity(name, finding.value), "prior": prior, "source": _printable(finding.said.source)})


def _yaml(value: Any) -> str:
    """A value on one line, whatever it holds."""
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1 << 20).removesuffix("...\n").strip()


def _printable(text: str) -> str:
    """A text on one line: file names may hold anything."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _quantity(name: str, value: float) -> Any:
    """A value in the unit that tools print it in, with the digits that mean something."""
    if name == "sockets":
        return int(value)
    if name == "capacity":
        size, unit = (GIB, "GiB") if value % GIB == 0 else (MIB, "MiB")
        return f"{int(value) // size}{unit}"
    if name.endswith("latency"):
        return in_ns(value)
    return in_gb_per_s(value)


def _checked(text: str, base: Platform, output: Path) -> Platform:
    """The platform that a text stands for. Raises `ConfigError` for values that no platform can have."""
    values = {key: value for key, value in yaml.safe_load(text).items() if key != "like"}
    return with_changes(base, {"name": output.stem} | values, str(output))


def _known_rows(found: Findings) -> list[Row]:
    return [
        Row(
            name,
            str(_quantity(name.rpartition(".")[2], finding.value)),
            _KNOWN[finding.said.kind],
            _printable(finding.said.source),
            finding.prior,
        )
        for name, finding in found.fields.items()
    ]


def _unknown(found: Findings, base: Platform) -> Iterator[tuple[str, str]]:
    """Fields that nobody tells, and what they are on the other platform."""
    for name, info in Platform.model_fields.items():
        if name in TIERS:
            tier = getattr(base, name)
            for inner, inner_info in MemoryTier.model_fields.items():
                if f"{name}.{inner}" not in found.fields and getattr(tier, inner) is not None:
                    yield f"{name}.{inner}", _shown(getattr(tier, inner), inner_info)
        elif name not in found.fields and name not in NamedRecord.model_fields:
            yield name, _shown(getattr(base, name), info)


def _shown(value: Any, info: Any) -> str:
    write = quantity_writer([*info.metadata, *_marks(info.annotation)])
    return write(value) if write else str(value)


def _marks(annotation: Any) -> Iterator[Any]:
    """What marks the types that a type is made of."""
    yield from getattr(annotation, "__metadata__", ())
    for part in get_args(annotation):
        yield from _marks(part)
