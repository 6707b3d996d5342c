"""What a policy does, in figures: which settings are in force how long, and what they go with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from tierenv.action import ActionCodec, edges_of
from tierenv.agents.export.rules import setting_text
from tierenv.daemon import Daemon
from tierenv.features import Feature
from tierenv.train.distil import Model, at_zone_ends
from tierenv.train.episodes import Recorder
from tierenv.train.studies.batch import ALL, Batch, Group
from tierenv.train.studies.importance import columns_of
from tierenv.tunables import TUNABLES, setting_of

EARLY = 0.1
"""Share of an episode's decisions that are its beginning."""
PARTS = ("first_tenth", "after")
WORDS = ("off", "low", "middle", "high", "unlimited")
"""What stands for a value in force: settings of their own, and thirds of the range on its scale."""
_OFF, _LOW, _HIGH, _UNLIMITED = 0, 1, 3, 4
MOST_SETTINGS = 6
"""Combinations of words that are told; all others are counted together."""
QUANTILES = (0.1, 0.5, 0.9)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Decisions:
    """All decisions of a policy on machines that ran."""

    observations: NDArray[np.float32]
    """float32[decisions, columns]."""
    coordinates: Floats
    """float64[decisions, T]: actions, those in a dead zone at its end."""
    scenario: NDArray[np.intp]
    """intp[decisions]: number of the scenario."""
    is_early: NDArray[np.bool_]
    """bool[decisions]: whether of the first tenth of an episode."""
    weight: Floats
    """float64[decisions]: so that in either part of an episode every episode counts the same."""

    def of(self, group: Group, part: str) -> NDArray[np.bool_]:
        """bool[decisions]: those of a part of the episodes of a group."""
        is_in_part = self.is_early == (part == PARTS[0])
        of_group: NDArray[np.bool_] = is_in_part & np.isin(self.scenario, group.members)
        return of_group


def decisions_of(recorder: Recorder, batch: Batch, model: Model, codec: ActionCodec) -> Decisions:
    """What was recorded of a model's episodes."""
    is_running = np.array(recorder.is_running)
    step, machine = np.nonzero(is_running)
    is_early = step < EARLY * is_running.sum(axis=0)[machine]
    count = np.zeros((2, is_running.shape[1]))
    np.add.at(count, (is_early.astype(np.intp), machine), 1)
    return Decisions(
        observations=recorder.decided_on,
        coordinates=at_zone_ends(codec, model(recorder.decided_on)),
        scenario=machine // len(batch.seeds),
        is_early=is_early,
        weight=1 / count[is_early.astype(np.intp), machine],
    )


def behaviour(
    decisions: Decisions, daemon: Daemon, observation: Sequence[Feature], groups: Sequence[Group]
) -> dict[str, Any]:
    """What a result holds of it: words for settings and how long they are in force, quantiles, correlations."""
    codec = ActionCodec(daemon)
    return {
        "words": {TUNABLES[name].symbol: ranges_of(name, codec) for name in codec.names},
        **settings(decisions, codec, groups),
        "levels": list(QUANTILES),
        "quantiles": {
            group.name: {part: quantiles(decisions, decisions.of(group, part), codec, daemon) for part in PARTS}
            for group in groups
        },
        "correlations": correlations(decisions, codec, observation),
    }


def words(coordinates: Floats, codec: ActionCodec) -> NDArray[np.intp]:
    """intp[decisions, T]: numbers in `WORDS` of what is in force."""
    edges = np.array([edges_of(TUNABLES[name]) for name in codec.names])
    low, high = edges.T
    third = np.floor(3 * (coordinates - low) / (high - low)).astype(np.intp)
    number = _LOW + np.clip(third, 0, _HIGH - _LOW)
    return np.where(coordinates < low, _OFF, np.where(coordinates > high, _UNLIMITED, number))


