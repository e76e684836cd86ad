"""Piecewise polynomials through points in time, in the way of ros2_control's joint_trajectory_controller."""

from bisect import bisect_right

import numpy as np


class Spline:
    """Polynomials between N points of J joints; before the first and after the last point it stays there.

    The order is chosen per segment, from what both of its ends have: positions alone give a straight line,
        velocities too
    a cubic (C1), accelerations too a quintic (C2). Source: `Trajectory::interpolate_between_points` of
    ros2_controllers.

    Args:
        times_s: (N,) strictly increasing, s.
        positions: (N, J) rad.
        velocities: (N, J) rad/s, or None; a row of NaN is a point without velocities.
        accelerations: (N, J) rad/s^2, or None; likewise. They count only where there are velocities.
    """

    def __init__(
        self,
        times_s: np.ndarray,
        positions: np.ndarray,
        velocities: np.ndarray | None = None,
        accelerations: np.ndarray | None = None,
    ) -> None:
        self.times_s = np.asarray(times_s, dtype=np.float64)
        self._times = self.times_s.tolist()
        self._coefficients = _coefficients(self.times_s, positions, velocities, accelerations)
        nothing = np.zeros(len(positions[0]))
        self._first = _point(0, positions, velocities, accelerations, nothing)
        self._last = _point(-1, positions, velocities, accelerations, nothing)
        # Rows: powers of the time in the segment, and their first and second derivatives.
        self._basis = np.zeros((3, 6))
        self._basis[0, 0] = self._basis[1, 1] = 1.0
        self._basis[2, 2] = 2.0
        self._flat_basis = self._basis.reshape(-1)

    def sample(self, time_s: float) -> np.ndarray:
        """(3, J): position in rad, velocity in rad/s and acceleration in rad/s^2 at one time."""
        times = self._times
        if time_s >= times[-1]:
            return self._last.copy()
        if time_s < times[0]:
            return self._first.copy()
        segment = bisect_right(times, time_s) - 1
        t = time_s - times[segment]
        t2 = t * t
        t3 = t2 * t
        t4 = t3 * t
        basis = self._flat_basis
        basis[1] = t
        basis[2] = t2
        basis[3] = t3
        basis[4] = t4
        basis[5] = t4 * t
        basis[8] = 2.0 * t
        basis[9] = 3.0 * t2
        basis[10] = 4.0 * t3
        basis[11] = 5.0 * t4
        basis[15] = 6.0 * t
        basis[16] = 12.0 * t2
        basis[17] = 20.0 * t3
        return self._basis @ self._coefficients[segment]

    def sample_many(self, times_s: np.ndarray) -> np.ndarray:
        """(M, 3, J): `sample` at each of (M,) times."""
        return np.stack([self.sample(time_s) for time_s in np.asarray(times_s, dtype=np.float64).tolist()])


def _point(
    index: int,
    positions: np.ndarray,
    velocities: np.ndarray | None,
    accelerations: np.ndarray | None,
    nothing: np.ndarray,
) -> np.ndarray:
    velocity = nothing if velocities is None else np.nan_to_num(velocities[index])
    acceleration = nothing if accelerations is None else np.nan_to_num(accelerations[index])
    return np.stack([positions[index], velocity, acceleration])


def _coefficients(
    times_s: np.ndarray,
    positions: np.ndarray,
    velocities: np.ndarray | None,
    accelerations: np.ndarray | None,
) -> np.ndarray:
    """(N - 1, 6, J): coefficients of the powers of the time since a segment's start."""
    duration = np.diff(times_s)[:, None]
    slope = np.diff(positions, axis=0) / duration
    coefficients = np.zeros((len(duration), 6, len(positions[0])))
    coefficients[:, 0] = positions[:-1]
    coefficients[:, 1] = slope
    if velocities is None:
        return coefficients
    v0, v1 = velocities[:-1], velocities[1:]
    cubic = np.zeros_like(coefficients)
    cubic[:, 0] = positions[:-1]
    cubic[:, 1] = v0
    cubic[:, 2] = (3.0 * slope - 2.0 * v0 - v1) / duration
    cubic[:, 3] = (v0 + v1 - 2.0 * slope) / duration**2
    has_velocities = ~np.isnan(v0 + v1).any(axis=1)
    coefficients[has_velocities] = cubic[has_velocities]
    if accelerations is None:
        return coefficients
    a0, a1 = accelerations[:-1], accelerations[1:]
    quintic = np.zeros_like(coefficients)
    quintic[:, 0] = positions[:-1]
    quintic[:, 1] = v0
    quintic[:, 2] = 0.5 * a0
    quintic[:, 3] = (20.0 * slope - 12.0 * v0 - 8.0 * v1 - (3.0 * a0 - a1) * duration) / (2.0 * duration**2)
    quintic[:, 4] = (-30.0 * slope + 16.0 * v0 + 14.0 * v1 + (3.0 * a0 - 2.0 * a1) * duration) / (
        2.0 * duration**3
    )
    quintic[:, 5] = (12.0 * slope - 6.0 * v0 - 6.0 * v1 - (a0 - a1) * duration) / (2.0 * duration**4)
    has_both = has_velocities & ~np.isnan(a0 + a1).any(axis=1)
    coefficients[has_both] = quintic[has_both]
    return coefficients
