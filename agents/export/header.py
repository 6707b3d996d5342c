"""What every export says of itself: where the policy comes from, what it was made for and what it should gain."""

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from tierenv.records import Record

CAVEAT = "modelled, not measured on your machine"
NOT_EVALUATED = "not evaluated for this target"

COMMENT_WIDTH = 110

IN_WORDS = {"numab2": ", the kernel as booted with numa_balancing = 2,"}
"""What follows the name of a policy that not everybody knows."""


class Gain(Record):
    """What a policy saves of a scenario's objective, in the model, against another policy on the same episodes."""

    scenario: str
    against: str
    """The other policy."""
    share: float
    """Saved share of what the other comes to; negative if worse."""
    ci95: tuple[float, float] | None
    """Confidence interval of the share, None where one episode allows none."""
    episodes: Annotated[int, Field(ge=1)]
    objective: str = "last-end"
    """What is judged."""

    def __str__(self) -> str:
        """One clause for people."""
        interval = f" [{100 * self.ci95[0]:.1f}, {100 * self.ci95[1]:.1f}]" if self.ci95 else ""
        against = self.against + IN_WORDS.get(self.against, "")
        what = "time" if self.objective == "last-end" else f"of objective {self.objective}"
        return (
            f"{100 * self.share:.1f} %{interval} less {what} than {against} on {self.scenario} "
            f"({self.episodes} episodes)"
        )


@dataclass(frozen=True)
class Origin:
    """The facts of one policy."""

    policy: str
    training_run: str
    """Run, revision and command it comes from, or that there was none."""
    trained_for: str
    """Scenarios it was trained or searched on."""
    daemon: str
    """Variant it was modelled on."""
    gains: tuple[Gain, ...]

    def rows(self, *, is_other_target: bool = False) -> dict[str, str]:
        """Label and text, each one line.

        Args:
            is_other_target: whether the export drives another mechanism than the daemon that was modelled.
        """
        gain = "; ".join(str(gain) for gain in self.gains)
        if is_other_target:
            gain = f"{NOT_EVALUATED}; on {self.daemon}: {gain}" if gain else NOT_EVALUATED
        rows = {
            "policy": self.policy,
            "training run": self.training_run,
            "trained for": self.trained_for,
            "expected gain": gain or NOT_EVALUATED,
            "caveat": CAVEAT,
        }
        return {label: one_line(text) for label, text in rows.items()}

    def comment(self, prefix: str = "#", *, is_other_target: bool = False) -> str:
        """The rows as comment lines."""
        return comment_lines(self.rows(is_other_target=is_other_target).items(), prefix)


def one_line(text: str) -> str:
    """The text as a comment of any file may hold it: printable characters, on one line whatever reads it."""
    shown = (char if char.isprintable() else " " if char.isspace() else "?" for char in text)
    return " ".join("".join(shown).split())


def comment_lines(rows: Iterable[tuple[str, str]], prefix: str = "#") -> str:
    """Labels and texts as comment lines, wrapped."""
    return "\n".join(
        textwrap.fill(
            one_line(text),
            width=COMMENT_WIDTH,
            initial_indent=f"{prefix}   {one_line(label):<20} ",
            subsequent_indent=f"{prefix}   {'':<20} ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for label, text in rows
    )


def describe_training(name: str, training: Mapping[str, Any]) -> str:
    """One line for a run or bundle, from what its manifest or policy.json holds."""
    config = training.get("config")
    parts = [name]
    if isinstance(config, Mapping) and "seed" in config:
        parts.append(f"seed {config['seed']}")
    parts += [f"revision {training['git_revision']}"] if training.get("git_revision") else []
    parts += [str(training["command"])] if training.get("command") else []
    return ", ".join(parts)
