"""Postures that take a link to a pose: damped least squares from many starts."""

import numpy as np
import pinocchio

from dexvla_ros.motion.bodies import RobotBodies

# A pose counts as reached within this, in m and in rad alike.
_TOLERANCE = 1e-5
_STEPS = 80
_STARTS = 24
_DAMPING = 1e-3
# Longest step of a joint at a time.
_STEP_RAD = 0.4


def postures_at(
    bodies: RobotBodies,
    link: str,
    target: pinocchio.SE3,
    start: np.ndarray,
    columns: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
) -> list[np.ndarray]:
    """(A,) postures with the link at the target, those first that are nearest to the start.

    Args:
        target: in the root frame. start: (A,) rad.
        columns: the joints that may move; the others stay where they are.
        lower, upper: (A,) limits in rad.
    """
    frame = bodies.frame(link)
    random = np.random.default_rng(0)
    found: list[np.ndarray] = []
    low, high = np.maximum(lower, start - np.pi), np.minimum(upper, start + np.pi)
    for attempt in range(_STARTS):
        guess = start.copy()
        if attempt:
            guess[columns] = random.uniform(low[columns], high[columns])
        posture = _solve(bodies, frame, target, guess, columns, lower, upper)
        if posture is not None and all(np.abs(posture - known).max() > 1e-2 for known in found):
            found.append(posture)
    return sorted(found, key=lambda posture: float(np.abs(posture - start).max()))


def _solve(
    bodies: RobotBodies,
    frame: int,
    target: pinocchio.SE3,
    posture: np.ndarray,
    columns: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
) -> np.ndarray | None:
    model, data = bodies.model, bodies.data
    # An arm with seven joints has one to spare: it stays near where it was.
    damping = _DAMPING * np.eye(6)
    for _ in range(_STEPS):
        pinocchio.computeJointJacobians(model, data, bodies.configuration(posture))
        here = pinocchio.updateFramePlacement(model, data, frame)
        jacobian = pinocchio.getFrameJacobian(model, data, frame, pinocchio.ReferenceFrame.LOCAL)
        error = pinocchio.log6(here.actInv(target)).vector
        if np.abs(error).max() < _TOLERANCE:
            return posture
        moving = (jacobian @ bodies.spread)[:, columns]
        step = moving.T @ np.linalg.solve(moving @ moving.T + damping * min(1.0, float(error @ error)), error)
        step *= min(1.0, _STEP_RAD / max(float(np.abs(step).max()), 1e-12))
        posture = posture.copy()
        posture[columns] = np.clip(posture[columns] + step, lower[columns], upper[columns])
    return None
