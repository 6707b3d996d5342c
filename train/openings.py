"""The log of who looked at a family's final set: it is judged on once, and what was seen of it is told.

The log stands beside the family's file, or in the user's data folder where that cannot be written. Each look is written
down before it is taken: what was evaluated or searched, with what decides it. What a set is follows from the looks at
it. A set is a seed of the final set and a daemon that policies run on:

    closed    nobody looked at the seed. A search, or rivals alone: searched. Policies: opened, for these.
    searched  rivals alone were looked at. A search, or rivals alone: no change. Policies: opened, for these.
    opened    for some policies. A search, rivals, or some of these policies: no change. Any other policy: refused.

A rival is what nobody can have made after a look: a kernel's rule, or a setting that a search chose, which may be as
good as it can be, under a packaged daemon. Any other policy could have been, and needs a new seed.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from tierenv.agents.heuristics import PassivePolicy, StaticPolicy
from tierenv.agents.policy import Policy, scenario_for
from tierenv.daemon import Daemon, load_daemon
from tierenv.errors import ConfigError
from tierenv.files import atomic_write_text, locked
from tierenv.folders import user_folder
from tierenv.reading import read_json
from tierenv.records import Record, identity_of, packaged, validate_record
from tierenv.scenario import Scenario
from tierenv.train.config import Origin, Suite
from tierenv.train.provenance import git_revision
from tierenv.train.results import LookedAt, OpenedSet

UNKNOWN_CODE = "unknown code"
"""What stands in place of an identity of a policy that is code of others."""

Word = Annotated[str, Field(max_length=1000)]


class LoggedPolicy(Record):
    """A policy that was evaluated."""

    policy: Word
    """As the command line called it."""
    daemon: Word
    """It ran on."""
    daemon_identity: Word
    identity: Word
    """SHA-256 of its decisions' identities on all scenarios, or `UNKNOWN_CODE`."""
    is_rival: bool


class Look(Record):
    """One look at a final set."""

    seed: Annotated[int, Field(ge=0)]
    """Of the set."""
    set_identity: Word
    """`Family.identity_of_split`: what its scenarios are."""
    daemon: Word
    """Of the scenarios, which policies without one of their own run on."""
    daemon_identity: Word
    verb: Literal["evaluate", "tune"]
    date: Word
    """When it began, UTC."""
    git_revision: str | None
    seeds: Annotated[int, Field(ge=1)]
    """Episodes of each scenario."""
    policies: tuple[LoggedPolicy, ...] = ()
    """That were evaluated; none where settings were searched."""

    @property
    def judged(self) -> list[LoggedPolicy]:
        """The policies that are no rivals."""
        return [policy for policy in self.policies if not policy.is_rival]


class Openings(Record):
    """The content of a log."""

    model_config = ConfigDict(populate_by_name=True)

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    looks: tuple[Look, ...] = ()
    """Oldest first."""


def check_opened(suite: Suite, is_opened: bool) -> Origin | None:
    """Where a final set comes from that somebody is about to look at; None for anything else. Raises `ConfigError`.

    Args:
        suite: what is judged.
        is_opened: whether --open-final was given.
    """
    origin = suite.origin
    if origin is None or origin.split != "final":
        if is_opened:
            raise ConfigError(f"--open-final: is for the final set of a family, {suite.name} is none; leave it out")
        return None
    if not is_opened:
        raise ConfigError(
            f"{suite.name}: is judged on once, and that is logged; --open-final opens it, --split selection is to look "
            "at on the way"
        )
    whole = origin.family.splits.final.scenarios
    if len(suite.scenarios) < whole:
        raise ConfigError(f"{suite.name}: the final set is judged on as a whole, {whole} scenarios; ask for no fewer")
    return origin


def open_for_search(origin: Origin, num_seeds: int) -> list[OpenedSet]:
    """Log a search of static settings on a final set, which is allowed before and after. Raises `ConfigError`.

    Returns what `open_for_policies` returns; the last is the set under the daemon that was searched.
    """
    return _log(origin, "tune", num_seeds, ())


