"""A first scenario of one's own: a platform, a workload and a scenario file in a new folder, with comments.

What is not asked for is as on a packaged platform. Files that exist already, such as `tierenv platform` and `tierenv
import` write, are referred to in place of new ones. Everything is validated before anything is written, and the folder
appears whole or not at all.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.prompt import Prompt

from tierenv.daemon import load_daemon
from tierenv.errors import ConfigError, close_match
from tierenv.files import atomic_folder
from tierenv.platform import MemoryTier, Platform
from tierenv.records import is_bare_word, load_record, reference_from, validate_record
from tierenv.scenario import Scenario
from tierenv.sim.parameters import access_time_s
from tierenv.units import parse_bytes, parse_bytes_per_s, parse_seconds

RUN_S = 120.0
"""About how long a run takes with everything in DRAM."""

HEATS = {
    "zipf": ("zipf: {exponent: 0.99}", "a power law, as of keys of a database; larger exponents are hotter"),
    "hot-cold": ("classes: {hot: {pages: 0.1, accesses: 0.9}, cold: {}}", "two classes; cold is what hot leaves"),
    "normal": ("normal: {deviation: 0.1}", "a bell over the addresses, hottest in their middle"),
    "uniform": ("histogram: [[1, 1]]", "pairs of a share of the pages and the share of the accesses on them"),
}
"""Forms of heat to start from: what stands in the file, and what it means."""

Answers = dict[str, str]
"""By the name of a question."""


@dataclass(frozen=True)
class Question:
    """Something people know of their machine or program."""

    text: str
    """What is asked."""
    default: Callable[[Platform], str]
    """The answer that is written without another, on a machine like this platform."""
    check: Callable[[str], object]
    """Raises `ValueError` for a text that is no answer."""


def _one_of(words: Callable[[], Mapping[str, Any]], kind: str, text: str) -> str:
    known = words()
    if text not in known:
        raise ConfigError(f"unknown {kind} {text!r}{close_match(text, known)}; allowed: {', '.join(known)}")
    return text


def _packaged_platform(text: str) -> Platform:
    if not is_bare_word(text):
        raise ConfigError(f"{text!r}: must be a packaged one; run: tierenv list platforms")
    return load_record("platforms", Platform, text)


def _packaged_daemon(text: str) -> object:
    if not is_bare_word(text):
        raise ConfigError(f"{text!r}: must be a packaged one; run: tierenv list daemons")
    return load_daemon(text)


def _threads(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 7 and 1 <= int(text) <= 1 << 20):
        raise ConfigError(f"{text!r}: must be a whole number of threads, 1 to {1 << 20}")
    return int(text)


def _latency(tier: MemoryTier) -> str:
    return f"{1e9 * tier.idle_latency:.4g}ns"


def _bandwidth(tier: MemoryTier) -> str:
    return f"{1e-9 * tier.bandwidth:.4g}GB/s"


LIKE = "like"
DEFAULT_PLATFORM = "amd-epyc-cxl"
QUESTIONS: dict[str, Question] = {
    "memory": Question("Memory the program uses", lambda _: "64GiB", parse_bytes),
    "threads": Question("Threads of the program", lambda _: "32", _threads),
    "heat": Question(
        f"Heat of its pages: {', '.join(HEATS)}", lambda _: "zipf", partial(_one_of, lambda: HEATS, "heat")
    ),
    LIKE: Question(
        "Packaged machine that yours is most like (tierenv list platforms)",
        lambda _: DEFAULT_PLATFORM,
        _packaged_platform,
    ),
    "dram": Question("DRAM that the program can have", lambda _: "16GiB", parse_bytes),
    "cxl": Question("Memory of the CXL node", lambda _: "128GiB", parse_bytes),
    "dram_latency": Question("Idle latency of DRAM", lambda like: _latency(like.dram), parse_seconds),
    "cxl_latency": Question("Idle latency of the CXL node", lambda like: _latency(like.cxl), parse_seconds),
    "dram_bandwidth": Question("Read bandwidth of DRAM", lambda like: _bandwidth(like.dram), parse_bytes_per_s),
    "cxl_bandwidth": Question("Read bandwidth of the CXL node", lambda like: _bandwidth(like.cxl), parse_bytes_per_s),
    "daemon": Question("What promotes (tierenv list daemons)", lambda _: "numa-balancing", _packaged_daemon),
}
"""In the order in which they are asked; the options of `tierenv init` have the same names."""


OWN_FILES = {
    "platform": (LIKE, "cxl", "dram_latency", "cxl_latency", "dram_bandwidth", "cxl_bandwidth"),
    "workload": ("threads", "heat"),
}
"""What may be a file, or a packaged name, of the user's, and the questions that it answers."""


def checked_answer(name: str, text: str) -> str:
    """An answer without spaces, as a file can hold it. Raises `ConfigError`, without the name of the question."""
    answer = "".join(text.split())
    try:
        QUESTIONS[name].check(answer)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return answer


def with_defaults(given: Mapping[str, str]) -> Answers:
    """Answers to all questions. Raises `ConfigError` that names the option."""
    answers: Answers = {}
    for name in sorted(QUESTIONS, key=lambda name: name != LIKE):  # others have defaults of that platform
        try:
            answers[name] = checked_answer(name, given[name] if name in given else _default(name, answers))
        except ConfigError as error:
            raise ConfigError(f"--{name.replace('_', '-')}: {error}") from None
    return answers


def _default(name: str, answers: Answers) -> str:
    return QUESTIONS[name].default(_packaged_platform(answers.get(LIKE, DEFAULT_PLATFORM)))


