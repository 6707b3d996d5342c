"""What a training run is made of, one validated record read from configs/algorithms/NAME.yaml or a path; and suites."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self, TypeVar, get_args

from pydantic import BeforeValidator, Field, PrivateAttr, SerializerFunctionWrapHandler, model_serializer

from tierenv.agents.definition import action_definition, observation_definition, without_words
from tierenv.agents.network import Activation
from tierenv.agents.policy import Array
from tierenv.agents.run_folder import HiddenLayers, Menu
from tierenv.daemon import Daemon, load_daemon, tunable_daemons
from tierenv.errors import ConfigError
from tierenv.family import MAX_SCENARIOS, SPLITS, Family, SplitName, load_family
from tierenv.observation_spec import ObservationSpec, observation_rows
from tierenv.phase_orders import PhaseOrders
from tierenv.reading import read_yaml
from tierenv.records import (
    NamedRecord,
    Record,
    Reference,
    Seconds,
    is_bare_word,
    load_record,
    packaged,
    path_hint,
    resolve,
    validate_record,
)
from tierenv.scenario import Scenario, Scenarios, load_scenario
from tierenv.score import unshaped
from tierenv.train.algorithms import ALGORITHMS, Algorithm, LinearDecay, find_algorithm
from tierenv.train.rewards import REACH, RewardForm
from tierenv.train.start_from import ABLE, StartFrom, start_tensors
from tierenv.wrappers import menu_actions


def _number_from_text(value: Any) -> Any:
    """YAML 1.1 reads 1e-3 (without a point) as text; nobody means that."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Coordinate = Annotated[float, Field(ge=-3, le=3)]
LogStd = Annotated[float, Field(ge=-20, le=2)]
Number = TypeVar("Number")
ForEachTunable = Annotated[tuple[Number, ...], Field(min_length=1)]

Hyperparameter = Annotated[bool | int | float | str | None, BeforeValidator(_number_from_text)] | LinearDecay


class EvaluationPlan(Record):
    """How the best model of a run is found."""

    interval: Annotated[int, Field(ge=1)] = 100_000
    """Environment steps between two evaluations."""
    seeds: Annotated[int, Field(ge=1, le=1000)] = 16
    """Episodes for each scenario: seeds 30000, 30001, ..., phase orders of the training split."""
    scenarios: Annotated[int, Field(ge=1, le=MAX_SCENARIOS)] | None = None
    """Of a family's selection set, the first so many; null: all. Without a family the scenarios are the training's."""


class ScenarioSet(NamedRecord):
    """Scenarios, each under its own daemon or all under one."""

    scenarios: Scenarios
    """In the order of the tables."""
    daemon: Annotated[Daemon, Reference("daemons")] | None = None
    """Daemon in place of the scenarios' own."""

    def resolved(self) -> Self:
        """The same with scenarios under that daemon, and none to take its place."""
        if self.daemon is None:
            return self
        scenarios = tuple(scenario.under(self.daemon) for scenario in self.scenarios)
        return self.model_copy(update={"scenarios": scenarios, "daemon": None})