def open_for_policies(
    origin: Origin, scenarios: Sequence[Scenario], policies: Sequence[Mapping[str, Policy]], num_seeds: int
) -> list[OpenedSet]:
    """Log an evaluation on a final set.

    Returns all sets of the family that were opened so far, of other seeds and under other daemons too, by when policies
    were first evaluated on them; the last are those that are judged on now. Raises `ConfigError` if one of these was
    opened for other policies.

    Args:
        origin: of the set.
        scenarios: of the set.
        policies: of each scenario, by the name they are called by.
        num_seeds: episodes of each scenario.
    """
    runs: dict[tuple[str, str], list[tuple[Scenario, Policy]]] = {}
    for scenario, of_scenario in zip(scenarios, policies, strict=True):
        for name, policy in of_scenario.items():
            on = scenario_for(policy, scenario)
            runs.setdefault((name, on.daemon.identity), []).append((on, policy))
    return _log(origin, "evaluate", num_seeds, tuple(_logged(name, each) for (name, _), each in runs.items()))


def _logged(name: str, runs: Sequence[tuple[Scenario, Policy]]) -> LoggedPolicy:
    """A policy on the scenarios as it runs on them, all under one daemon."""
    identities = [[scenario.identity, policy.identity] for scenario, policy in runs]
    is_known = all(policy.identity is not None for _, policy in runs)
    daemon = runs[0][0].daemon
    return LoggedPolicy(
        policy=name,
        daemon=daemon.name,
        daemon_identity=daemon.identity,
        identity=identity_of(identities) if is_known else UNKNOWN_CODE,
        is_rival=all(_is_rival(policy, daemon) for _, policy in runs),
    )


def _is_rival(policy: Policy, daemon: Daemon) -> bool:
    """Whether there is nothing in a policy that somebody could have made after a look at the set, but may not."""
    is_of_a_search = isinstance(policy, StaticPolicy) and bool(policy.chosen_on)
    if not isinstance(policy, PassivePolicy) and not is_of_a_search:
        return False
    return policy.control == "off" or daemon.identity in _packaged_daemons()


@cache
def _packaged_daemons() -> frozenset[str]:
    """Their identities; to read them takes longer than an episode."""
    return frozenset(load_daemon(name).identity for name in packaged("daemons"))


def _log(
    origin: Origin, verb: Literal["evaluate", "tune"], num_seeds: int, policies: tuple[LoggedPolicy, ...]
) -> list[OpenedSet]:
    """Write into the log what is about to be looked at. Returns the opened sets. Raises `ConfigError`."""
    path, family = _writable(origin), origin.family
    look = Look(
        seed=family.splits.final.seed,
        set_identity=family.identity_of_split("final"),
        daemon=family.daemon.name,
        daemon_identity=family.daemon.identity,
        verb=verb,
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        git_revision=git_revision(),
        seeds=num_seeds,
        policies=policies,
    )
    with locked(path.parent):
        logs = {place: read_openings(place).looks for place in _places(origin)}
        _check_places(origin, logs)
        looks = _united(logs.values())
        _check_allowed(origin, look, looks)
        looks.append(look)
        atomic_write_text(path, Openings(looks=tuple(looks)).model_dump_json(by_alias=True, indent=2) + "\n")
    return _opened_sets(looks)


def _united(logs: Iterable[tuple[Look, ...]]) -> list[Look]:
    """All looks of several logs, of which one may have begun as a copy of the other, oldest first."""
    united: Counter[Look] = Counter()
    for looks in logs:
        united |= Counter(looks)
    return sorted(united.elements(), key=lambda look: look.date)


def _judged(looks: Iterable[Look], seed: int, daemon_identity: str) -> dict[str, LoggedPolicy]:
    """By what decides them, the policies that a set was opened for; code of others by its name."""
    return {
        policy.policy if policy.identity == UNKNOWN_CODE else policy.identity: policy
        for look in looks
        if look.seed == seed
        for policy in look.judged
        if policy.daemon_identity == daemon_identity
    }


def _first(looks: Iterable[Look], seed: int, daemon_identity: str) -> Look | None:
    """The look that opened a set, None for one that is not opened."""
    return next((look for look in looks if _judged([look], seed, daemon_identity)), None)


