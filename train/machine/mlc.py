"""What Intel's Memory Latency Checker prints: its default run, and those of single modes, v3.5 to v3.11.

Layouts are those of its readme and of outputs that people show in public. Latencies are in ns and bandwidths in MB/s of
a million bytes; a store counts there as a read and a write. Sections are told by their headings, so one file may hold
several runs, one after the other. `-j NODE` on the command line, which it prints, says whose memory was read; without
it each CPU reads its own node's.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tierenv.errors import ConfigError
from tierenv.live.facts import MAX_LATENCY_NS, MAX_MB_PER_S
from tierenv.reading import read_text
from tierenv.train.machine.observed import (
    MAX_NODE,
    Bandwidth,
    Latency,
    LoadedLatencies,
    Observation,
    Said,
)

MAX_BYTES = 1 << 20
"""A default run prints 4 KB."""
MIN_BUFFER_MIB = 64
"""Less than that a cache may hold: no latency of memory."""
MAX_ROWS = 1000
"""Of a table."""

READ_SHARES = {"2": 2 / 3, "3": 3 / 4, "5": 1 / 2}
"""Of the bytes, by the number after `-W`: two or three reads a write, or one."""

_COMMAND = re.compile(r"Command line parameters:(.*)")
_BUFFER = re.compile(r"Using buffer size of ([0-9.]+)\s*Mi?B")
_MATRIX_COLUMNS = re.compile(r"(?:Numa node|Socket)\s+([0-9\s]+)")
_MIX = re.compile(r"(ALL Reads|[1-9]:[1-9] Reads-Writes|[\w -]+?)\s*:\s*(\S+)")
_NUMBER = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?")


@dataclass
class _Run:
    """What the lines before a section say of it."""

    command: str = ""
    buffer_mib: float | None = None

    @property
    def target(self) -> int | None:
        """Node whose memory was read; None is each CPU's own."""
        found = re.search(r"(?:^|\s)-j\s*([0-9]{1,4})(?:\s|$)", self.command)
        return int(found[1]) if found else None

    @property
    def mix(self) -> str | None:
        """The number after `-W`."""
        found = re.search(r"(?:^|\s)-W\s*([0-9]{1,2})(?:\s|$)", self.command)
        return found[1] if found else None


def read_mlc(path: Path) -> Observation:
    """What a file of its output says. Raises `ConfigError`: without a section, cut off, in other units, all zeros."""
    return _Reader(path).read()