def ranges_of(name: str, codec: ActionCodec) -> dict[str, str]:
    """The values of a tunable that each of its words stands for."""
    row = TUNABLES[name]
    low, high = edges_of(row)
    bounds = np.linspace(low, high, _HIGH - _LOW + 2)
    tunables = codec.decode(np.repeat(bounds[:, None], len(codec.names), axis=1))[:, codec.columns[name]]
    texts = [setting_text(name, value) for value in tunables]
    thirds = {word: f"{texts[i]} to {texts[i + 1]}" for i, word in enumerate(WORDS[_LOW : _HIGH + 1])}
    ends = {_OFF: row.has_zero, _UNLIMITED: row.has_unlimited}
    return thirds | {WORDS[end]: setting_text(name, np.inf if end else 0.0) for end, has_it in ends.items() if has_it}


def settings(decisions: Decisions, codec: ActionCodec, groups: Sequence[Group]) -> dict[str, Any]:
    """How long each combination of words is in force: those that are most, and all others together."""
    told, number = np.unique(words(decisions.coordinates, codec), axis=0, return_inverse=True)
    shares = {
        (group.name, part): _shares(number.ravel()[mask], decisions.weight[mask], len(told))
        for group in groups
        for part in PARTS
        if (mask := decisions.of(group, part)).any()
    }
    # an episode is told whole: a tenth of it, and the rest
    in_all = EARLY * shares[ALL, PARTS[0]] + (1 - EARLY) * shares.get((ALL, PARTS[1]), 0.0)
    ranked = np.argsort(-in_all, kind="stable")
    most, others = ranked[:MOST_SETTINGS], ranked[MOST_SETTINGS:]

    def by_group(chosen: NDArray[np.intp]) -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {group.name: {} for group in groups}
        for (group, part), share in shares.items():
            found[group][part] = float(share[chosen].sum())
        return found

    symbols = [TUNABLES[name].symbol for name in codec.names]
    return {
        "settings": [
            {
                "setting": {symbol: WORDS[word] for symbol, word in zip(symbols, told[index], strict=True)},
                "shares": by_group(np.array([index])),
            }
            for index in most
        ],
        "others": by_group(others),
    }


def _shares(number: NDArray[np.intp], weight: Floats, count: int) -> Floats:
    """float64[count]: share of the weight that each number has."""
    shares: Floats = np.bincount(number, weight, count) / weight.sum()
    return shares


def quantiles(
    decisions: Decisions, mask: NDArray[np.bool_], codec: ActionCodec, daemon: Daemon
) -> list[dict[str, float | None]]:
    """Settings of each tunable's `QUANTILES`, by symbol, None for unlimited; none without decisions."""
    if not mask.any():
        return []
    found = np.quantile(
        decisions.coordinates[mask], QUANTILES, axis=0, weights=decisions.weight[mask], method="inverted_cdf"
    )
    return [setting_of(row, daemon.tunables).to_json() for row in codec.decode(found)]


def correlations(
    decisions: Decisions, codec: ActionCodec, observation: Sequence[Feature]
) -> dict[str, dict[str, float | None]]:
    """Rank correlation (Spearman's) of each feature with each tunable over all decisions; None where one never varies.

    Of a feature with a past it is the first column, which is what it is now where that is observed.
    """
    ranked = _standardised(decisions.coordinates)
    found: dict[str, dict[str, float | None]] = {}
    for feature, columns in columns_of(observation).items():
        seen = _standardised(decisions.observations[:, columns[:1]].astype(np.float64))
        numbers = (seen * ranked).mean(axis=0)
        found[feature] = {
            TUNABLES[name].symbol: None if np.isnan(number) else float(number)
            for name, number in zip(codec.names, numbers, strict=True)
        }
    return found


def _standardised(values: Floats) -> Floats:
    """Ranks of each column with mean 0 and deviation 1; NaN of a column that never varies."""
    ranks = rankdata(values, axis=0)
    ranks -= ranks.mean(axis=0)
    deviation = ranks.std(axis=0)
    with np.errstate(invalid="ignore"):
        standardised: Floats = np.where(deviation > 0, ranks / deviation, np.nan)
    return standardised
