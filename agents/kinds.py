"""What kinds of policy there are: a verdict names the kind that wins, and rivals are policies of other kinds."""

from collections.abc import Mapping
from typing import Literal

Kind = Literal["nothing", "rule", "constant", "search", "learned", "chance", "program"]

KINDS: Mapping[Kind, str] = {
    "nothing": "doing nothing",
    "rule": "a rule",
    "constant": "a constant",
    "search": "search",
    "learned": "learning",
    "chance": "chance",
    "program": "a program",
}
"""In words. A constant is one setting for whatever runs; search finds one for each scenario; a program is somebody's
code that nobody knows more of."""
