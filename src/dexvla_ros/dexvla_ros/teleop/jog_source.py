"""Keys and sticks as a source: what the device wants now, made into motion."""

from typing import Protocol

import numpy as np

from dexvla_ros.teleop.jog import Jog
from dexvla_ros.teleop.jog_motion import JogMotion
from dexvla_ros.teleop.source import Moment, Wish


class JogDevice(Protocol):
    """A keyboard or gamepad, after its events have been given to it."""

    device: str
    note: str  # why nothing may come of it; empty = nothing is wrong

    @property
    def mode(self) -> str:
        """The frame of a twist, or the name of the joint that is jogged."""

    @property
    def speed(self) -> float:
        """Share of the configured speeds, 0 to 1."""

    def jog(self, now_s: float) -> Jog | None:
        """What is wanted now; None = nothing, and nothing is to go on."""

    def problem(self, now_s: float) -> str:
        """Why the device cannot be relied on; empty where it can."""

    def wishes(self) -> list[Wish]:
        """What was asked for since the last call."""

    def forget(self) -> None:
        """Nothing is pressed: what is held now has to be pressed anew."""


class JogSource:
    """A `TeleopSource` out of a device and the motion that its jogs make."""

    def __init__(self, device: JogDevice, motion: JogMotion) -> None:
        self.input = device
        self.device = device.device
        self._motion = motion
        self._planned: Jog | None = None

    @property
    def mode(self) -> str:
        return self.input.mode

    @property
    def speed(self) -> float:
        return self.input.speed

    @property
    def note(self) -> str:
        return self.input.note or self._motion.note

    def start(self, positions: np.ndarray, now_s: float) -> None:
        self.input.forget()
        self._planned = None
        self._motion.start(positions)

    def rows(self, moment: Moment) -> np.ndarray | None:
        jog = self.input.jog(moment.now_s)
        # What was planned last brings the robot to rest when the dead man's time is over.
        if jog is self._planned:
            return None
        self._planned = jog
        return self._motion.rows(moment, jog)

    def problem(self, now_s: float) -> str:
        return self.input.problem(now_s)

    def wishes(self) -> list[Wish]:
        return self.input.wishes()
