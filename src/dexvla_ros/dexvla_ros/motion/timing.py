"""From a path to a motion within the limits on velocity, acceleration and jerk, at rest at both ends.

A straight line that is run through at constant speed, averaged over a window of length v / a and again over
one of length a / j, is the usual profile for limited jerk: each average turns a jump of one derivative
into a ramp whose slope its length bounds. Averaging a path with corners rounds them, within the same bounds.
Here it is done on the control points of a `MotionPlan`, whose differences bound the derivatives at all times.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from dexvla_model.robot import JointLimits
from dexvla_model.streaming.plan import KNOT_S, MotionPlan

# Speeds along the path that are tried, as a share of the one at which the first joint reaches its limit.
_PACES = (1.0, 0.8, 0.65, 0.5, 0.4, 0.3, 0.22, 0.16, 0.12, 0.08)
# The plan keeps this share away from the limits, so that what follows it has room to.
_RESERVE = 1e-3
# Shorter than this, in rad or m, is no motion.
_SHORTEST = 1e-9


def motion_along(
    path: np.ndarray,
    limits: Sequence[JointLimits],
    speed: float,
    is_free: Callable[[np.ndarray], bool],
) -> MotionPlan | None:
    """The fastest of some motions along straight lines through (N, A) rad that is free.

    Args:
        limits: of A joints.
        speed: share of the limits on velocity, acceleration and jerk, above 0 to 1.
        is_free: whether a motion through (K, A) knots may be made. Corners are rounded as far as it allows;
            one motion stops at each of them, and does not leave the straight lines.

    Returns:
        The motion from knot 0 on; None where none is free.
    """
    bounds = (
        np.array([[one.velocity, one.acceleration, one.jerk] for one in limits]).T * speed * (1.0 - _RESERVE)
    )
    bounds *= np.array([KNOT_S, KNOT_S**2, KNOT_S**3])[:, None]
    path = _without_repeats(path)
    for controls in sorted(_candidates(path, bounds), key=len):
        plan = MotionPlan(0, controls)
        if is_free(plan.knots(0, plan.rest_knot + 1)[0]):
            return plan
    return None


def largest_share(plan: MotionPlan, limits: Sequence[JointLimits]) -> float:
    """The largest of the plan's velocities, accelerations and jerks, each as a share of its joint's limit."""
    bounds = np.array(
        [[one.velocity * KNOT_S, one.acceleration * KNOT_S**2, one.jerk * KNOT_S**3] for one in limits]
    )
    shares = [
        (np.abs(np.diff(plan.controls, n=order, axis=0)) / bounds[:, order - 1]).max(initial=0.0)
        for order in (1, 2, 3)
    ]
    return max(shares)


def _candidates(path: np.ndarray, bounds: np.ndarray) -> Iterator[np.ndarray]:
    legs = [path[index : index + 2] for index in range(len(path) - 1)]
    stopping = []
    for leg in legs:
        # With the ends of both legs the corner is three control points: rest lies between them.
        stopping += [min((_run(leg, bounds, pace) for pace in _PACES), key=len), leg[1:]]
    yield np.concatenate(stopping)
    if len(legs) > 1:
        for pace in _PACES:
            yield _run(path, bounds, pace)


def _run(path: np.ndarray, bounds: np.ndarray, pace: float) -> np.ndarray:
    """(M, A) control points of a motion through a path, from its first to its last point."""
    steps = np.abs(np.diff(path, axis=0)) / (bounds[0] * pace)
    knots = np.concatenate([[0.0], np.cumsum(steps.max(axis=1))])
    at = np.arange(0, int(np.ceil(knots[-1])) + 1)
    controls = np.stack([np.interp(at, knots, column) for column in path.T], axis=1)
    for order in (1, 2):
        slopes = np.diff(controls, n=order, axis=0)
        spread = slopes.max(axis=0, initial=0.0) - slopes.min(axis=0, initial=0.0)
        controls = _averaged(controls, max(1, int(np.ceil((spread / bounds[order]).max()))))
    return controls


def _averaged(controls: np.ndarray, window: int) -> np.ndarray:
    """The mean of each `window` control points in a row; before the first and after the last is rest."""
    padded = np.concatenate(
        [controls[:1].repeat(window, axis=0), controls, controls[-1:].repeat(window, axis=0)]
    )
    # From the first point: sums of large numbers lose digits.
    sums = np.cumsum(padded - controls[0], axis=0)
    averaged = (sums[window:] - sums[:-window]) / window + controls[0]
    averaged[-1] = controls[-1]
    return averaged


def _without_repeats(path: np.ndarray) -> np.ndarray:
    """The path without points that equal the one before them, two at least."""
    kept = [path[0]]
    for point in path[1:]:
        if np.abs(point - kept[-1]).max() > _SHORTEST:
            kept.append(point)
    return np.stack(kept if len(kept) > 1 else [path[0], path[-1]])
