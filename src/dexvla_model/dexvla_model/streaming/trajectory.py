"""The trajectory that is streamed to a controller: trajectory_msgs/JointTrajectory without ROS."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dexvla_model.streaming.spline import Spline


@dataclass(frozen=True)
class JointTrajectory:
    """A trajectory of J joints through N points, with the meaning of the ROS message of that name.

    Nothing is checked here: the controller that takes it does that. A field is an (N, J) array or, as it may
        come out of
    a message, N rows of any length; a row of length 0 is a point without that field.

    Attributes:
        joints: names of the columns.
        stamp_s: time from which `times_s` count, in s of the node clock; 0 means "when it is first sampled".
        times_s: (N,) time of each point after `stamp_s`.
        positions: (N, J) rad.
        velocities: (N, J) rad/s, or None.
        accelerations: (N, J) rad/s^2, or None.
        efforts: (N, J) N m, or None.
    """

    joints: tuple[str, ...]
    stamp_s: float
    times_s: np.ndarray
    positions: np.ndarray | Sequence[Sequence[float]]
    velocities: np.ndarray | Sequence[Sequence[float]] | None = None
    accelerations: np.ndarray | Sequence[Sequence[float]] | None = None
    efforts: np.ndarray | Sequence[Sequence[float]] | None = None

    @property
    def end_s(self) -> float:
        """Absolute time of the last point, in s (for `stamp_s` 0: after the start)."""
        return self.stamp_s + float(self.times_s[-1])

    def spline(self) -> Spline:
        """What a controller makes of it, over `times_s`; needs rectangular fields."""
        return Spline(self.times_s, self.positions, self.velocities, self.accelerations)
