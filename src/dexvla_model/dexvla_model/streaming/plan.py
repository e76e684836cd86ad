"""Planned motion: cubic splines on a fixed grid of time, piecewise constant in jerk."""

import math
from dataclasses import dataclass

import numpy as np

# Distance of the knots. A power of two: every knot's time is exact in a float and in whole nanoseconds, for
# centuries.
KNOTS_PER_S = 32
KNOT_S = 1.0 / KNOTS_PER_S


def knot_at_or_after(time_s: float) -> int:
    """Index of the first knot that is not before a time."""
    return math.ceil(time_s * KNOTS_PER_S)


def knot_at_or_before(time_s: float) -> int:
    """Index of the last knot that is not after a time."""
    return math.floor(time_s * KNOTS_PER_S)


@dataclass(frozen=True)
class MotionPlan:
    """A uniform cubic B-spline for J joints; knot k lies at the absolute time k * KNOT_S.

    Position and its first two derivatives are continuous, jerk is constant between two knots; so the quintic
    through position, velocity and acceleration at the knots, which a joint_trajectory_controller makes, is
    this very curve. Before its first and after its last control point the plan rests. Knot k depends on
    control points k - 1 to k + 1.

    Attributes:
        first: index of the first control point.
        controls: (M, J) control points in rad.
    """

    first: int
    controls: np.ndarray

    @classmethod
    def at_rest(cls, positions: np.ndarray, knot: int) -> "MotionPlan":
        """Rest at (J,) rad."""
        return cls(knot, np.array(positions, dtype=np.float64)[None])

    @property
    def rest_knot(self) -> int:
        """The knot from which on it rests for good."""
        return self.first + len(self.controls)

    @property
    def rest_positions(self) -> np.ndarray:
        """(J,) rad, where it comes to rest."""
        return self.controls[-1]

    def rest_knot_within(self, speed_rad_s: float) -> int:
        """The knot from which on no joint is faster than a small speed."""
        _, velocities, _ = self.knots(self.first, self.rest_knot + 1)
        moving = np.flatnonzero((np.abs(velocities) > speed_rad_s).any(axis=1))
        return self.first + (int(moving[-1]) + 1 if len(moving) else 0)

    def control_points(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, J) control points."""
        indices = np.arange(start, stop) - self.first
        return self.controls[np.clip(indices, 0, len(self.controls) - 1)]

    def knots(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(N, J) positions in rad, velocities in rad/s, accelerations in rad/s^2 at knots [start, stop)."""
        points = self.control_points(start - 1, stop + 1)
        before, at, after = points[:-2], points[1:-1], points[2:]
        return (
            (before + 4.0 * at + after) / 6.0,
            (after - before) * (0.5 * KNOTS_PER_S),
            (after - 2.0 * at + before) * KNOTS_PER_S**2,
        )

    def positions(self, times_s: np.ndarray) -> np.ndarray:
        """(M, J) rad at any (M,) times."""
        scaled = np.asarray(times_s, dtype=np.float64) * KNOTS_PER_S
        knots = np.floor(scaled).astype(np.int64)
        u = (scaled - knots)[:, None]
        last = len(self.controls) - 1
        before, left, right, after = (
            self.controls[np.clip(knots + offset - self.first, 0, last)] for offset in (-1, 0, 1, 2)
        )
        return (
            (1.0 - u) ** 3 * before
            + (3.0 * u**3 - 6.0 * u**2 + 4.0) * left
            + (-3.0 * u**3 + 3.0 * u**2 + 3.0 * u + 1.0) * right
            + u**3 * after
        ) / 6.0

    def continued(self, commit: int, controls: np.ndarray) -> "MotionPlan":
        """The same motion up to the knot `commit`; (M, J) are the control points from commit + 2 on."""
        start = min(self.first, commit - 1)
        return MotionPlan(start, np.concatenate([self.control_points(start, commit + 2), controls]))

    def since(self, knot: int) -> "MotionPlan":
        """Without the motion before a knot."""
        start = max(self.first, knot - 1)
        return MotionPlan(start, self.control_points(start, max(self.rest_knot, start + 1)))
