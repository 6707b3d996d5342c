"""Families of scenarios: what they are drawn from, and three sets of them that share no platform and no form.

What is learned on the training set and chosen on the selection set is judged on the final one, which holds platforms
and forms of workloads that nobody has trained on. Scenario i of a set follows from the family, the set's seed and i,
whatever number is asked for and whatever the daemon.
"""

import math
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tierenv.daemon import Daemon, HintFaultDaemon
from tierenv.draws import Drawing, Parsed, quantity_of
from tierenv.errors import ConfigError, close_match
from tierenv.forms import (
    MAX_ENTRIES,
    WORK,
    Form,
    FormKind,
    WithDraws,
    check_names,
    deciding_of,
    likeness_of,
    platform_fragment,
    scenario_fragment,
    with_whole_workload,
)
from tierenv.platform import Platform
from tierenv.records import (
    Fraction,
    NamedRecord,
    Record,
    Reference,
    identity_of,
    load_record,
    put_over,
    resolve,
    validate_record,
)
from tierenv.scenario import Scenario
from tierenv.units import DAY_S, format_seconds

SplitName = Literal["training", "selection", "final"]
"""What a set is for."""
SPLITS: tuple[SplitName, ...] = get_args(SplitName)

MAX_SCENARIOS = 100_000
"""In a set, at most."""
LEAST_FINAL = 24
"""Scenarios of a final set: with fewer, one of them decides."""
LEAST_RUN_S = 1e-3
MOST_ROUNDS = 30
"""In which the work is brought to a run time: two are enough, but for loads that change."""
DIGITS = 4
"""Of work that follows from a run time."""
TOLERANCE = 1e-3
"""To which such a time is met."""
MOST_SHOWN = 400
"""Characters of what was drawn, in a message."""

Names = Annotated[tuple[str, ...], Field(min_length=1)]


