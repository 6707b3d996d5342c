"""What is fitted: the table's rows and what files mark with priors, and what cannot be."""

import math
from typing import Any

import pytest

from tierenv.errors import ConfigError
from tierenv.priors import MAX_PRIOR_SDS, PARAMETERS, bounds_of, priors_of, with_values
from tierenv.records import with_changes
from tierenv.scenario import Scenario, load_scenario

FIELDS = [row.field for row in PARAMETERS]


@pytest.fixture(scope="module")
def like() -> Scenario:
    return load_scenario("abench-8g")


def test_without_marks_the_table_is_fitted(like: Scenario) -> None:
    files = {"platform": {"cxl": {"idle_latency": "250ns"}}, "workload": {"think": "40ns"}}
    assert priors_of(like, files).fitted == PARAMETERS
    assert not priors_of(like, files).fixed


def test_a_mark_takes_the_place_of_the_table_s_prior_part_by_part(like: Scenario) -> None:
    like = with_changes(like, {"workload": {"think": "0.08us", "memory_parallelism": 4}}, "mine")
    files = {
        "workload": {
            "think": {"value": "0.08us", "prior": 1.1, "source": "VTune"},
            "memory_parallelism": {"value": 4, "source": "counted"},
        }
    }
    parallelism, think, *rest = priors_of(like, files).fitted
    assert rest == list(PARAMETERS[2:])
    assert (think.unit, think.source) == ("us", "VTune")
    assert (think.prior, think.scale, think.prior_sd) == pytest.approx((0.08, 1e-6, math.log(1.1)))
    assert (parallelism.prior, parallelism.prior_sd, parallelism.source) == (4, PARAMETERS[0].prior_sd, "counted")


def test_what_is_fixed_is_not_fitted_and_what_is_marked_with_a_prior_is(like: Scenario) -> None:
    files = {
        "platform": {
            "numa_start_period_factor": {"value": 1, "prior": "fixed"},
            "cxl": {"bandwidth": {"value": "48GB/s", "prior": 1.2}, "capacity": {"value": "126GiB", "source": "HMAT"}},
            "sockets": {"value": 2, "prior": "fixed"},
            "dram": {"bandwidth": {"value": "unlimited", "prior": "fixed", "source": "not looked at"}},
        },
        "workload": {"classes": [{"name": "all", "fraction": {"value": 1.0, "prior": "fixed"}}]},
    }
    priors = priors_of(like, files)
    assert [row.field for row in priors.fitted] == [
        *(field for field in FIELDS if field != "platform.numa_start_period_factor"),
        "platform.cxl.bandwidth",
    ]
    assert [(row.field, row.value, row.source) for row in priors.fixed] == [
        ("platform.numa_start_period_factor", "1", ""),
        ("platform.sockets", "2", ""),
        ("platform.dram.bandwidth", "unlimited", "not looked at"),
        ("workload.classes.0.fraction", "1.0", ""),
    ]
    bandwidth = priors.fitted[-1]
    changed = with_values(like, [bandwidth], [50.0])
    assert changed.platform.cxl.bandwidth == pytest.approx(50e9)
    assert bandwidth.value_of(changed) == pytest.approx(50)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"workload": {"classes": [{"fraction": {"value": 1.0, "prior": 2}}]}},
            "workload.classes.0.fraction: cannot be",
        ),
        ({"workload": {"threads": {"value": 64, "prior": 2}}}, "workload.threads: is a whole number and cannot be"),
        ({"workload": {"cache_hit_share": {"value": 0.0, "prior": 2}}}, "workload.cache_hit_share: must be above 0"),
    ],
)
def test_what_cannot_be_fitted_is_refused_by_name(like: Scenario, files: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        priors_of(like, files)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_bounds_are_within_the_prior_and_what_records_take(like: Scenario) -> None:
    files = {"platform": {"promotion_watermark": {"value": 0.01, "prior": 2}}}
    fitted = priors_of(like, files).fitted
    assert bounds_of(fitted[0], like, fitted) == pytest.approx((-MAX_PRIOR_SDS * 0.5, MAX_PRIOR_SDS * 0.5))
    low, high = bounds_of(fitted[-1], like, fitted)
    assert low == pytest.approx(-MAX_PRIOR_SDS * math.log(2))
    assert 0 < high < math.log(2), "it must stay below kswapd_target, twice as high"