class TrainingConfig(ScenarioSet):
    """A training run."""

    scenarios: Scenarios = ()
    """In the order of the tables; environment i of a training begins with scenario i mod their number. Where there are
    fewer environments, one whose episode ends takes the next in turn. `family` may be given in their place."""
    family: Annotated[Family, Reference("families")] | None = None
    """Family in place of `scenarios`: its training set is trained on, the best model is chosen on its selection set."""
    family_scenarios: Annotated[int, Field(ge=1, le=MAX_SCENARIOS)] | None = None
    """The first so many of the training set; null: all."""
    algorithm: str
    """A row of tierenv.train.algorithms."""
    regions: Annotated[int, Field(ge=1, le=65536)] | None = None
    """Resolution of the model the learner acts in; null for each scenario's own, at which policies are judged."""
    phase_orders: PhaseOrders = "training"
    """Split the orders of phases are drawn from."""
    seed: Annotated[int, Field(ge=0, lt=1_000_000)] = 0
    """Of networks, exploration and episodes."""
    timesteps: Annotated[int, Field(ge=1)]
    """Environment steps, all environments together; rounded up to whole rollouts."""
    wall_time: Annotated[Seconds, Field(gt=0)] | None = None
    """Time after which training ends where the steps are not done by then, evaluations not counted; null for none."""
    num_envs: Annotated[int, Field(ge=1, le=1000)] = 64
    """Machines the learner acts on at once."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Discount factor of the learner and of the shaping."""
    shaping: bool = True
    """Whether the reward is shaped by the remaining work at the present placement."""
    reward: RewardForm = RewardForm()
    """What the learner sees of the reward."""
    observation: ObservationSpec = ObservationSpec()
    """What the policy observes; by default all features that the daemon supplies, as they are."""
    policy_net: HiddenLayers = (64, 64)
    """Hidden layers of policy and value function."""
    activation: Activation = "tanh"
    """Between these layers."""
    menu: Menu | None = None
    """For algorithms that choose: the settings to choose from, each in the coordinates of an action; null for the 13 of
    `tierenv.wrappers.MENU`."""
    initial_action: ForEachTunable[Coordinate] | None = None
    """Action an untrained policy takes on average, for each tunable, beyond [-1, 1] to stay at that end of the range
    in spite of the noise; null leaves 0, the middle of each range."""
    start_from: StartFrom | None = None
    """Another policy that it begins as; then `initial_action` is for tunables which that one does not set."""
    log_std_init: LogStd | ForEachTunable[LogStd] | None = None
    """Start value of the log of the exploration noise's standard deviation, for all tunables or for each; null
    leaves the algorithm's. With ppo-gsde it is that of what each unit of the last hidden layer, at 1, adds."""
    hyperparameters: dict[str, Hyperparameter] = {}
    """Arguments of the constructors of the algorithm and its policy; a file like one of another algorithm keeps none of
    that one's."""
    evaluation: EvaluationPlan = EvaluationPlan()
    """How the best model is found."""
    checkpoint_interval: Annotated[int, Field(ge=1)] = 200_000
    """Environment steps between two checkpoints."""
    torch_threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """Threads of the networks."""
    simulator_threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Threads of the model; null uses every core."""

    @classmethod
    def replaced(cls, below: Mapping[str, Any], above: Mapping[str, Any]) -> set[str]:
        """Another algorithm has hyperparameters of its own, and starts as it can; a family stands for scenarios."""
        is_other = above.get("algorithm", below.get("algorithm")) != below.get("algorithm")
        own = {"hyperparameters", "initial_action", "log_std_init", "menu", "start_from"} if is_other else set()
        places = {"family": {"scenarios"}, "scenarios": {"family", "family_scenarios"}}
        return own.union(*(places[key] for key in places if above.get(key)))

    @model_serializer(mode="wrap")
    def _dump(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As a file has it: scenarios of a family follow from that."""
        content: dict[str, Any] = dump(self)
        if self.family is not None:
            content.pop("scenarios", None)
        return content

    def find_algorithm(self) -> Algorithm:
        """The row of the algorithm."""
        return find_algorithm(self.algorithm, self.name)

    def resolved(self) -> Self:
        """The same with scenarios, or those of the family, under its daemon, and none to take its place."""
        if self.family is None:
            return super().resolved()
        family = self.family if self.daemon is None else self.family.under(self.daemon)
        number = family.number_of("training", self.family_scenarios)
        scenarios = family.scenarios("training", min(self.num_envs, number))
        return self.model_copy(update={"family": family, "scenarios": scenarios, "daemon": None})

    @property
    def num_scenarios(self) -> int:
        """How many are trained on; of a family `scenarios` are those alone that the environments begin with."""
        if self.family is None:
            return len(self.scenarios)
        return self.family.number_of("training", self.family_scenarios)

    def scenario(self, index: int) -> Scenario:
        """One of those that are trained on. Raises `ConfigError`."""
        if index < len(self.scenarios):
            return self.scenarios[index]
        assert self.family is not None
        return self.family.scenario("training", index)

    @property
    def selection_scenarios(self) -> tuple[Scenario, ...]:
        """What the best model is chosen on: of a family others than what is trained on. Raises `ConfigError`."""
        if self.family is None:
            return self.scenarios
        return self.family.scenarios("selection", self.evaluation.scenarios)

    def start_tensors(self) -> dict[str, Array]:
        """What acts before anything is learned, where it begins as another policy; or nothing. Raises `ConfigError`."""
        if self.start_from is None:
            return {}
        daemon = self.scenarios[0].daemon
        observed = observation_rows(self.observation, daemon)
        actor, action = self.find_algorithm().acts_by, self.initial_action
        return start_tensors(self.start_from, actor, daemon, observed, self.policy_net, self.activation, action)

    def with_overrides(self, **overrides: Any) -> "TrainingConfig":
        """A copy with those fields replaced that are not None, validated again."""
        given = {key: value for key, value in overrides.items() if value is not None}
        drawn = {} if self.family is None else {"family": self.family, "scenarios": self.scenarios}
        content = self.model_dump(exclude=set(drawn)) | given
        config = validate_record(TrainingConfig, content, f"training configuration {self.name}")
        config = config.model_copy(update=drawn)
        if not drawn or (config.num_envs, config.family_scenarios) == (self.num_envs, self.family_scenarios):
            return config
        try:
            return config.resolved()
        except ConfigError as error:
            raise ConfigError(f"training configuration {self.name}: family: {error}") from None


