"""An imported workload as a file, with comments that say where it comes from and what it does not know."""

import json
import textwrap

from tierenv.train.imports.importing import Imported
from tierenv.units import format_bytes, format_seconds

_WIDTH = 118


def workload_text(imported: Imported) -> str:
    """The text of a workload file."""
    workload = imported.workload
    origin = (
        f"From {json.dumps(imported.record.name)}, {imported.format}, by `tierenv import`: "
        f"{imported.num_observations} observations, addresses in steps of {format_bytes(imported.step_bytes)}."
    )
    size = f"In a scenario its size is {imported.size_bytes}B ({format_bytes(imported.size_bytes)})."
    lines = [*_comment(origin, "# "), *_comment(size, "# ")]
    for note in imported.notes:
        lines += _comment(note, "# - ")
    summary = f"imported; classes in order of address: {len(workload.classes)}, phases: {len(workload.phases)}"
    lines += [
        f"summary: {json.dumps(summary)}",
        f"threads: {workload.threads}",
        f"think: {_given(format_seconds(workload.think), workload.think > 0)}",
        f"memory_parallelism: {_given(_number(workload.memory_parallelism), workload.memory_parallelism != 1)}",
        f"store_share: {_number(workload.store_share)}",
        f"accesses_per_page: {_number(workload.accesses_per_page)}{_access_comment(imported)}",
        f"layout: {workload.layout}",
        f"initial_placement: {workload.initial_placement}",
        "classes:",
    ]
    for each in workload.classes:
        size = format_bytes(each.fraction * imported.size_bytes)
        lines.append(f"  - {{name: {each.name}, fraction: {_number(each.fraction)}}}  # {size}")
    lines.append("phases:")
    starts_s = [0.0, *imported.phase_end_s]
    for number, phase in enumerate(workload.phases):
        when = f"  # {starts_s[number]:.6g} to {starts_s[number + 1]:.6g} s" if imported.phase_end_s else ""
        lines += [f"  - name: {phase.name}{when}", f"    work: {_number(phase.work)}", "    access_share:"]
        lines += [f"      {name}: {_number(share)}" for name, share in phase.access_share.items()]
    return "\n".join(lines) + "\n"


def _given(value: str, is_given: bool) -> str:
    """A value that somebody knows, marked, so that a calibration goes by it; one that nobody named is plain."""
    return f"{{value: {value}, source: given to import}}" if is_given else value


def _access_comment(imported: Imported) -> str:
    if imported.access_ns is None:
        return ""
    return f"  # an access of a thread every {imported.access_ns:.4g} ns, computing and memory together"


def _comment(text: str, mark: str) -> list[str]:
    """Lines of comment, of a text of one line."""
    indent = "#" + " " * (len(mark) - 1)
    return textwrap.wrap(text, _WIDTH, initial_indent=mark, subsequent_indent=indent, break_on_hyphens=False)


def _number(number: float) -> str:
    """A number as YAML and people read it: never 1e-07, which YAML takes for a text."""
    if number == round(number) and abs(number) < 1e15:
        return str(int(number))
    text = f"{number:.12f}".rstrip("0") if number < 1 else repr(number)
    return text if "e" not in text else f"{number:.17e}"
