"""Settings that Optuna's samplers propose, in rounds, from what those of earlier rounds came to.

A study lives in memory alone and nothing of it is ever read back: Optuna's CMA-ES keeps its state as a pickle in a
study's storage. A search that goes on asks a new study of the same seed for the same rounds and tells it what is known
of them (`tierenv.train.search.storage`, `tierenv.train.journal`), so that it stands where the old one stood, random
numbers and fits included.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tierenv.action import ActionCodec
from tierenv.daemon import Daemon

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

ROUND = 8
"""Settings of a round. With four seeds each they are 32 machines, as many as fill the cores: a run of the model takes
as long among 32 as among 128, and a third longer among 16. It is also the population of CMA-ES, for which 4 + 3 ln T
(Hansen, "The CMA evolution strategy: a tutorial", arXiv:1604.00772, table 1) gives 7 for three tunables, 8 for four."""

STARTUP = 2 * ROUND
"""Settings that TPE and GP draw at random; Optuna's 10 would be as many, for only whole rounds are told."""


def tpe_sampler(seed: int) -> "BaseSampler":
    """Multivariate; those of the same round count as bad ones to the next (Optuna's constant liar)."""
    from optuna.samplers import TPESampler

    return TPESampler(seed=seed, n_startup_trials=STARTUP, multivariate=True, constant_liar=True)


def cmaes_sampler(seed: int) -> "BaseSampler":
    """A round is a generation; the first is drawn at random."""
    from optuna.samplers import CmaEsSampler

    return CmaEsSampler(seed=seed, popsize=ROUND, n_startup_trials=1)


def gp_sampler(seed: int) -> "BaseSampler":
    """Those of the same round are expected to come to what the process says of them."""
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed, n_startup_trials=STARTUP)


class StudyProposals:
    """What a study proposes.

    Args:
        daemon: whose settings.
        sampler: Optuna's, that has proposed nothing yet.
    """

    round_size = ROUND

    def __init__(self, daemon: Daemon, sampler: "BaseSampler") -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)  # a line for every study would be in the way
        self._codec = ActionCodec(daemon)
        self._space: dict[str, BaseDistribution] = {
            name: optuna.distributions.FloatDistribution(-1.0, 1.0) for name in self._codec.names
        }
        self._study = optuna.create_study(sampler=sampler)
        self._asked: list[Trial] = []

    def ask(self, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The next settings: those of a round are the same, however many of it are asked for."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):  # sums differ with the number of threads, and what is asked next with them
            self._asked = [self._study.ask(self._space) for _ in range(count)]
        coordinates = np.array([[trial.params[name] for name in self._space] for trial in self._asked])
        return coordinates, self._codec.decode(coordinates)

    def tell(self, values: NDArray[np.float64]) -> None:
        """What they came to."""
        for trial, value in zip(self._asked, values.tolist(), strict=True):
            self._study.tell(trial, value)