def load_training_config(name_or_path: str) -> TrainingConfig:
    """Read a configuration and check everything that needs no training. Raises `ConfigError`."""
    path = str(resolve("algorithms", name_or_path))
    return checked(load_record("algorithms", TrainingConfig, path), path)


def checked(config: TrainingConfig, path: str) -> TrainingConfig:
    """A configuration with its scenarios under its daemon, if what it says goes together.

    Raises:
        ConfigError: if not; it starts with `path`, where the configuration stands.
    """
    config, others = _with_scenarios(config, path)
    algorithm = find_algorithm(config.algorithm, path)
    algorithm.check(config.hyperparameters, path)
    _check_batches(config, algorithm, path)
    check_baselines(config, path)
    _check_start(config, algorithm, path)
    _check_start_from(config, algorithm, path)
    for scenario in (*config.scenarios, *others):
        if not scenario.daemon.can_be_tuned:
            raise ConfigError(
                f"{path}: scenarios: {scenario.name} runs {scenario.daemon.name}, which cannot be tuned at run time; "
                f"use a scenario with daemon {tunable_daemons()}"
            )
        if config.shaping and (reason := unshaped(scenario)):
            raise ConfigError(f"{path}: shaping=true: {reason}")
        if reason := config.reward.problem(scenario):
            raise ConfigError(f"{path}: reward.{reason}")
        _check_lengths(config, scenario.daemon, path)
        _check_same_task(config, scenario, path)
    if algorithm.chooses and config.menu is None:
        actions = menu_actions(config.scenarios[0].daemon)[0]
        config = config.model_copy(update={"menu": tuple(map(tuple, actions.tolist()))})
    return config


def check_baselines(config: TrainingConfig, origin: str) -> None:
    """Refuse rewards that are held against no migration on scenarios that environments take in turns: `ConfigError`."""
    if config.reward.needs_baselines and config.num_envs < config.num_scenarios:
        instead = "family_scenarios says how many of the family" if config.family else "name fewer"
        raise ConfigError(
            f"{origin}: num_envs={config.num_envs}: must be at least {config.num_scenarios}, one for each scenario, as "
            f"rewards are held against no migration; {instead}"
        )


def _with_scenarios(config: TrainingConfig, path: str) -> tuple[TrainingConfig, tuple[Scenario, ...]]:
    """The configuration with its scenarios, or its family's, under its daemon, and others to check.

    Those are what the best is chosen on, and one of each kind of the training set that no environment begins with.
    Raises `ConfigError`.
    """
    if bool(config.scenarios) == (config.family is not None):
        problem = "are given beside family; leave one out" if config.scenarios else "required key is missing, or family"
        raise ConfigError(f"{path}: scenarios: {problem}")
    for field, number in (
        ("family_scenarios", config.family_scenarios),
        ("evaluation.scenarios", config.evaluation.scenarios),
    ):
        if config.family is None and number is not None:
            raise ConfigError(f"{path}: {field}={number}: must be left out without family")
    try:
        config = config.resolved()
        if config.family is None:
            return config, ()
        examples = config.family.examples("training", config.family_scenarios)
        later = (config.scenario(index) for index in examples if index >= len(config.scenarios))
        return config, (*later, *config.selection_scenarios)
    except ConfigError as error:
        raise ConfigError(f"{path}{': family: ' if config.family else ': '}{error}") from None


