"""What a device is to the driver: joints in SI units behind some bus."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


class DeviceError(Exception):
    """Something is wrong between us and the device: one sentence, without a full stop."""


class BadAnswer(DeviceError):
    """The device answered late, not at all or nonsense; asking again may help."""


class DeviceGone(DeviceError):
    """The way to the device is gone: unplugged, switched off, closed. It has to be opened again."""


@dataclass(frozen=True)
class DeviceState:
    """What the device said, joints in the order of its motors.

    Attributes:
        positions (A,): rad, or m of a joint that slides.
        velocities (A,): rad/s or m/s; None where the device does not measure them.
        efforts (A,): Nm, or N; None where it does not, or in no SI unit.
        enabled: every motor is powered.
        faults: what the device itself reports as wrong, for a human; it does not move while there are any.
        temperatures_c: by the name of a motor.
        values: whatever else a human wants to see in diagnostics.
    """

    positions: np.ndarray
    velocities: np.ndarray | None = None
    efforts: np.ndarray | None = None
    enabled: bool = True
    faults: tuple[str, ...] = ()
    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    values: Mapping[str, object] = field(default_factory=dict)


class Device(ABC):
    """One device. Every method but `close` may raise DeviceError; all are called by one thread at a time.

    Attributes:
        name: for messages, such as `Piper on can0`.
        joints: names in the order of the motors.
    """

    name: str
    joints: tuple[str, ...]

    @abstractmethod
    def connect(self) -> None:
        """Open the way to the device and find out that it is there; no joint moves, no motor is switched."""

    @abstractmethod
    def close(self) -> None:
        """Give the bus back; the device holds where it is. Never raises."""

    @abstractmethod
    def read(self) -> DeviceState:
        """The newest state; raises BadAnswer rather than return an old or doubtful one."""

    @abstractmethod
    def write(self, positions: np.ndarray) -> None:
        """Go to `positions` (A,) in rad or m; a device that gets no more of them stays there."""

    @abstractmethod
    def enable(self) -> None:
        """Power the motors so that they hold where they are; whether it worked shows in `read`."""

    @abstractmethod
    def disable(self) -> None:
        """Take the power from the motors: what they carry falls."""

    @abstractmethod
    def clear_faults(self) -> None:
        """Acknowledge the faults; those whose cause is still there come back."""
