"""Straight motion of the tool by damped least squares; it slows down and stops before it would jump."""

from dataclasses import dataclass

import numpy as np

from dexvla_model.robot import RobotDescription
from dexvla_ros.teleop.jog import JogSpeeds
from dexvla_ros.teleop.ramp import Ramp
from dexvla_sim.kinematics import ToolKinematics, rotation_matrix, rotation_vector

# Of the largest joint velocities: what is left keeps the path straight where the ramps meet.
_VELOCITY_SHARE = 0.5
_ACCELERATION_SHARE = 0.4
# A length that makes m/s comparable with rad/s.
_LENGTH_M = 0.3
# Smallest singular value of the Jacobian: below the first the inverse is damped, to the second none gets.
_DAMPED_BELOW = 0.1
_STOP_AT = 0.04
_DAMPING = 0.02
# A singular pose is approached at this share of its distance per second, at most.
_APPROACH_PER_S = 2.5
# Deviation from the line is taken back at this rate; a larger one is accepted, never jumped over.
_CORRECTION_PER_S = 4.0
_DEVIATION_MAX_M = 0.005
_DEVIATION_MAX_RAD = 0.03
_LIMIT_MARGIN_RAD = 0.005
# Below this share of the wanted speed it is said why.
_SLOWED = 0.6


@dataclass(frozen=True)
class ToolMotion:
    """The tool under way.

    Attributes:
        arm: (J,) rad. twist: of (6,) m/s and rad/s in the base frame.
        position, rotation: where the tool should be, in the base frame.
        note: why it is slower than asked for; empty = it is not.
    """

    arm: np.ndarray
    twist: Ramp
    position: np.ndarray
    rotation: np.ndarray
    note: str = ""


