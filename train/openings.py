"""The log of who looked at a family's final set: it is judged on once, and what was seen of it is told.

The log stands beside the family's file, or in the user's data folder where that cannot be written. An entry is made
when a set is opened: a seed of the final set, and a daemon under which its scenarios run. From then on that set is for
the policies of the entry alone: others could have been made after a look at it, and need a new seed.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from tierenv.agents.heuristics import PassivePolicy, StaticPolicy
from tierenv.agents.policy import Policy, scenario_for
from tierenv.errors import ConfigError
from tierenv.files import atomic_write_text, locked
from tierenv.folders import user_folder
from tierenv.reading import read_json
from tierenv.records import Record, identity_of, packaged, validate_record
from tierenv.scenario import Scenario
from tierenv.train.config import Origin, Suite
from tierenv.train.provenance import git_revision

UNKNOWN_CODE = "unknown code"
"""What stands in place of an identity of a policy that is code of others."""
RIVAL = "rival"
"""In place of that of a kernel's rule, or of a stored static setting, which may be searched on the set itself."""

Word = Annotated[str, Field(max_length=1000)]


class OpenedPolicy(Record):
    """A policy that an opening was for."""

    policy: Word
    """As the command line called it."""
    identity: Word
    """SHA-256 of its decisions' identities on all scenarios, `UNKNOWN_CODE` or `RIVAL`."""


class Use(Record):
    """One look at the set."""

    verb: Literal["evaluate", "tune"]
    date: Word
    """When it began, UTC."""
    git_revision: str | None


class Opening(Record):
    """A final set that was opened."""

    seed: Annotated[int, Field(ge=0)]
    """Of the final set."""
    daemon: Word
    """Its scenarios run under."""
    daemon_identity: Word
    set_identity: Word
    """`Family.identity_of_split`: what its scenarios are."""
    policies: tuple[OpenedPolicy, ...] = ()
    """That it was evaluated for; none as long as static settings alone were searched."""
    uses: Annotated[tuple[Use, ...], Field(min_length=1)]
    """From the first on."""

    @property
    def date(self) -> str:
        """When it was opened."""
        return self.uses[0].date

    @property
    def key(self) -> tuple[int, str]:
        """By which openings are the same."""
        return self.seed, self.daemon_identity

    def to_json(self) -> dict[str, Any]:
        """What results say of it."""
        return {
            "seed": self.seed,
            "daemon": self.daemon,
            "opened": self.date,
            "git_revision": self.uses[0].git_revision,
        }

    def __str__(self) -> str:
        """For people."""
        return f"{self.date} (seed {self.seed}, {self.daemon})"


class Openings(Record):
    """The content of a log."""

    model_config = ConfigDict(populate_by_name=True)

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    openings: tuple[Opening, ...] = ()
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


def open_for_search(origin: Origin) -> None:
    """Log a search of static settings on a final set, which is allowed before and after. Raises `ConfigError`."""
    _log(origin, "tune", ())


def open_for_policies(
    origin: Origin, scenarios: Sequence[Scenario], policies: Sequence[Mapping[str, Policy]]
) -> list[Opening]:
    """Log an evaluation on a final set.

    Returns all openings of the family's final sets so far, of other seeds and under other daemons too; the last is this
    one. Raises `ConfigError` if it was opened for other policies.

    Args:
        origin: of the set.
        scenarios: of the set.
        policies: of each scenario, by the name they are called by.
    """
    by_name: dict[str, list[tuple[Scenario, Policy]]] = {}
    for scenario, of_scenario in zip(scenarios, policies, strict=True):
        for name, policy in of_scenario.items():
            by_name.setdefault(name, []).append((scenario, policy))
    asked = [OpenedPolicy(policy=name, identity=_identity(pairs)) for name, pairs in by_name.items()]
    return _log(origin, "evaluate", tuple(asked))


def _identity(pairs: Sequence[tuple[Scenario, Policy]]) -> str:
    """Of all that one policy decides on the scenarios that it runs on."""
    if all(_is_rival(policy) for _, policy in pairs):
        return RIVAL
    parts = []
    for scenario, policy in pairs:
        if policy.identity is None:
            return UNKNOWN_CODE
        parts.append([scenario_for(policy, scenario).identity, policy.identity])
    return identity_of(parts)


def _is_rival(policy: Policy) -> bool:
    """Whether there is nothing in a policy that somebody could have made after a look at the set, but may not."""
    return isinstance(policy, PassivePolicy) or (isinstance(policy, StaticPolicy) and bool(policy.chosen_on))


def _log(origin: Origin, verb: Literal["evaluate", "tune"], asked: tuple[OpenedPolicy, ...]) -> list[Opening]:
    """Write into the log what is about to be looked at. Returns the openings, this one last. Raises `ConfigError`."""
    path = _writable(origin)
    use = Use(verb=verb, date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), git_revision=git_revision())
    with locked(path.parent):
        known: dict[tuple[int, str], Opening] = {}
        for place in _places(origin):
            for each in read_openings(place).openings:
                other = known.get(each.key)
                known[each.key] = each if other is None or len(each.uses) > len(other.uses) else other
        opening = _opened(origin, known.values(), asked)
        opening = opening.model_copy(update={"uses": (*opening.uses, use)})
        before = sorted((each for each in known.values() if each.key != opening.key), key=lambda each: each.date)
        by_date = sorted([*before, opening], key=lambda each: each.date)
        content = Openings(openings=tuple(by_date)).model_dump_json(by_alias=True, indent=2)
        atomic_write_text(path, content + "\n")
    return [*(each for each in before if each.date <= opening.date), opening]


def _opened(origin: Origin, known: Collection[Opening], asked: tuple[OpenedPolicy, ...]) -> Opening:
    """The opening with the policies asked for. Raises `ConfigError` for one that is not for them."""
    family, final = origin.family, origin.family.splits.final
    new = Opening.model_construct(
        seed=final.seed,
        daemon=family.daemon.name,
        daemon_identity=family.daemon.identity,
        set_identity=family.identity_of_split("final"),
        policies=asked,
        uses=(),
    )
    need = "a new splits.final.seed is needed"
    for each in known:
        if each.seed == new.seed and each.set_identity != new.set_identity:
            raise ConfigError(
                f"{origin.path}: splits.final.seed={final.seed}: was opened at {each.date} with other scenarios; {need}"
            )
    found = next((each for each in known if each.key == new.key), None)
    if found is None:
        return new
    if not asked:
        return found
    if not found.policies:
        return found.model_copy(update={"policies": asked})
    identities = {RIVAL, *(each.identity for each in found.policies)} - {UNKNOWN_CODE}
    for policy in asked:
        if policy.identity not in identities:
            whose = (
                "is code of others, of which nobody can tell whether it is the same"
                if policy.identity == UNKNOWN_CODE
                else f"is none of those that it was opened for: {', '.join(each.policy for each in found.policies)}"
            )
            raise ConfigError(
                f"{family.name}:final: was opened at {found.date}; policy {policy.policy} {whose}; {need} in "
                f"{origin.path}"
            )
    return found


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