def _check_places(origin: Origin, logs: Mapping[Path, tuple[Look, ...]]) -> None:
    """Refuse a seed that was opened in two places for policies that differ. Raises `ConfigError`."""
    seed = origin.family.splits.final.seed
    judged = [policy for looks in logs.values() for look in looks if look.seed == seed for policy in look.judged]
    for identity, daemon in {policy.daemon_identity: policy.daemon for policy in judged}.items():
        found = {frozenset(_judged(looks, seed, identity)) for looks in logs.values()} - {frozenset()}
        if len(found) > 1:
            raise ConfigError(
                f"{' and '.join(map(str, logs))}: seed {seed} was opened for policies that differ under {daemon}; a "
                f"new splits.final.seed is needed in {origin.path}"
            )


def _check_allowed(origin: Origin, look: Look, looks: Sequence[Look]) -> None:
    """Refuse a look at scenarios that are others by now, or by policies that a set was not opened for."""
    need = "a new splits.final.seed is needed"
    for each in looks:
        if each.seed == look.seed and each.set_identity != look.set_identity:
            raise ConfigError(
                f"{origin.path}: splits.final.seed={look.seed}: was opened at {each.date} with other scenarios; {need}"
            )
    for policy in look.judged:
        first = _first(looks, look.seed, policy.daemon_identity)
        known = _judged(looks, look.seed, policy.daemon_identity)
        if first is None or policy.identity in known:
            continue
        whose = (
            "is code of others, of which nobody can tell whether it is the same"
            if policy.identity == UNKNOWN_CODE
            else f"is none of those that it was opened for: {', '.join(each.policy for each in known.values())}"
        )
        raise ConfigError(
            f"{origin.family.name}:final: was opened at {first.date} (seed {look.seed}, {policy.daemon}); policy "
            f"{policy.policy} {whose}; {need} in {origin.path}"
        )


def _opened_sets(looks: Sequence[Look]) -> list[OpenedSet]:
    """What results tell after the last look: the sets that were opened, and at the end those that it is at."""
    last = looks[-1]
    names = {(look.seed, each.daemon_identity): each.daemon for look in reversed(looks) for each in look.judged}
    here = {(last.seed, policy.daemon_identity) for policy in last.judged} or {(last.seed, last.daemon_identity)}
    names |= {key: names.get(key, last.daemon) for key in here}
    told = [_opened_set(looks, *key, name, is_judged_here=key in here) for key, name in names.items()]
    return sorted(told, key=lambda each: (each.is_judged_here, each.opened or "", each.seed, each.daemon))


def _opened_set(
    looks: Sequence[Look], seed: int, daemon_identity: str, daemon: str, *, is_judged_here: bool
) -> OpenedSet:
    at_seed, last = [look for look in looks if look.seed == seed], looks[-1]
    first = _first(at_seed, seed, daemon_identity)
    before = at_seed if first is None else at_seed[: at_seed.index(first)]
    known = {policy.identity for look in (*before, first) if look is not None for policy in look.policies}
    rivals = [policy for policy in last.policies if policy.is_rival and is_judged_here]
    return OpenedSet(
        seed=seed,
        daemon=daemon,
        opened=None if first is None else first.date,
        git_revision=None if first is None else first.git_revision,
        policies=tuple(each.policy for each in _judged(looks, seed, daemon_identity).values()),
        searched=next((look.date for look in before if not look.judged), None),
        searched_anew=tuple(policy.policy for policy in rivals if policy.identity not in known),
        looks=tuple(LookedAt(verb=look.verb, date=look.date, seeds=look.seeds) for look in at_seed),
        is_judged_here=is_judged_here,
    )


def _places(origin: Origin) -> list[Path]:
    """Where a log may stand: beside the family's file, and in the user's data folder if that is a packaged one."""
    name = f"{origin.path.stem}.openings.json"
    folder = user_folder("data")
    is_packaged = origin.path in packaged("families").values()
    return [origin.path.with_name(name), *([folder / "families" / name] if folder and is_packaged else [])]


def _writable(origin: Origin) -> Path:
    """The log that is written. Raises `ConfigError` where there is no place for one."""
    places = _places(origin)
    for path in places:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK)):
            return path
    raise ConfigError(f"{places[0]}: cannot be written; the final set is not opened without a log")


def read_openings(path: Path) -> Openings:
    """What a log tells; nothing without one. Raises `ConfigError` for a broken one."""
    if not path.exists():
        return Openings()
    try:
        return validate_record(Openings, read_json(path), str(path))
    except ConfigError as error:
        raise ConfigError(f"{error}; bring back the file as it was: it tells when the final set was opened") from None
