"""What a source of teleoperation is to the loop that drives the robot."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np


class Wish(Enum):
    """What a human wants apart from motion."""

    ENGAGE = "engage"
    RELEASE = "release"
    STOP = "stop"


@dataclass(frozen=True)
class Moment:
    """When a source is asked for motion, and what is fixed already.

    Attributes:
        now_s: the node clock.
        first: knot of the first row, not after now.
        commit: the first knot whose future may still be changed.
        planned: (A,) rad at the commit knot, as it is planned.
        resting: nothing is planned to move from the commit knot on.
    """

    now_s: float
    first: int
    commit: int
    planned: np.ndarray
    resting: bool


class TeleopSource(Protocol):
    """Turns input into rows of an action chunk, at the knots of `dexvla_model.streaming.plan`."""

    device: str

    @property
    def mode(self) -> str:
        """What the input means now, for the screen."""

    @property
    def speed(self) -> float:
        """Share of the configured speeds, 0 to 1."""

    @property
    def note(self) -> str:
        """Why the motion is not as asked for, such as a joint at its limit; empty = as asked for."""

    def start(self, positions: np.ndarray, now_s: float) -> None:
        """The robot was taken over at rest at (A,) rad; what was before is forgotten."""

    def rows(self, moment: Moment) -> np.ndarray | None:
        """(T, A) rad at the knots from `moment.first` on, the last one to rest at; None = no news."""

    def problem(self, now_s: float) -> str:
        """Why the robot has to hold; empty = nothing is wrong."""

    def wishes(self) -> list[Wish]:
        """What was asked for since the last call."""