def _check_same_task(config: TrainingConfig, other: Scenario, path: str) -> None:
    """Refuse scenarios that one policy cannot be for, and an observation that there is not."""
    first = config.scenarios[0]
    if other.control_interval != first.control_interval:
        raise ConfigError(
            f"{path}: scenarios: {other.name}: control_interval={other.control_interval:g}s: must be that of "
            f"{first.name}, {first.control_interval:g}s"
        )

    if other is not first and other.daemon == first.daemon:
        return  # said of a thousand scenarios once

    def observed(daemon: Daemon) -> list[dict[str, Any]]:
        return observation_definition(observation_rows(config.observation, daemon, f"{path}: observation"))

    for what, definition in (("features", observed), ("tunables", action_definition)):
        if without_words(definition(other.daemon)) != without_words(definition(first.daemon)):
            raise ConfigError(
                f"{path}: scenarios: {other.name}: the {what} of daemon {other.daemon.name}, their ranges included, "
                f"must be those of {first.name}'s daemon {first.daemon.name}: a policy is for one daemon"
            )


def _check_lengths(config: TrainingConfig, daemon: Daemon, path: str) -> None:
    """Refuse lists with another number of entries than the daemon has tunables."""
    lists = {field: getattr(config, field) for field in ("initial_action", "log_std_init")}
    lists |= {f"menu.{index}": choice for index, choice in enumerate(config.menu or ())}
    for field, value in lists.items():
        if isinstance(value, tuple) and len(value) != len(daemon.tunables):
            raise ConfigError(
                f"{path}: {field}: has {len(value)} entries, daemon {daemon.name} {len(daemon.tunables)} tunables: "
                f"{', '.join(daemon.tunables)}"
            )


def _check_start(config: TrainingConfig, algorithm: Algorithm, path: str) -> None:
    """Refuse where exploration shall begin for an algorithm that has no such thing, and a menu nobody reads."""
    actor = algorithm.acts_by
    if config.initial_action is not None and algorithm.chooses:
        raise ConfigError(f"{path}: initial_action: {algorithm.name} chooses from a menu, which has none; leave it out")
    if config.log_std_init is not None and actor.log_std is None:
        noise = "exploration_initial_eps" if algorithm.chooses else "action_noise"
        raise ConfigError(
            f"{path}: log_std_init: the noise of {algorithm.name} is no normal distribution that is learned; "
            f"use hyperparameters.{noise}"
        )
    if config.reward.overshoot_cost > 0 and actor.output != "clip":
        raise ConfigError(
            f"{path}: reward.overshoot_cost={config.reward.overshoot_cost:g}: actions of {algorithm.name} are within "
            "their range by themselves; leave it out"
        )
    if config.reward.overshoot_cost > 0 and any(abs(each) > REACH for each in config.initial_action or ()):
        raise ConfigError(
            f"{path}: initial_action: must be within {REACH:g} of 0 with reward.overshoot_cost, which ends there"
        )
    if config.menu is not None and not algorithm.chooses:
        raise ConfigError(f"{path}: menu: {algorithm.name} sets every tunable and chooses from none; leave it out")


def _check_start_from(config: TrainingConfig, algorithm: Algorithm, path: str) -> None:
    """Refuse an algorithm that cannot begin as another policy, and a policy that this one cannot begin as."""
    if config.start_from is None:
        return
    if algorithm.actor not in ABLE:
        able = ", ".join(name for name, row in ALGORITHMS.items() if row.actor in ABLE)
        raise ConfigError(f"{path}: start_from: {algorithm.name} cannot begin as another policy; allowed with {able}")
    try:
        config.start_tensors()
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _check_batches(config: TrainingConfig, algorithm: Algorithm, path: str) -> None:
    """Refuse batches that do not divide the rollout: the rest would count as much as a whole batch.

    And returns over more steps than a buffer keeps, and targets that are to be renewed more often than there are steps.
    """
    settings = algorithm.defaults | config.hyperparameters
    if "n_epochs" in settings and "n_steps" in settings:
        rollout, batch = config.num_envs * settings["n_steps"], settings["batch_size"]
        if rollout % batch:
            raise ConfigError(
                f"{path}: hyperparameters.batch_size={batch}: must divide "
                f"num_envs x n_steps = {config.num_envs} x {settings['n_steps']} = {rollout}"
            )
    steps_kept = settings.get("buffer_size", 0) // config.num_envs
    if algorithm.is_off_policy and not settings["n_steps"] <= max(steps_kept, 1):
        raise ConfigError(
            f"{path}: hyperparameters.n_steps={settings['n_steps']}: must be at most buffer_size / num_envs = "
            f"{steps_kept}, the steps that are kept of an environment"
        )
    if algorithm.chooses and settings["target_update_interval"] < config.num_envs:
        raise ConfigError(
            f"{path}: hyperparameters.target_update_interval={settings['target_update_interval']}: must be num_envs = "
            f"{config.num_envs} environment steps or more"
        )


