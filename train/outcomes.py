"""What policies come to on one scenario, beside what is at stake there, from the runs of an evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tierenv.train.statistics import Estimate, mean_estimate

AT_STAKE = 0.02
"""Share of the time without migration above which something is at stake."""
MUCH_AT_STAKE = 0.08
"""And above which it is much."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """Policies on one scenario, on the same episodes; where what is judged is no time, read its unit for seconds."""

    scenario: str
    runs: Mapping[str, Floats]
    """By policy, float64[episodes]: completion times [s]."""
    clairvoyant_s: float
    """Mean time that no policy beats [s]; NaN where there is no bound."""
    no_migration_s: float
    """Mean time of doing nothing [s]."""
    measure: str = field(default="time", kw_only=True)
    """What is judged."""

    @property
    def at_stake(self) -> float:
        """Share of the time without migration that the clairvoyant saves."""
        return 1 - self.clairvoyant_s / self.no_migration_s

    def saved(self, baseline: str, policy: str) -> Estimate:
        """Share of the baseline's mean time that a policy saves, episode by episode."""
        before, after = self.runs[baseline], self.runs[policy]
        return mean_estimate((before - after) / before.mean())

    def excess(self, policy: str) -> Estimate:
        """Mean time over time without migration, less one: above 0 is slower than doing nothing."""
        return mean_estimate(self.runs[policy] / self.no_migration_s - 1)