class _Reader:
    """Goes through the lines of a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = [line.replace("\t", " ").strip() for line in read_text(path, MAX_BYTES).splitlines()]
        self._lines = [(number, line) for number, line in enumerate(lines, 1) if line]
        self._at = 0
        self._seen = Observation(str(path))
        self._num_sections = 0

    def read(self) -> Observation:
        run = _Run()
        while self._at < len(self._lines):
            _, line = self._lines[self._at]
            if line.startswith("Intel(R) Memory Latency Checker"):
                run = _Run()
            elif found := _COMMAND.match(line):
                run = _Run(found[1].strip())
            elif found := _BUFFER.match(line):
                run.buffer_mib = self._number(found[1])
            for heading, read_section in _SECTIONS.items():
                if line.startswith(heading):
                    self._num_sections += 1
                    read_section(self, run)
                    break
            self._at += 1
        if not self._num_sections:
            raise ConfigError(
                f"{self._path}: has no section of Intel MLC's output; run: mlc > FILE, or mlc with --latency_matrix, "
                "--idle_latency, --bandwidth_matrix, --peak_injection_bandwidth or --loaded_latency"
            )
        return self._seen

    def _said(self, mode: str) -> Said:
        return Said("measured", f"MLC {mode}, {self._path.name}")

    def _remark(self, text: str) -> None:
        self._seen.remarks.append(f"{self._path.name}: {text}")

    def _error(self, text: str) -> ConfigError:
        number = self._lines[min(self._at, len(self._lines) - 1)][0]
        return ConfigError(f"{self._path}:{number}: {text}")

    def _number(self, word: str, most: float = MAX_MB_PER_S) -> float:
        if not _NUMBER.fullmatch(word):
            raise self._error("what stands for a number is none; give the output as MLC printed it")
        if float(word) > most:
            raise self._error(f"a number above {most:g}: no memory has that")
        return float(word)

    def _check_unit(self, text: str, unit: str, what: str) -> None:
        if text != unit:
            shown = text if re.fullmatch(r"[A-Za-z]{1,4}(/[a-z]{1,3})?", text) else "another unit"
            raise self._error(f"{what} in {shown}: must be in {unit}, as MLC prints them")

    def _next(self) -> str | None:
        """The next line, which becomes the present one; None at the end."""
        self._at += 1
        return self._lines[self._at][1] if self._at < len(self._lines) else None

    def _peek(self) -> str | None:
        return self._lines[self._at + 1][1] if self._at + 1 < len(self._lines) else None

    def idle_latency(self, run: _Run) -> None:
        """--idle_latency: a line."""
        line = self._lines[self._at][1]
        found = re.search(r"\(\s*(\S+)\s+([A-Za-z]+)\s*\)", line)
        if not found:
            raise self._error("--idle_latency is cut off")
        self._check_unit(found[2], "ns", "latencies are")
        latency_ns = self._number(found[1], MAX_LATENCY_NS)
        if self._is_of_a_cache(run, "--idle_latency"):
            return
        if re.search(r"(?:^|\s)-J", run.command):
            self._remark("--idle_latency of a mounted file (-J) is left out")
            return
        if latency_ns == 0:
            raise self._error("--idle_latency is zero: nothing was measured")
        if run.target is not None:
            self._see(run.target)
        said = self._said("--idle_latency")
        self._seen.latencies.append(Latency(1e-9 * latency_ns, run.target, None, said))

    def latency_matrix(self, run: _Run) -> None:
        """--latency_matrix: a row for each node with CPUs, a column for each with memory."""
        line = self._lines[self._at][1]
        unit = re.search(r"\(in ([A-Za-z]+)\)", line)
        self._check_unit(unit[1] if unit else "ns", "ns", "latencies are")
        cells = self._matrix("--latency_matrix", MAX_LATENCY_NS)
        if self._is_of_a_cache(run, "--latency_matrix"):
            return
        said = self._said("--latency_matrix")
        self._seen.latencies += [
            Latency(1e-9 * latency_ns, target, initiator, said) for (initiator, target), latency_ns in cells.items()
        ]

    def bandwidth_matrix(self, run: _Run) -> None:
        """--bandwidth_matrix: likewise."""
        share = self._read_share(run, "--bandwidth_matrix", _MATRIX_COLUMNS)
        cells = self._matrix("--bandwidth_matrix", MAX_MB_PER_S)
        if share is not None:
            said = self._said(f"--bandwidth_matrix{_mixed(run)}")
            self._seen.bandwidths += [
                Bandwidth(1e6 * mb_per_s, target, initiator, share, said)
                for (initiator, target), mb_per_s in cells.items()
            ]

    def peak_bandwidth(self, run: _Run) -> None:
        """--peak_injection_bandwidth, --max_bandwidth: a line for each mix; every CPU accesses its own node."""
        said, found_any, num_before = self._said("--peak_injection_bandwidth"), False, len(self._seen.bandwidths)
        while (line := self._peek()) and (found := _MIX.fullmatch(line) or self._is_preamble(line)):
            self._at += 1
            if isinstance(found, bool):
                continue
            mb_per_s = self._number(found[2])
            found_any = True
            reads, _, writes = found[1].removesuffix(" Reads-Writes").partition(":")
            share = 1.0 if found[1] == "ALL Reads" else int(reads) / (int(reads) + int(writes)) if writes else None
            if share is not None and mb_per_s > 0:
                self._seen.bandwidths.append(Bandwidth(1e6 * mb_per_s, None, None, share, said))
        if not found_any:
            raise self._error("--peak_injection_bandwidth is cut off: no line of it follows")
        if len(self._seen.bandwidths) == num_before:
            raise self._error("--peak_injection_bandwidth holds zeros alone: nothing was measured")

    def loaded_latency(self, run: _Run) -> None:
        """--loaded_latency: a row for each delay between requests."""
        share = self._read_share(run, "--loaded_latency", re.compile(r"Inject\b.*"))
        heading = (self._peek() or "").split()
        if heading[:2] != ["Inject", "Latency"]:
            if heading[:1] == ["Inject"]:
                self._remark("--loaded_latency without latencies (-T) is left out")
                return
            raise self._error("--loaded_latency is cut off: no table follows")
        self._at += 1
        units = (self._next() or "").split()
        if len(units) != 3:
            raise self._error("--loaded_latency is cut off: no units follow")
        self._check_unit(units[1].strip("()"), "ns", "latencies are")
        self._check_unit(units[2], "MB/sec", "bandwidths are")
        rows = self._rows("--loaded_latency", [MAX_LATENCY_NS, MAX_MB_PER_S])
        points = [(latency_ns, mb_per_s) for _, (latency_ns, mb_per_s) in rows if latency_ns and mb_per_s]
        if not points:
            raise self._error("--loaded_latency holds zeros alone: nothing was measured")
        if run.target is not None:
            self._see(run.target)
        if share is not None:
            latencies, bandwidths = np.array(points).T
            said = self._said(f"--loaded_latency{_mixed(run)}")
            self._seen.loaded.append(LoadedLatencies(1e6 * bandwidths, 1e-9 * latencies, run.target, share, said))

    def _is_preamble(self, line: str) -> bool:
        """Whether a line between heading and table says how it was measured; its unit is looked at."""
        if line.startswith("Bandwidths are in "):
            self._check_unit(line.split()[3], "MB/sec", "bandwidths are")
        return line.startswith(("Bandwidths are in ", "Using ", "*"))

    def _read_share(self, run: _Run, mode: str, table: re.Pattern[str]) -> float | None:
        """Share of reads of the bytes of a section; goes on to the line before its table."""
        reads_alone = False
        while (line := self._peek()) and not table.fullmatch(line):
            if not (self._is_preamble(line) or line in ("Numa node", "Memory node")):
                break
            reads_alone |= line.startswith("Using Read-only traffic")
            self._at += 1
        if reads_alone or run.mix is None:
            return 1.0
        if run.mix not in READ_SHARES:
            self._remark(f"{mode} -W{run.mix} is left out: of -W only {', '.join(READ_SHARES)} are taken")
        return READ_SHARES.get(run.mix)

    def _is_of_a_cache(self, run: _Run, mode: str) -> bool:
        if run.buffer_mib is None or run.buffer_mib >= MIN_BUFFER_MIB:
            return False
        self._remark(f"{mode} with a buffer of less than {MIN_BUFFER_MIB} MiB is left out: a cache may hold that")
        return True

    def _matrix(self, mode: str, most: float) -> dict[tuple[int, int], float]:
        """Cells by row and column, without those that are zero or have no number."""
        while (line := self._peek()) and (self._is_preamble(line) or line in ("Numa node", "Memory node")):
            self._at += 1
        found = _MATRIX_COLUMNS.fullmatch(line or "")
        if not found:
            raise self._error(f"{mode} is cut off: no row of node numbers follows")
        self._at += 1
        columns = [self._node(word) for word in found[1].split()]
        if len(set(columns)) < len(columns):
            raise self._error(f"{mode} has a node twice")
        cells: dict[tuple[int, int], float] = {}
        for row, values in self._rows(mode, [most] * len(columns)):
            self._see(row, has_cpus=True)
            cells |= {(row, column): value for column, value in zip(columns, values, strict=True) if value}
        for column in columns:
            self._see(column)
        if not cells:
            raise self._error(f"{mode} holds zeros alone: nothing was measured")
        return cells

    def _rows(self, mode: str, limits: Sequence[float]) -> list[tuple[int, list[float]]]:
        """Rows of a number and others, at most so large; "-" is zero."""
        rows: list[tuple[int, list[float]]] = []
        while (line := self._peek()) and (re.match(r"[0-9]+( |$)", line) or set(line) == {"="}):
            self._at += 1
            if line[0] == "=":
                continue
            first, *words = line.split()
            if len(words) != len(limits):
                raise self._error(f"{mode} is cut off: a row of {len(words)} numbers, not {len(limits)}")
            pairs = zip(words, limits, strict=True)
            values = [0.0 if word == "-" else self._number(word, most) for word, most in pairs]
            rows.append((int(self._number(first)), values))
            if len(rows) > MAX_ROWS:
                raise self._error(f"{mode} has more than {MAX_ROWS} rows")
        if not rows:
            raise self._error(f"{mode} is cut off: no row follows")
        return rows

    def _node(self, word: str) -> int:
        if not re.fullmatch("[0-9]{1,4}", word) or int(word) > MAX_NODE:
            raise self._error(f"a node above {MAX_NODE}")
        return int(word)

    def _see(self, number: int, has_cpus: bool | None = None) -> None:
        self._seen.see(self._node(str(number)), has_cpus)


def _mixed(run: _Run) -> str:
    return f" -W{run.mix}" if run.mix in READ_SHARES else ""


_SECTIONS: dict[str, Callable[[_Reader, _Run], None]] = {
    "Each iteration took ": _Reader.idle_latency,
    "Measuring idle latencies": _Reader.latency_matrix,
    "Measuring Memory Bandwidths between nodes": _Reader.bandwidth_matrix,
    "Measuring Peak Injection Memory Bandwidths": _Reader.peak_bandwidth,
    "Measuring Maximum Memory Bandwidths": _Reader.peak_bandwidth,
    "Measuring Loaded Latencies": _Reader.loaded_latency,
}
"""By how their headings begin."""
