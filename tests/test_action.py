"""Actions to tunables and back."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierenv.action import ActionCodec
from tierenv.daemon import load_daemon
from tierenv.errors import ConfigError
from tierenv.tunables import TUNABLES, Setting, setting_of
from tierenv.units import GIB, MIB

TUNABLE = load_daemon("kmmscand-tunable")
V1 = load_daemon("kmmscand-v1")
CODEC = ActionCodec(TUNABLE)
OWN = list(CODEC.columns.values())
"""Columns of its tunables."""


def row(*values: float) -> list[float]:
    """Its tunables as a row of an array of tunables."""
    return list(Setting(dict(zip(CODEC.names, values, strict=True))).row)


coordinates = st.floats(-1, 1, width=32)
actions = st.tuples(coordinates, coordinates, coordinates)


@given(actions)
def test_every_action_decodes_to_a_setting_the_daemon_allows(action: tuple[float, ...]) -> None:
    TUNABLE.check_setting(setting_of(CODEC.decode(action), CODEC.names))


@given(actions)
def test_encoding_survives_the_float32_of_a_policy(action: tuple[float, ...]) -> None:
    tunables = CODEC.decode(action)
    again = CODEC.decode(CODEC.encode(tunables).astype(np.float32))
    np.testing.assert_allclose(again, tunables, rtol=1e-5)


@given(actions, actions)
def test_a_greater_coordinate_never_means_a_smaller_tunable(one: tuple[float, ...], other: tuple[float, ...]) -> None:
    low, high = np.minimum(one, other), np.maximum(one, other)
    assert (CODEC.decode(low) <= CODEC.decode(high))[OWN].all()


def test_ends_of_the_ranges_are_exact_even_in_float32() -> None:
    for end in ("min", "max"):
        setting = [getattr(bounds, end) for bounds in TUNABLE.tunables.values()]
        decoded = CODEC.decode(CODEC.encode(row(*setting)).astype(np.float32))
        np.testing.assert_allclose(decoded, row(*setting), rtol=1e-12)


def test_only_the_throttle_has_dead_zones() -> None:
    lowest, highest = CODEC.decode([[-1, -1, -1], [1, 1, 1]])
    assert lowest.tolist() == pytest.approx(row(100, 256 * MIB, 0), nan_ok=True)
    assert highest.tolist() == pytest.approx(row(20_000, 16 * GIB, math.inf), nan_ok=True)
    throttles = CODEC.decode([[0, 0, coordinate] for coordinate in (-0.51, -0.49, 0.49, 0.51)])[:, 2]
    assert throttles[0] == 0 and throttles[3] == math.inf
    assert MIB < throttles[1] < 1.2 * MIB and 3.5 * GIB < throttles[2] < 4 * GIB


def test_scale_is_logarithmic() -> None:
    np.testing.assert_allclose(CODEC.decode([0, 0, 0])[OWN], [math.sqrt(100 * 20_000), 2 * GIB, 64 * MIB], rtol=1e-6)


def test_off_and_unlimited_encode_to_the_corners() -> None:
    assert CODEC.encode(row(2000, GIB, 0))[2] == -1
    assert CODEC.encode(row(2000, GIB, math.inf))[2] == 1


def test_each_machine_has_the_ranges_of_its_own_daemon() -> None:
    narrow = TUNABLE.tunables | {"scan_size": V1.tunables["scan_size"]}
    other = TUNABLE.model_copy(update={"tunables": narrow})
    mixed = ActionCodec(TUNABLE, other)
    both = mixed.decode(np.full((2, 3), -0.5))
    np.testing.assert_array_equal(both[0], CODEC.decode([-0.5, -0.5, -0.5]))
    np.testing.assert_array_equal(both[1], ActionCodec(other).decode([-0.5, -0.5, -0.5]))
    np.testing.assert_allclose(mixed.encode(both), np.full((2, 3), -0.5))


@pytest.mark.parametrize("bad", [1.01, -1.01, 1 + 2e-6, math.nan, math.inf, "0.5", None, 1j, True])
def test_coordinates_outside_the_cube_and_what_is_no_number_are_refused(bad: object) -> None:
    with pytest.raises(ConfigError, match=r"^actions: must .*\[-1, 1\]"):
        CODEC.decode(np.array([bad, bad, bad]))


@pytest.mark.parametrize("end", [-1, 1])
def test_what_rounding_leaves_beyond_an_end_is_that_end(end: int) -> None:
    for beyond in (1.0000001, np.nextafter(np.float32(1), np.float32(2))):
        np.testing.assert_array_equal(CODEC.decode(np.full(3, end * beyond)), CODEC.decode(np.full(3, end)))


def test_a_daemon_s_list_of_tunables_is_the_shape_of_its_actions() -> None:
    codec = ActionCodec(V1)
    assert (codec.names, codec.space.shape, codec.space.dtype) == (("scan_period", "scan_size"), (2,), np.float32)
    assert (codec.space.low == -1).all() and (codec.space.high == 1).all()
    tunables = codec.decode([[-1, 1]])
    assert tunables.shape == (1, len(TUNABLES)) and np.isnan(tunables[0, 2])
    np.testing.assert_array_equal(codec.encode(tunables), [[-1, 1]])
    with pytest.raises(ConfigError, match="kmmscand-v1: has other tunables than kmmscand-tunable"):
        ActionCodec(TUNABLE, V1)


@given(coordinates, st.integers(2, 16))
def test_a_counted_tunable_is_the_nearest_whole_number_halves_up(coordinate: float, windows: int) -> None:
    codec = ActionCodec(load_daemon("kmmscand-threshold"))
    column = codec.columns["access_threshold"]
    decoded = codec.decode([0, 0, 0, coordinate])[column]
    assert decoded == math.floor(2 * 8 ** ((np.float64(coordinate) + 1) / 2) + 0.5)
    whole = np.array(load_daemon("kmmscand-threshold").start_setting.row)
    whole[column] = windows
    assert codec.decode(codec.encode(whole).astype(np.float32))[column] == windows


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("scan_period", 20000, "20000ms"),
        ("scan_period", 123.456, "123.5ms"),
        ("scan_size", 2.0**34, "16GiB"),
        ("throttle", math.inf, "unlimited"),
        ("access_threshold", 4.0, "4 windows"),
        ("access_threshold", 1.0, "1 window"),
    ],
)
def test_a_tunable_is_written_as_people_write_it(name: str, value: float, text: str) -> None:
    assert TUNABLES[name].quantity.text(value) == text
