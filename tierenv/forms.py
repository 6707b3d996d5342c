"""Forms and platforms of a family as its file says them: values with draws in them, and what decides of those."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tierenv.draws import Parsed, is_draw
from tierenv.errors import ConfigError
from tierenv.fragments import WORDS, deciding, likeness, read_references, used_lets
from tierenv.platform import Platform
from tierenv.records import Record, check_name, content_of
from tierenv.scenario import Scenario

FormKind = Literal["separable", "flat", "nothing-to-win"]
"""What a form is built for; see `Form.kind`."""

MAX_ENTRIES = 100
"""Platforms, and forms, of a family, and names under a `let`."""

OWN = {"platform": "the family's platforms", "daemon": "the family and --daemon", "control": "policies"}
"""Fields of a scenario that are not a form's to say, and who says them."""


@dataclass(frozen=True)
class WithDraws:
    """Marks a field that holds what a record of a kind would say, with draws in place of any values."""

    kind: str


WORK = "accesses_per_page"
"""Of a workload: follows from a run time."""


def check_names(values: Any) -> Any:
    """Refuse names that are none."""
    if isinstance(values, Mapping):
        for name in values:
            if not isinstance(name, str):
                raise ValueError(f"{str(name)[:40]}: must be a name")
            check_name(name)
    return values


def scenario_fragment(value: Any) -> Any:
    """What a form or the base says of a scenario, its references read."""
    if not isinstance(value, Mapping):
        return value
    for key, whose in OWN.items():
        if key in value:
            raise ValueError(f"{key}: must be left out: {whose} say it")
    if is_draw(value):
        raise ValueError("must be a scenario's fields, of which each may be a draw")
    read: dict[str, Any] = read_references("scenarios", Scenario, value)
    return {key: entry for key, entry in read.items() if key not in (*OWN, *WORDS)}


def platform_fragment(value: Any) -> Any:
    """What an entry says of a platform, its reference read and its draws parsed."""
    if not isinstance(value, str | Mapping) or is_draw(value):
        raise ValueError("must be the name or path of one platform, or what one holds, with draws in it")
    lets: dict[str, Any] = {}
    if isinstance(value, Mapping):
        lets = _checked_lets(value.get("let", {}))
        value = {key: entry for key, entry in value.items() if key != "let"}
    read = read_references("platforms", Platform, value)
    parsed = Parsed(list(lets))
    given = {"let": parsed(lets, "let")} if lets else {}
    return given | {str(key): parsed(entry, key) for key, entry in read.items() if key not in WORDS}


def _checked_lets(lets: Any) -> dict[str, Any]:
    """What stands under a platform's `let`. Raises `ValueError`."""
    if not isinstance(lets, Mapping) or len(lets) > MAX_ENTRIES:
        raise ValueError(f"let: must be a mapping of at most {MAX_ENTRIES} names to values and draws")
    try:
        return dict(check_names(lets))
    except ValueError as error:
        raise ValueError(f"let: {error}") from None


def _of_choices(value: Any, change: Callable[[Any], Any]) -> Any:
    """A value changed, or what it may be by choice, at any depth."""
    if not is_draw(value) or not isinstance(value.get("of"), list | tuple):
        return change(value)
    return dict(value) | {"of": [_of_choices(entry, change) for entry in value["of"]]}


def _refuse_work(workload: Any) -> Any:
    if isinstance(workload, Mapping) and WORK in workload:
        raise ValueError(f"scenario.workload.{WORK}: follows from run_time; one of them must be left out")
    return workload


def _without_work(workload: Any) -> Any:
    return {key: value for key, value in workload.items() if key != WORK} if isinstance(workload, dict) else workload


class Form(Record):
    """A kind of workload, with how it starts and what runs beside it."""

    kind: FormKind
    """separable: some pages are much hotter, would fit the fast tier, and are not there at the start, or others become
    hot. flat: heat is hardly told apart, little can be won. nothing-to-win: everything is fast already, or as good as
    fast, or changes faster than a daemon follows."""
    summary: str = ""
    """One line for people."""
    let: Annotated[dict[str, Any], Field(max_length=MAX_ENTRIES), BeforeValidator(check_names)] = {}
    """Values and draws that several draws of the form refer to, by name."""
    run_time: Any = None
    """Time the application takes alone with all memory fast, or a draw of it; its `accesses_per_page` follow from that.
    null: as many as `scenario` says."""
    scenario: Annotated[dict[str, Any], BeforeValidator(scenario_fragment), WithDraws("scenarios")]
    """Fields of a scenario, with draws in place of any values; not its platform and its daemon."""

    @model_validator(mode="before")
    @classmethod
    def _check_work(cls, values: Any) -> Any:
        """Refuse work of its own beside a run time, from which it follows."""
        if isinstance(values, Mapping) and values.get("run_time") is not None:
            scenario = values.get("scenario")
            _of_choices(scenario.get("workload") if isinstance(scenario, Mapping) else None, _refuse_work)
        return values

    @model_validator(mode="after")
    def _parse(self) -> Self:
        """Make draws of what stands for them; what a file says of work gives way to a run time."""
        if self.run_time is not None and "workload" in self.scenario:
            workload = _of_choices(self.scenario["workload"], _without_work)
            object.__setattr__(self, "scenario", self.scenario | {"workload": workload})
        parsed = Parsed(list(self.let))
        for name in ("let", "run_time"):
            object.__setattr__(self, name, parsed(getattr(self, name), name))
        object.__setattr__(self, "scenario", {key: parsed(value, key) for key, value in self.scenario.items()})
        return self


def with_whole_workload(form: Any) -> Any:
    """A form as it is written; see `Family._keep_references_whole`."""
    scenario = form.get("scenario") if isinstance(form, Mapping) else None
    if not isinstance(scenario, Mapping):
        return form
    try:
        scenario = content_of("scenarios", Scenario, scenario)
    except ConfigError:
        return form  # which says so itself
    workload = scenario.get("workload")
    if not isinstance(workload, str) and not (isinstance(workload, Mapping) and "like" in workload):
        return form
    return dict(form) | {"scenario": scenario | {"workload": {"draw": "choice", "of": [workload]}}}


def _parts(entry: Any) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """What is let by a form or a platform and drawn from, its run time, and what it says."""
    if isinstance(entry, Form):
        return used_lets(entry.let, entry.run_time, entry.scenario), entry.run_time, entry.scenario
    content = {key: value for key, value in entry.items() if key != "let"}
    return used_lets(entry.get("let", {}), content), None, content


def deciding_of(entry: Any) -> Any:
    """What of a form, a platform or the base decides: not the names of programs."""
    lets, run_time, content = _parts(entry)
    if isinstance(content.get("workload"), Mapping):
        workload = {key: value for key, value in content["workload"].items() if key not in WORDS}
        content = content | {"workload": workload}
    # lets are known by name, and which is first decides nothing
    found = [{name: deciding(value) for name, value in lets.items()}, deciding(run_time), deciding(content)]
    return [entry.kind, *found] if isinstance(entry, Form) else found


def likeness_of(entry: Any) -> Any:
    """What two forms, or two platforms, have in common that are the same, whatever they are called or built for."""
    lets, run_time, content = _parts(entry)
    return [{name: likeness(value) for name, value in lets.items()}, likeness(run_time), likeness(content)]