class Split(Record):
    """One of the three sets."""

    platforms: Names
    """Those of the family that it alone has."""
    forms: Names
    """Those of the family that it alone has."""
    scenarios: Annotated[int, Field(ge=1, le=MAX_SCENARIOS)]
    """How many there are."""
    seed: Annotated[int, Field(ge=0, lt=1 << 64)]
    """They are drawn with; no two sets have the same."""
    mix: Annotated[dict[FormKind, Fraction], Field(min_length=1)]
    """Share of the scenarios that are of each kind; they add up to 1. It is met exactly, by largest remainders."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if abs(sum(self.mix.values()) - 1) > 1e-9:
            raise ValueError(f"mix: must add up to 1, got {sum(self.mix.values()):g}")
        for field in ("platforms", "forms"):
            names = getattr(self, field)
            if len(set(names)) < len(names):
                raise ValueError(f"{field}: names must differ, got {', '.join(names)}")
        return self

    @property
    def counts(self) -> dict[FormKind, int]:
        """Scenarios of each kind: the whole part of its share, and one more for those with the largest remainders."""
        shares = {kind: round(self.mix.get(kind, 0.0) * self.scenarios, 9) for kind in get_args(FormKind)}
        counts = {kind: int(share) for kind, share in shares.items()}
        by_remainder = sorted(shares, key=lambda kind: counts[kind] - shares[kind])
        for kind in by_remainder[: self.scenarios - sum(counts.values())]:
            counts[kind] += 1
        return counts


class Splits(Record):
    """The three sets."""

    training: Split
    """What is trained on."""
    selection: Split
    """What the best model is chosen on, and whatever else is looked at on the way."""
    final: Split
    """What is judged on, once: see docs/families.md."""


class Drawn(NamedTuple):
    """A scenario and where it comes from."""

    scenario: Scenario
    kind: FormKind
    form: str
    platform: str


def _check_entries(entries: Mapping[str, Any]) -> Mapping[str, Any]:
    if not 1 <= len(entries) <= MAX_ENTRIES:
        raise ValueError(f"must have 1 to {MAX_ENTRIES} entries, has {len(entries)}")
    return entries


Entries = (BeforeValidator(check_names), AfterValidator(_check_entries))


class Family(NamedRecord):
    """What scenarios are drawn from, and three sets of them that share no platform and no form."""

    daemon: Annotated[Daemon, Reference("daemons")]
    """What promotes in all of them; `--daemon` takes its place."""
    base: Annotated[dict[str, Any], BeforeValidator(scenario_fragment), WithDraws("scenarios")] = {}
    """Fields of a scenario that every form has unless it says otherwise."""
    platforms: Annotated[
        dict[str, Annotated[Any, BeforeValidator(platform_fragment), WithDraws("platforms")]], *Entries
    ]
    """Machines by name: the name or path of a platform, or what one holds, with draws in place of any values and a
    `let` as forms have it."""
    forms: Annotated[dict[str, Form], *Entries]
    """Forms of workloads by name."""
    splits: Splits
    """Which of them are for what."""

    @model_validator(mode="before")
    @classmethod
    def _keep_references_whole(cls, values: Any) -> Any:
        """Let a form that names a workload have that one alone, as in files, not put over fields of the base's.

        It becomes a choice of one: that stands for itself, also where a family is written and read again.
        """
        if not isinstance(values, Mapping) or not isinstance(values.get("forms"), Mapping):
            return values
        base = values.get("base")
        if not isinstance(base, Mapping) or not base.keys() & {"workload", "like"}:
            return values
        return dict(values) | {"forms": {name: with_whole_workload(form) for name, form in values["forms"].items()}}

    @model_validator(mode="after")
    def _check(self) -> Self:
        object.__setattr__(self, "base", Parsed()(self.base, "base"))
        for field in ("platforms", "forms"):
            self._check_apart(field, getattr(self, field))
        splits = {name: getattr(self.splits, name) for name in SPLITS}
        for index, name in enumerate(SPLITS):
            self._check_mix(name, splits[name])
            for other in SPLITS[:index]:
                if splits[other].seed == splits[name].seed:
                    raise ValueError(f"splits.{name}.seed={splits[name].seed}: must differ from that of {other}")
        if self.splits.final.scenarios < LEAST_FINAL:
            raise ValueError(f"splits.final.scenarios={self.splits.final.scenarios}: must be at least {LEAST_FINAL}")
        return self

    def _check_apart(self, field: str, entries: Mapping[str, Any]) -> None:
        """Refuse a platform or form that is in two sets, in none, or the same as another under another name."""
        used: dict[str, str] = {}
        for split in SPLITS:
            for name in getattr(getattr(self.splits, split), field):
                if name not in entries:
                    hint = close_match(name, entries)
                    raise ValueError(
                        f"splits.{split}.{field}: unknown {name!r}{hint}; {field} has {', '.join(entries)}"
                    )
                if name in used:
                    raise ValueError(
                        f"splits.{split}.{field}: {name} is in {used[name]}, too; must be in one of the splits alone"
                    )
                used[name] = split
        for name in entries:
            if name not in used:
                raise ValueError(f"{field}.{name}: is in none of the splits; add it to one, or leave it out")
        by_content: dict[str, str] = {}
        for name, entry in entries.items():
            other = by_content.setdefault(identity_of(likeness_of(entry)), name)
            if other != name:
                raise ValueError(f"{field}.{name}: is {other} under another name; must differ from it")

    def _check_mix(self, name: str, split: Split) -> None:
        """Refuse a mix that its forms cannot give."""
        kinds = {self.forms[form].kind for form in split.forms}
        for kind, count in split.counts.items():
            if count and kind not in kinds:
                raise ValueError(f"splits.{name}.mix.{kind}={split.mix[kind]:g}: none of its forms is of that kind")
        for form in split.forms:
            if not split.counts[self.forms[form].kind]:
                raise ValueError(
                    f"splits.{name}.forms: {form} is {self.forms[form].kind}, of which mix has no scenario; "
                    "leave it out"
                )

    @cached_property
    def identity(self) -> str:
        """SHA-256 of all that decides; see `NamedRecord.identity`, which does not tell whole ends of draws from others.

        Names of platforms and forms say which set has which.
        """
        platforms = {name: deciding_of(entry) for name, entry in self.platforms.items()}
        forms = {name: deciding_of(form) for name, form in self.forms.items()}
        return identity_of([self.daemon, deciding_of(self.base), platforms, forms, self.splits])

    def under(self, daemon: Daemon) -> Self:
        """The family with another daemon, of which nothing that is drawn depends."""
        return self.model_copy(update={"daemon": daemon})

    def identity_of_split(self, name: SplitName) -> str:
        """SHA-256 of all that decides its scenarios: not names, and not the daemon."""
        split: Split = getattr(self.splits, name)
        platforms = [deciding_of(self.platforms[each]) for each in split.platforms]
        forms = [deciding_of(self.forms[each]) for each in split.forms]
        numbers = [name, split.scenarios, split.seed, split.counts]
        return identity_of([deciding_of(self.base), platforms, forms, numbers])

    def scenarios(self, split: SplitName, number: int | None = None) -> tuple[Scenario, ...]:
        """The scenarios of a set, or the first few. Raises `ConfigError`."""
        return tuple(drawn.scenario for drawn in self.drawn(split, number))

    def number_of(self, split: SplitName, number: int | None = None) -> int:
        """How many scenarios a set has, or of these the first few that somebody asked for. Raises `ConfigError`."""
        whole: int = getattr(self.splits, split).scenarios
        if number is not None and not 1 <= number <= whole:
            raise ConfigError(f"{number} scenarios of {self.name}:{split}: must be 1 to {whole}")
        return whole if number is None else number

    def scenario(self, split: SplitName, index: int) -> Scenario:
        """One scenario of a set, of which no other has to be drawn for it. Raises `ConfigError`."""
        return self._draw(split, index, *self._plans[split][index]).scenario

    def examples(self, split: SplitName, number: int | None = None) -> list[int]:
        """Of a set, or its first few, the first scenario of each form on each platform. Raises `ConfigError`."""
        plan = self._plans[split][: self.number_of(split, number)]
        return sorted({pair: index for index, pair in reversed(list(enumerate(plan)))}.values())

    def drawn(self, split: SplitName, number: int | None = None) -> list[Drawn]:
        """The scenarios of a set, or the first few, and where they come from. Raises `ConfigError`."""
        plan = self._plans[split]
        return [self._draw(split, index, *plan[index]) for index in range(self.number_of(split, number))]

    @cached_property
    def _plans(self) -> dict[SplitName, list[tuple[str, str]]]:
        return {split: self._plan(split) for split in SPLITS}

    def _plan(self, name: SplitName) -> list[tuple[str, str]]:
        """Form and platform of each scenario.

        The mix is spread evenly over the set, so that the first few have it, too. Within a kind every form has its
        turn, and every platform with every form, those first that were seldom there; the seed decides between equals.
        """
        split: Split = getattr(self.splits, name)
        generator = np.random.default_rng(np.random.SeedSequence(split.seed, spawn_key=(SPLITS.index(name),)))
        turns = sorted(((turn + 0.5) / count, kind) for kind, count in split.counts.items() for turn in range(count))
        used: Counter[str | tuple[str, str]] = Counter()
        plan = []
        for _, kind in turns:
            forms = {form: (used[form], generator.random()) for form in split.forms if self.forms[form].kind == kind}
            form = min(forms, key=forms.__getitem__)
            platforms = {each: (used[form, each], used["", each], generator.random()) for each in split.platforms}
            platform = min(platforms, key=platforms.__getitem__)
            used.update([form, (form, platform), ("", platform)])
            plan.append((form, platform))
        return plan

    def _draw(self, split: SplitName, index: int, form_name: str, platform_name: str) -> Drawn:
        form, total = self.forms[form_name], getattr(self.splits, split).scenarios
        seed, key = getattr(self.splits, split).seed, (SPLITS.index(split), index)
        drawing = Drawing(seed, key, form.let)
        of_platform = Drawing(seed, key, self.platforms[platform_name].get("let"), "platform.let")
        name = f"{self.name}-{split}-{index:0{len(str(total - 1))}d}"
        try:
            values = {key: drawing(value, key) for key, value in self._content[form_name].items()}
            values |= {
                "name": name,
                "summary": f"{form_name} on {platform_name}",
                "platform": self._platform(platform_name, of_platform),
                "daemon": self.daemon,
            }
            _name_workloads(values, form_name)
            if isinstance(self.daemon, HintFaultDaemon):  # is NUMA balancing itself
                values = {key: value for key, value in values.items() if not key.startswith("numa_balancing")}
            scenario = _scenario(values, drawing(form.run_time, "run_time"))
        except ConfigError as error:
            drawn = drawing.values | of_platform.values
            shown = ", ".join(f"{place}={value}" for place, value in drawn.items())
            shown = shown if len(shown) <= MOST_SHOWN else f"{shown[:MOST_SHOWN]}..."
            raise ConfigError(
                f"forms.{form_name} on platforms.{platform_name}, {name}: {error}{'; drawn were ' * bool(shown)}{shown}"
            ) from None
        return Drawn(scenario, form.kind, form_name, platform_name)

    @cached_property
    def _content(self) -> dict[str, dict[str, Any]]:
        """What each form says of a scenario, put over the base."""
        return {name: put_over(self.base, form.scenario, [Scenario]) for name, form in self.forms.items()}

    def _platform(self, name: str, drawing: Drawing) -> Platform:
        content = self.platforms[name]
        values = {key: drawing(value, f"platform.{key}") for key, value in content.items() if key != "let"}
        return validate_record(Platform, values | {"name": name}, "platform")


def _name_workloads(values: dict[str, Any], form: str) -> None:
    """Call programs that have no name by that of the form."""
    corunners = values.get("corunners")
    for process in [values, *(corunners if isinstance(corunners, list) else ())]:
        if not isinstance(process, dict):
            continue
        if isinstance(process.get("workload"), dict):
            process["workload"].setdefault("name", form if process is values else f"beside {form}")


def _scenario(values: dict[str, Any], run_time: Any) -> Scenario:
    """The scenario, its work such that the application takes the run time. Raises `ConfigError`."""
    if run_time is None:
        return validate_record(Scenario, values, "")
    from tierenv.sim.parameters import alone_s, scenario_arrays  # here, because numba takes a while to load

    wanted_s = _seconds(run_time)
    workload = values.get("workload")
    accesses, least, most = 1000.0, 0.0, math.inf
    for _ in range(MOST_ROUNDS):
        if isinstance(workload, dict):
            values = values | {"workload": workload | {WORK: accesses}}
        scenario = validate_record(Scenario, values, "")
        takes_s = float(alone_s(scenario_arrays(scenario))[0])
        if abs(takes_s / wanted_s - 1) < TOLERANCE:
            break
        least, most = (accesses, most) if takes_s < wanted_s else (least, accesses)
        # time goes with the work unless the load changes; then it grows with it, if not evenly
        is_between = least > 0 and most < math.inf
        accesses = math.sqrt(least * most) if is_between else accesses * wanted_s / takes_s
        accesses = float(f"{accesses:.{DIGITS}g}")
    else:
        raise ConfigError(
            f"run_time={format_seconds(wanted_s)}: is not met, {MOST_ROUNDS} values of {WORK} come to "
            f"{format_seconds(takes_s)} at last; must be a time that the work can have"
        )
    return scenario


def _seconds(run_time: Any) -> float:
    try:
        quantity = quantity_of(run_time)
    except ValueError as error:
        raise ConfigError(f"run_time: {error}") from None
    if quantity.unit != "time" or not LEAST_RUN_S <= quantity.number <= DAY_S:
        raise ConfigError(
            f"run_time={quantity}: must be a time from {format_seconds(LEAST_RUN_S)} to {format_seconds(DAY_S)}"
        )
    return quantity.number


def load_family(name_or_path: str) -> Family:
    """Read a family and all that it refers to. Raises `ConfigError`."""
    return load_record("families", Family, str(resolve("families", name_or_path)))
