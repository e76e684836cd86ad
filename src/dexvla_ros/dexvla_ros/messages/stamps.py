"""Stamps: builtin_interfaces/Time and Duration as seconds."""

import math

from builtin_interfaces.msg import Duration, Time

NANOSECONDS_PER_SECOND = 1_000_000_000


def stamp_to_message(stamp_s: float) -> Time:
    """A time in s, to the nanosecond where the float holds it; `stamp_s` must not be negative."""
    return Time(**_split(stamp_s))


def stamp_from_message(stamp: Time) -> float:
    """The stamp in s: the float nearest to it."""
    return stamp_in_nanoseconds(stamp) / NANOSECONDS_PER_SECOND


def stamp_from_nanoseconds(stamp_ns: int) -> Time:
    """A time in whole ns, exactly: a float holds today's dates to a quarter of a microsecond only."""
    seconds, nanoseconds = divmod(stamp_ns, NANOSECONDS_PER_SECOND)
    return Time(sec=seconds, nanosec=nanoseconds)


def stamp_in_nanoseconds(stamp: Time) -> int:
    """The stamp in ns, exactly."""
    return int(stamp.sec) * NANOSECONDS_PER_SECOND + int(stamp.nanosec)


def duration_to_message(duration_s: float) -> Duration:
    """A duration in s, to the nanosecond."""
    return Duration(**_split(duration_s))


def duration_from_message(duration: Duration) -> float:
    """The duration in s."""
    return duration.sec + duration.nanosec / NANOSECONDS_PER_SECOND


def _split(time_s: float) -> dict[str, int]:
    # The whole seconds first: their product with 1e9 would not fit a float's 53 bits at today's dates.
    seconds = math.floor(time_s)
    nanoseconds = round((time_s - seconds) * NANOSECONDS_PER_SECOND)
    if nanoseconds == NANOSECONDS_PER_SECOND:
        seconds, nanoseconds = seconds + 1, 0
    return {"sec": seconds, "nanosec": nanoseconds}