class CartesianJog:
    """Advances the tool along a twist in small steps.

    All joints are slowed down together, so that the tool stays on its line: by the ramp of the twist, by the
    velocity limits, before a joint's position limit, and before a singular pose, which is approached ever
    more slowly and left at full speed.

    The inverse is damped near a singularity only (Nakamura and Hanafusa 1986; Chiaverini 1997).
    """

    def __init__(self, robot: RobotDescription, kinematics: ToolKinematics, speeds: JogSpeeds) -> None:
        self._kinematics = kinematics
        self.columns = kinematics.arm
        self._names = [robot.action_joints[index] for index in kinematics.arm]
        limits = [robot.limits[name] for name in self._names]
        self._lower = np.array([limit.lower for limit in limits]) + _LIMIT_MARGIN_RAD
        self._upper = np.array([limit.upper for limit in limits]) - _LIMIT_MARGIN_RAD
        self._velocity = _VELOCITY_SHARE * np.array([limit.velocity for limit in limits])
        self._acceleration = _ACCELERATION_SHARE * np.array([limit.acceleration for limit in limits])
        self.largest = np.repeat([speeds.translation_m_s, speeds.rotation_rad_s], 3)
        self._ramp = self.largest / speeds.ramp_s

    def at_rest(self, arm: np.ndarray) -> ToolMotion:
        """The tool at rest where the arm (J,) puts it."""
        position, rotation = self._kinematics.forward(arm)
        return ToolMotion(np.array(arm), Ramp.at_rest(6), position, rotation)

    def advance(self, motion: ToolMotion, wanted: np.ndarray, frame: str, step_s: float) -> ToolMotion:
        """The motion a step later; (6,) m/s and rad/s are wanted in the frame `base` or `tool`."""
        if frame == "tool":
            wanted = np.concatenate([motion.rotation @ wanted[:3], motion.rotation @ wanted[3:]])
        inverse, smallest = _damped_inverse(self._kinematics.jacobian(motion.arm))
        ramp = motion.twist.followed_by(self._ramped(motion.twist.newest, wanted, inverse, step_s))
        twist = ramp.velocity
        found, turned = self._kinematics.forward(motion.arm)
        error = np.concatenate([motion.position - found, rotation_vector(motion.rotation @ turned.T)])
        rates = inverse @ (twist + _CORRECTION_PER_S * error * (not ramp.still))
        share, note = self._share(motion.arm, rates, smallest, step_s)
        lowest, highest = self._lowest(motion.arm), self._highest(motion.arm)
        arm = np.clip(motion.arm + share * rates * step_s, lowest, highest)
        position = motion.position + share * twist[:3] * step_s
        rotation = rotation_matrix(share * twist[3:] * step_s) @ motion.rotation
        reached, facing = self._kinematics.forward(arm)
        far = np.linalg.norm(position - reached) > _DEVIATION_MAX_M
        if far or np.linalg.norm(rotation_vector(rotation @ facing.T)) > _DEVIATION_MAX_RAD:
            position, rotation = reached, facing
        return ToolMotion(arm, ramp.scaled(share), position, rotation, note if share < _SLOWED else "")

    def _ramped(
        self, twist: np.ndarray, wanted: np.ndarray, inverse: np.ndarray, step_s: float
    ) -> np.ndarray:
        """Towards the wanted twist (6,) as fast as ramp and joints allow, on the line between the two."""
        change = wanted - twist
        longest = max(
            float(np.max(np.abs(change) / (self._ramp * step_s))),
            float(np.max(np.abs(inverse @ change) / (self._acceleration * step_s))),
        )
        return wanted.copy() if longest <= 1.0 else twist + change / longest

    def _share(
        self, arm: np.ndarray, rates: np.ndarray, smallest: float, step_s: float
    ) -> tuple[float, str]:
        """How much of the rates (J,) in rad/s is allowed, 0 to 1, and what limits them."""
        shares = [(1.0, "")]
        speeds = np.abs(rates)
        fastest = int(np.argmax(speeds / self._velocity))
        if speeds[fastest] > self._velocity[fastest]:
            reason = f"{self._names[fastest]} would be too fast"
            shares.append((float(self._velocity[fastest] / speeds[fastest]), reason))
        room = np.maximum(np.where(rates > 0.0, self._upper - arm, arm - self._lower), 0.0)
        allowed = np.minimum(np.sqrt(2.0 * self._acceleration * room), room / step_s)
        for joint in np.flatnonzero(speeds > allowed).tolist():
            reason = f"{self._names[joint]} is near its limit"
            shares.append((float(allowed[joint] / speeds[joint]), reason))
        if smallest < 3.0 * _DAMPED_BELOW:
            ahead = _smallest(self._kinematics.jacobian(arm + rates * step_s))
            approach = (smallest - ahead) / step_s
            allowed_approach = _APPROACH_PER_S * max(smallest - _STOP_AT, 0.0)
            if approach > allowed_approach:
                shares.append((allowed_approach / approach, "the arm is near a singular pose"))
        return min(shares)

    def _lowest(self, arm: np.ndarray) -> np.ndarray:
        # An arm that stands beyond the margin stays there.
        return np.minimum(self._lower, arm)

    def _highest(self, arm: np.ndarray) -> np.ndarray:
        return np.maximum(self._upper, arm)


def _scaled(jacobian: np.ndarray) -> np.ndarray:
    scaled = jacobian.copy()
    scaled[:3] /= _LENGTH_M
    return scaled


def _smallest(jacobian: np.ndarray) -> float:
    return float(np.linalg.svd(_scaled(jacobian), compute_uv=False)[-1])


def _damped_inverse(jacobian: np.ndarray) -> tuple[np.ndarray, float]:
    """(J, 6) inverse of a Jacobian (6, J), damped near singularity, and the smallest singular value."""
    left, values, right = np.linalg.svd(_scaled(jacobian), full_matrices=False)
    smallest = float(values[-1])
    damping = _DAMPING * max(0.0, 1.0 - (smallest / _DAMPED_BELOW) ** 2)
    inverse = right.T @ ((values / (values**2 + damping**2))[:, None] * left.T)
    inverse[:, :3] /= _LENGTH_M
    return inverse, smallest
