"""Both models keep what a system promises."""

from collections.abc import Sequence

from tests.sim.conformance import ModelledConformance
from tierenv.scenario import Scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.pages.system import PagesSystem


class TestLumpedSystem(ModelledConformance):
    def make(self, scenarios: Sequence[Scenario]) -> LumpedSystem:
        return LumpedSystem(scenarios)


class TestPagesSystem(ModelledConformance):
    most_machines = 1

    def make(self, scenarios: Sequence[Scenario]) -> PagesSystem:
        (scenario,) = scenarios
        return PagesSystem(scenario)