class Origin(NamedTuple):
    """Where the scenarios of a suite come from."""

    family: Family
    path: Path
    """File of the family."""
    split: SplitName


class Suite(ScenarioSet):
    """Scenarios that are evaluated together."""

    _origin: Origin | None = PrivateAttr(None)

    @property
    def origin(self) -> Origin | None:
        """The set of a family that the scenarios are, None for scenarios of files."""
        return self._origin

    @property
    def family(self) -> str | None:
        """Name of the family, if they are of one."""
        return self._origin and self._origin.family.name

    @property
    def split(self) -> SplitName | None:
        """Which of its sets they are."""
        return self._origin and self._origin.split


_OF_FAMILY = re.compile(rf"(.*):({'|'.join(SPLITS)})(?::([0-9]{{1,9}}))?", re.DOTALL)
"""How a set of a family is called: generalist:selection, or generalist:selection:8 for its first eight scenarios."""


def family_suite(family: str, split: str, number: int | None = None) -> str:
    """The name by which `load_suite` knows a set of a family. Raises `ConfigError` for a set that there is not."""
    if split not in get_args(SplitName):
        raise ConfigError(f"--split={split}: must be one of {', '.join(SPLITS)}")
    return f"{family}:{split}" if number is None else f"{family}:{split}:{number}"


def is_of_family(suite_or_scenario: str) -> bool:
    """Whether a name is that of a family's set, whole or in part."""
    return _OF_FAMILY.fullmatch(suite_or_scenario) is not None


def load_suite(suite_or_scenario: str, daemon: str | None = None) -> Suite:
    """Read a suite, or make one of a single scenario or of a set of a family. Raises `ConfigError`.

    Args:
        suite_or_scenario: name or path, names of suites come first; FAMILY:SET or FAMILY:SET:NUMBER for a family's.
        daemon: name or path of one that takes the place of the scenarios' own.
    """
    loaded = None if daemon is None else load_daemon(daemon)
    if of_family := _OF_FAMILY.fullmatch(suite_or_scenario):
        family, split, number = of_family.groups()
        return _load_split(family, split, None if number is None else int(number), loaded)  # type: ignore[arg-type]
    suite = _load_suite(suite_or_scenario)
    return suite.model_copy(update={} if loaded is None else {"daemon": loaded}).resolved()


def _load_split(name_or_path: str, split: SplitName, number: int | None, daemon: Daemon | None) -> Suite:
    """A set of a family, or its first few scenarios, as a suite. Raises `ConfigError`."""
    path = resolve("families", name_or_path)
    family = load_family(name_or_path)
    family = family if daemon is None else family.under(daemon)
    try:
        scenarios = family.scenarios(split, number)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    is_whole = number in (None, getattr(family.splits, split).scenarios)
    suite = Suite(name=family_suite(family.name, split, None if is_whole else number), scenarios=scenarios)
    suite._origin = Origin(family, path, split)
    return suite


def _load_suite(suite_or_scenario: str) -> Suite:
    if is_bare_word(suite_or_scenario):
        known = packaged("suites") | packaged("scenarios")
        if suite_or_scenario not in known:
            hint = path_hint(suite_or_scenario, known)
            raise ConfigError(
                f"unknown suite or scenario {suite_or_scenario!r}{hint}; run: tierenv list suites scenarios families"
            )
        is_suite = suite_or_scenario in packaged("suites")
    else:
        path = resolve("suites", suite_or_scenario)
        if "splits" in read_yaml(path):
            raise ConfigError(
                f"{path}: holds a family; give --family {path}, or name one of its sets: {path}:selection"
            )
        is_suite = _is_suite(path)
    if is_suite:
        return load_record("suites", Suite, suite_or_scenario)
    scenario = load_scenario(suite_or_scenario)
    return Suite(name=scenario.name, scenarios=(scenario,))


def _is_suite(path: Path, seen: tuple[Path, ...] = ()) -> bool:
    """Whether a file holds a suite rather than a scenario: it names scenarios, or is like one that does."""
    values = read_yaml(path)
    like = values.get("like")
    if "scenarios" in values or not isinstance(like, str) or path in seen:
        return "scenarios" in values
    return like in packaged("suites") if is_bare_word(like) else _is_suite(resolve("suites", like), (*seen, path))
