"""What policies come to on one scenario, beside what is at stake there, and the classes of stakes.

Evaluations and files of `evaluate --json` are both made into outcomes, and whoever judges them looks at these alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tierenv.agents.kinds import Kind
from tierenv.train.statistics import Estimate, mean_estimate

AT_STAKE = 0.02
"""Share of the time without migration above which something is at stake."""
MUCH_AT_STAKE = 0.08
"""And above which it is much."""

NOTHING = "no-migration"
"""The policy that does nothing."""

Floats = NDArray[np.float64]


def objective_measure(name: str) -> str:
    """What an objective of this name judges, in a sentence."""
    return "time" if name in ("last-end", "application") else name.replace("-", " ")


@dataclass(frozen=True)
class Stake:
    """A class of scenarios, by the share of the time without migration that the clairvoyant saves."""

    name: str
    """In JSON."""
    title: str
    above: float
    up_to: float

    @property
    def words(self) -> str:
        """The limits of the class."""
        low, high = f"{100 * self.above:.0f} %", f"{100 * self.up_to:.0f} %"
        if self.above == -np.inf:
            return f"at most {high}"
        return f"more than {low}" if self.up_to == np.inf else f"more than {low} and up to {high}"

    @property
    def short_words(self) -> str:
        """The same in a table."""
        low, high = f"{100 * self.above:.0f}", f"{100 * self.up_to:.0f} %"
        if self.above == -np.inf:
            return f"<= {high}"
        return f"> {low} %" if self.up_to == np.inf else f"{low} to {high}"


STAKES = (
    Stake("little", "Little at stake", -np.inf, AT_STAKE),
    Stake("something", "Something at stake", AT_STAKE, MUCH_AT_STAKE),
    Stake("much", "Much at stake", MUCH_AT_STAKE, np.inf),
)


@dataclass(frozen=True)
class Outcome:
    """Policies on one scenario, on the same episodes; where what is judged is no time, read its unit for seconds."""

    scenario: str
    runs: Mapping[str, Floats]
    """By policy, float64[episodes]: completion times [s]."""
    no_migration: Floats | None
    """float64[episodes]: times of doing nothing [s]; None where nobody did."""
    limits: Mapping[str, Floats] = field(default_factory=dict)
    """By the keys of `tierenv.train.limits.LIMITS`, float64[episodes] [s]; none where what is judged is no time."""
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    """By policy; of those that it lacks nothing is known."""
    measure: str = field(default="time", kw_only=True)
    """What is judged."""
    unit: str = field(default="s", kw_only=True)
    given_up: Mapping[str, int] = field(default_factory=dict, kw_only=True)
    """By policy, of its runs those that were given up, whose times are at least what they say; that of `NOTHING` is of
    `no_migration`, too. None of those that it lacks."""

    @property
    def no_migration_s(self) -> float:
        """Mean time of doing nothing [s]; NaN where nobody did."""
        return np.nan if self.no_migration is None else float(self.no_migration.mean())

    @property
    def clairvoyant_s(self) -> float:
        """Mean time that no policy beats [s]; NaN where there is no bound."""
        return float(self.limits["clairvoyant"].mean()) if "clairvoyant" in self.limits else np.nan

    @property
    def at_stake(self) -> float:
        """Share of the time without migration that the clairvoyant saves; NaN where nobody knows."""
        if self.is_at_least(NOTHING):
            return np.nan
        return 1 - self.clairvoyant_s / self.no_migration_s

    @property
    def stake(self) -> Stake | None:
        """Its class; None where nobody knows what is at stake."""
        at_stake = self.at_stake
        return next((stake for stake in STAKES if stake.above < at_stake <= stake.up_to), None)

    def is_at_least(self, policy: str) -> bool:
        """Whether the mean of a policy is only known to be no less, for runs were given up."""
        return self.given_up.get(policy, 0) > 0

    def kind(self, policy: str) -> Kind:
        """Of a policy; that of somebody's code where nothing is known."""
        return self.kinds.get(policy, "program")

    def saved(self, baseline: str, policy: str) -> Estimate:
        """Share of the baseline's mean time that a policy saves, episode by episode."""
        before, after = self.runs[baseline], self.runs[policy]
        return mean_estimate((before - after) / before.mean())
