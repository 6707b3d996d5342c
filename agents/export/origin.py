"""Where a learned policy comes from, in the words every exported file carries."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tierenv import __version__
from tierenv.agents.bundle import DOCUMENT, BundlePolicy, Network
from tierenv.agents.export.modelled import CAVEAT
from tierenv.agents.learned import LearnedPolicy, training_scenarios
from tierenv.agents.policy import POLICIES, find_policy_folder
from tierenv.agents.tree import DecisionTree
from tierenv.errors import ConfigError
