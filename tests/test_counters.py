"""The table of counters."""

from tierenv import counters
from tierenv.counters import NUM_COUNTERS
from tierenv.sim import records


def test_every_counter_has_one_column() -> None:
    columns = {name: value for name, value in vars(counters).items() if type(value) is int and name != "NUM_COUNTERS"}
    assert sorted(columns.values()) == list(range(NUM_COUNTERS))


def test_every_counter_of_the_models_has_one_column() -> None:
    columns = [records.WASTED, records.DUPLICATES, records.PEAK_LIST, records.ALLOCATION_FAILURES]
    columns.append(records.BALANCING_NS)
    assert sorted(columns) == list(range(len(records.MODEL_COUNTERS)))
