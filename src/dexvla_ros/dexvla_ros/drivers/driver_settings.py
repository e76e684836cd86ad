"""What a driver is told before it starts, and what it says of itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np


class Phase(Enum):
    """What the driver is doing; commands go to the device in FOLLOWING only."""

    DISCONNECTED = "disconnected"
    FAULT = "fault"
    DISABLED = "disabled"
    HOLDING = "holding"
    FOLLOWING = "following"


@dataclass(frozen=True)
class DriverSettings:
    """The part of config/drivers/*.yaml that all devices have.

    Attributes:
        rate_hz: how often the device is read, and written to.
        command_timeout_s: with no newer command the device holds.
        misses_max: so many bad answers in a row end the connection.
        reconnect_first_s, reconnect_max_s: pause before a try to connect; it doubles from try to try.
        auto_enable: power the motors whenever they are without, instead of waiting for the service `enable`.
        catch_up: part of the velocity limits, 0 to 1, at which a device gets to a command that is far away.
        plausible_margin: how far out of its limits a joint may be measured, as a part of its range.
        temperature_warn_c, temperature_max_c: of any motor; from the latter on the device holds.
    """

    rate_hz: float
    command_timeout_s: float
    misses_max: int
    reconnect_first_s: float
    reconnect_max_s: float
    auto_enable: bool
    catch_up: float
    plausible_margin: float
    temperature_warn_c: float
    temperature_max_c: float


@dataclass(frozen=True)
class JointBounds:
    """Limits (A,) in the order of the motors: rad and rad/s, or m and m/s."""

    lower: np.ndarray
    upper: np.ndarray
    velocity: np.ndarray


@dataclass(frozen=True)
class DriverStatus:
    """For diagnostics: `problem` is empty when all is well; `severe`: the device does not follow commands."""

    phase: Phase
    problem: str
    severe: bool
    values: Mapping[str, object]
