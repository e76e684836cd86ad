"""A planned motion as a source of teleoperation: the loop that takes the robot for a human plays it."""

import numpy as np

from dexvla_model.streaming.plan import KNOT_S, MotionPlan
from dexvla_ros.teleop.source import Moment, Wish

# The motion begins so many knots after the first that may still be changed: what is planned there is rest.
_LEAD_KNOTS = 2


class MotionSource:
    """Plays one motion at a time. See `dexvla_ros.teleop.source.TeleopSource`.

    Attributes:
        taken_at: (A,) rad where the robot was taken over; None while it is not.
    """

    device = "motion"
    mode = "motion"
    note = "moves to the goal"

    def __init__(self) -> None:
        self.speed = 1.0
        self.taken_at: np.ndarray | None = None
        self._waiting: MotionPlan | None = None
        self._playing: MotionPlan | None = None
        self._start_s = 0.0

    def forget(self) -> None:
        """Play nothing; the robot is not taken."""
        self.taken_at = self._waiting = self._playing = None

    def play(self, motion: MotionPlan) -> None:
        """Play a motion that begins at rest at `taken_at`, as soon as possible."""
        self._waiting = motion

    @property
    def end_s(self) -> float:
        """When the motion that is played comes to rest, in s of the node clock; infinite before it plays."""
        return np.inf if self._playing is None else self._start_s + self._playing.rest_knot * KNOT_S

    def progress(self, now_s: float) -> float:
        """Share of the motion's time that has passed, 0 to 1."""
        if self._playing is None:
            return 0.0
        length_s = max(self.end_s - self._start_s, KNOT_S)
        return float(np.clip((now_s - self._start_s) / length_s, 0.0, 1.0))

    # What the loop asks for

    def start(self, positions: np.ndarray, now_s: float) -> None:
        """The robot was taken over at rest at (A,) rad."""
        self.forget()
        self.taken_at = np.array(positions)

    def rows(self, moment: Moment) -> np.ndarray | None:
        """All rows of the motion at once: the streamer follows them by itself."""
        if self._waiting is None:
            return None
        motion, self._waiting = self._waiting, None
        begin = moment.commit + _LEAD_KNOTS
        self._playing, self._start_s = motion, begin * KNOT_S
        moving = motion.knots(0, motion.rest_knot + 1)[0]
        return np.concatenate([np.repeat(moving[:1], begin - moment.first, axis=0), moving])

    def problem(self, now_s: float) -> str:
        """Nothing can be wrong with a motion that is known as a whole."""
        return ""

    def wishes(self) -> list[Wish]:
        """None: goals come through `MoveLoop`."""
        return []
