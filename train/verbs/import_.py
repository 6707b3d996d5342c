"""The verb `import`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from tyro.conf import Positional, arg

from tierenv.errors import ConfigError
from tierenv.train.progress import shown_progress
from tierenv.train.verbs.common import JsonFile, check_outputs, print_results, stderr_console, write_json_output
from tierenv.units import parse_bytes, parse_number, parse_seconds

AUTO = "auto"

Value = TypeVar("Value")
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Import:
    """Make a workload file of what measured where memory is hot."""

    format: Annotated[Positional[str], arg(metavar="FORMAT")]
    """Format of the record: a name from `tierenv list imports`."""
    record: Annotated[Positional[Path], arg(metavar="RECORD")]
    """What was measured."""
    output: Annotated[Path, arg(metavar="WORKLOAD.yaml")]
    """Workload file to write."""
    threads: int | None = None
    """Threads of the program, which only abench's lines tell."""
    think: Annotated[str, arg(metavar="TIME")] = "0s"
    """Computing time of a thread between two accesses, such as 40ns."""
    memory_parallelism: float = 1.0
    """Accesses a thread has under way at a time."""
    store_share: float = 0.0
    """Share of the accesses that store."""
    accesses_per_page: float | None = None
    """Work of the whole run: accesses of all threads per resident page; otherwise what the record shows."""
    seconds: float | None = None
    """Time of the whole run, if it was not the record's: the work is that of the record times so much longer."""
    size: Annotated[str | None, arg(metavar="SIZE")] = None
    """Resident memory, such as 16GiB, if it is not what the record speaks of."""
    initial_placement: Annotated[
        Literal["slow", "random", "address-order"] | None, arg(metavar="slow|random|address-order")
    ] = None
    """Where its memory starts: all on the slow node, or so that a random part of it fills the fast nodes, or that of
    the lowest addresses."""
    classes: int = 16
    """Most classes of pages."""
    phases: Annotated[str, arg(metavar="auto|N")] = AUTO
    """Most phases; auto: as many as certainly differ."""
    sample_interval: Annotated[str | None, arg(metavar="TIME")] = None
    """DAMON's sampling interval, such as 5ms, where the record does not say."""
    aggregation_interval: Annotated[str | None, arg(metavar="TIME")] = None
    """DAMON's aggregation interval, such as 100ms, where the record does not say."""
    sample_period: float | None = None
    """Accesses that a sample of perf stands for, where the record does not say."""
    json: JsonFile = None

    def run(self) -> int:
        """Import."""
        check_outputs(self.output, self.json, inputs=[self.record])
        from tierenv.files import atomic_write_text
        from tierenv.train.imports.importing import MOST_CLASSES, ProgramFacts, import_record
        from tierenv.train.imports.observations import ReadOptions
        from tierenv.train.imports.workload_text import workload_text
        from tierenv.train.report import import_tables

        read_options = ReadOptions(
            sample_interval_s=_above_0("--sample-interval", self.sample_interval, parse_seconds),
            aggregation_interval_s=_above_0("--aggregation-interval", self.aggregation_interval, parse_seconds),
            sample_period=_above_0("--sample-period", self.sample_period, parse_number),
        )
        facts = ProgramFacts(
            threads=None if self.threads is None else _number_of("--threads", str(self.threads), 1 << 20),
            think_s=_parsed("--think", self.think, parse_seconds),
            memory_parallelism=self.memory_parallelism,
            store_share=self.store_share,
            accesses_per_page=_above_0("--accesses-per-page", self.accesses_per_page, parse_number),
            run_s=_above_0("--seconds", self.seconds, parse_number),
            size_bytes=_above_0("--size", self.size, parse_bytes),
            initial_placement=self.initial_placement,
        )
        num_classes = _number_of("--classes", str(self.classes), MOST_CLASSES)
        num_phases = None if self.phases == AUTO else _number_of("--phases", self.phases, MOST_CLASSES)
        with shown_progress("reading", stderr_console()) as report_progress:
            imported = import_record(
                self.format, self.record, read_options, facts, num_classes, num_phases, report_progress
            )
        text = workload_text(imported)
        atomic_write_text(self.output, text)
        write_json_output(self.json, imported.to_json)
        print_results(*import_tables(imported), f"wrote {self.output}", beside=self.json)
        return 0


def _parsed(option: str, value: Value, parse: Callable[[Value], Number]) -> Number:
    """The number an option stands for. Raises `ConfigError` that names the option."""
    try:
        return parse(value)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from None


def _above_0(option: str, value: Value | None, parse: Callable[[Value], Number]) -> Number | None:
    """The same of an option that may be left out; 0 makes no sense."""
    if value is None:
        return None
    number = _parsed(option, value, parse)
    if number <= 0:
        raise ConfigError(f"{option}={value}: must be above 0")
    return number


def _number_of(option: str, text: str, most: int) -> int:
    """A whole number from 1. Raises `ConfigError` that names the option."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise ConfigError(f"{option}={text}: must be a whole number from 1 to {most}")
    return int(text)
