"""Stamps and durations between messages and seconds."""

import pytest
from builtin_interfaces.msg import Duration, Time

from dexvla_ros.messages.stamps import (
    duration_from_message,
    duration_to_message,
    stamp_from_message,
    stamp_from_nanoseconds,
    stamp_in_nanoseconds,
    stamp_to_message,
)


@pytest.mark.parametrize(
    ("stamp_s", "seconds", "nanoseconds"),
    [
        (0.0, 0, 0),
        (12.25, 12, 250_000_000),
        (1_795_360_557.96875, 1_795_360_557, 968_750_000),
        (2.9999999999, 3, 0),
        (0.1, 0, 100_000_000),
    ],
)
def test_a_stamp_becomes_whole_seconds_and_nanoseconds(stamp_s, seconds, nanoseconds):
    assert stamp_to_message(stamp_s) == Time(sec=seconds, nanosec=nanoseconds)


@pytest.mark.parametrize("knot", [0, 1, 31, 1_795_360_557 * 32 + 7])
def test_times_on_the_grid_of_the_streamer_survive_exactly(knot):
    assert stamp_from_message(stamp_to_message(knot / 32)) == knot / 32


def test_nanoseconds_of_todays_dates_survive_where_seconds_would_lose_them():
    stamp_ns = 1_795_360_557_968_750_001
    assert stamp_in_nanoseconds(stamp_from_nanoseconds(stamp_ns)) == stamp_ns
    assert stamp_from_message(stamp_from_nanoseconds(stamp_ns)) == stamp_ns / 1_000_000_000


def test_a_negative_duration_survives():
    message = duration_to_message(-0.25)
    assert message == Duration(sec=-1, nanosec=750_000_000)
    assert duration_from_message(message) == -0.25