def ask(console: Console) -> Answers:
    """Ask the questions one by one, each until there is an answer. Raises `ConfigError` where input ends."""
    answers: Answers = {}
    for name, question in QUESTIONS.items():
        while name not in answers:
            try:
                text = Prompt.ask(question.text, console=console, default=_default(name, answers))
                answers[name] = checked_answer(name, text)
            except EOFError:
                raise ConfigError(f"no answer to: {question.text}") from None
            except ConfigError as error:
                console.print(str(error), markup=False, highlight=False)
    return answers


def check_folder(folder: Path) -> None:
    """Raise `ConfigError` for a folder that is not new: nothing of it is overwritten."""
    if folder.resolve() == Path.cwd():
        raise ConfigError(f"{folder}: is the working folder; name a new one")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigError(f"{folder}: already exists; name a new folder")


def check_own_files(own: Mapping[str, str], given: Mapping[str, str]) -> None:
    """Raise `ConfigError` for an answer to what a file of the user's says."""
    for kind, path in own.items():
        for name in OWN_FILES[kind]:
            if name in given:
                raise ConfigError(f"--{name.replace('_', '-')}: is what {path} says (--{kind}); leave one of them out")


def write_scenario(folder: Path, answers: Answers, own: Mapping[str, str] | None = None) -> list[Path]:
    """Write what is missing of the three files into a new folder. Returns their paths.

    Raises `ConfigError`; then nothing is written.

    Args:
        folder: to make.
        answers: to all questions.
        own: of `OWN_FILES`, those that exist: name or path.
    """
    own = own or {}
    texts = {kind: make(answers) for kind, make in (("platform", _platform_text), ("workload", _draft_text))}
    parts = texts | {kind: _Own(path) for kind, path in own.items()}
    if "workload" not in own:
        draft = _scenario(folder, answers, parts)
        # as much work as takes about RUN_S, two digits of it
        access_s = float(access_time_s(draft, 1.0))
        accesses = float(f"{RUN_S * draft.workload.threads / access_s / draft.pages:.2g}")
        parts["workload"] = _workload_text(answers, accesses)
    _scenario(folder, answers, parts)
    parts["scenario"] = _scenario_text(answers, {kind: _reference(folder, kind, own) for kind in OWN_FILES})
    written = {f"{kind}.yaml": text for kind, text in parts.items() if not isinstance(text, _Own)}
    with atomic_folder(folder) as temporary:
        for name, text in written.items():
            (temporary / name).write_text(text, encoding="utf-8")
    return [folder / name for name in written]


class _Own(str):
    """Name or path of a file of the user's, in place of a text to write."""


def _reference(folder: Path, kind: str, own: Mapping[str, str]) -> str:
    """What the scenario calls a part of it, as YAML."""
    if kind not in own:
        return f"{kind}.yaml"
    path = own[kind]
    return path if is_bare_word(path) else json.dumps(reference_from(folder, path))


def _scenario(folder: Path, answers: Answers, parts: Mapping[str, str]) -> Scenario:
    """What the files will be read as."""
    contents = {
        kind: str(text) if isinstance(text, _Own) else {"name": kind} | yaml.safe_load(text)
        for kind, text in parts.items()
    }
    values = {"name": "scenario"} | yaml.safe_load(_scenario_text(answers, dict.fromkeys(OWN_FILES, "null"))) | contents
    return validate_record(Scenario, values, str(folder / "scenario.yaml"))


def _platform_text(answers: Answers) -> str:
    return f"""\
# The machine. What does not stand here is as on {answers[LIKE]} (tierenv list platforms; docs/configuration.md).
like: {answers[LIKE]}
dram:
  idle_latency: {answers["dram_latency"]}      # load-to-use of an idle node, as by: mlc --latency_matrix
  bandwidth: {answers["dram_bandwidth"]}      # reads, as by: mlc --bandwidth_matrix
  capacity: {answers["dram"]}          # numactl --hardware, less what others have of it
cxl:
  idle_latency: {answers["cxl_latency"]}
  bandwidth: {answers["cxl_bandwidth"]}
  capacity: {answers["cxl"]}
"""


def _draft_text(answers: Answers) -> str:
    return _workload_text(answers, 1000)


def _workload_text(answers: Answers, accesses_per_page: float) -> str:
    form, meaning = HEATS[answers["heat"]]
    return f"""\
# What the program does with its memory (docs/workload.md).
summary: {answers["threads"]} threads, heat {answers["heat"]}
threads: {answers["threads"]}
memory_parallelism: 2        # accesses a thread has under way: 1 if each needs the last one's result, 4 to 10 in sweeps
think: 200ns                 # computing time of a thread between two accesses
store_share: 0.2             # of the accesses
accesses_per_page: {accesses_per_page:.15g}      # all work of a run: about two minutes with everything in DRAM
heat: {{{form}}}    # {meaning}
# drift: {{share_per_s: 0.001}}    # what is hot moves over the memory, by a thousandth of it a second
# load: {{bursts: {{on: 10s, off: 20s, low: 0.1}}}}    # how many of the threads work
# growth: {{from: 0.25, to: 1.0, over: 60s}}    # in place of drift: memory that comes by and by
initial_placement: random    # a random part of the pages fills DRAM, the others start on the CXL node
"""


def _scenario_text(answers: Answers, references: Mapping[str, str]) -> str:
    return f"""\
# Try it: tierenv evaluate THIS_FILE --policy no-migration --policy numab2
platform: {references["platform"]}
workload: {references["workload"]}
daemon: {answers["daemon"]}       # what promotes: tierenv list daemons
size: {answers["memory"]}                  # memory of the program
fast_capacity: {answers["dram"]}         # DRAM it can have
# corunners: [{{workload: {{like: stream, threads: 4}}, size: 4GiB, lifetime: repeating}}]    # what runs beside it
"""
