"""The search for the best static setting of a scenario, or of all of a suite: what a learned policy has to beat.

samplers     the table of samplers: how one comes by the settings to try
proposals    Optuna's samplers, that propose settings in rounds
screening    running settings, many machines at once
storage      the file of --storage, a journal of Optuna
searching    a search: all settings coarsely on common seeds, the best again on fresh ones
results      what it found and what that cost
"""

from tierenv.train.search.results import SearchResult, SuiteSearchResult, save_best_static, save_search
from tierenv.train.search.samplers import SAMPLERS
from tierenv.train.search.searching import check_search, search, search_scenarios, search_suite, search_target

__all__ = [
    "SAMPLERS",
    "SearchResult",
    "SuiteSearchResult",
    "save_best_static",
    "check_search",
    "save_search",
    "search",
    "search_scenarios",
    "search_suite",
    "search_target",
]
