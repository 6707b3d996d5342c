"""Writing a report."""

from collections.abc import Sequence
from pathlib import Path

from tierenv.errors import ConfigError
from tierenv.files import atomic_write_text
from tierenv.progress import ReportProgress, unreported
from tierenv.train.html_report.budget import comparison
from tierenv.train.html_report.kinds import read_section
from tierenv.train.html_report.page import page

MOST_INPUTS = 50


def write_report(inputs: Sequence[Path], output: Path, report_progress: ReportProgress = unreported) -> None:
    """Write one file on all inputs. Raises `ConfigError`, before anything is written.

    Args:
        inputs: files and run folders, each of which becomes a section.
        output: HTML file.
        report_progress: told what is being read.
    """
    if not 1 <= len(inputs) <= MOST_INPUTS:
        raise ConfigError(f"INPUT: must be 1 to {MOST_INPUTS} files and run folders, got {len(inputs)}")
    sections = []
    for number, path in enumerate(inputs):
        report_progress(number, len(inputs), str(path))
        sections.append(read_section(path))
    compared = comparison(sections)
    atomic_write_text(output, page([*sections, *([compared] if compared else [])]))
