"""From jogs to a reference that the limiter follows exactly: ramped, straight, at rest in the end."""

from dataclasses import dataclass, replace

import numpy as np

from dexvla_model.robot import RobotDescription
from dexvla_model.streaming.plan import KNOT_S
from dexvla_ros.teleop.cartesian import CartesianJog, ToolMotion
from dexvla_ros.teleop.jog import Jog, JogSpeeds
from dexvla_ros.teleop.ramp import Ramp
from dexvla_ros.teleop.source import Moment
from dexvla_sim.kinematics import ToolKinematics

_VELOCITY_SHARE = 0.9
_ACCELERATION_SHARE = 0.5
_LIMIT_MARGIN_RAD = 0.002
# The reference is looked ahead for so many knots; a jog with its ramps is over long before.
_KNOTS_MAX = 96
# Where the plan is so far from the reference, the limits kept it from following: begin anew from the plan.
_LEASH_RAD = 0.05
# A note holds for the motion within this many knots from the commit point.
_NOTE_KNOTS = 6
# Below this share of the wanted speed it is said why.
_SLOWED = 0.6


@dataclass(frozen=True)
class _Instant:
    """The reference at a knot: positions (A,), velocities of (A,) jogged joints, the tool's motion."""

    positions: np.ndarray
    joints: Ramp
    tool: ToolMotion | None = None

    @classmethod
    def resting(cls, positions: np.ndarray) -> "_Instant":
        return cls(np.array(positions), Ramp.at_rest(len(positions)))

    @property
    def tool_moves(self) -> bool:
        return self.tool is not None and not self.tool.twist.still

    @property
    def at_rest(self) -> bool:
        return self.joints.still and not self.tool_moves


class JogMotion:
    """Keeps the reference of the past and continues it by what is wanted now.

    A joint jog and a jog of the tool exclude each other: the one comes to rest before the other begins. The
    gripper moves beside both.

    Args:
        kinematics: of the tool; None where the robot has none, and then a twist is ignored.
        gripper: (A,) bool, the joints that open and close.
    """

    def __init__(
        self,
        robot: RobotDescription,
        speeds: JogSpeeds,
        kinematics: ToolKinematics | None,
        gripper: np.ndarray,
    ) -> None:
        self.note = ""
        self._cartesian = None if kinematics is None else CartesianJog(robot, kinematics, speeds)
        joints = robot.action_joints
        limits = [robot.limits[joint] for joint in joints]
        self._names = joints
        self._lower = np.array([limit.lower for limit in limits]) + _LIMIT_MARGIN_RAD
        self._upper = np.array([limit.upper for limit in limits]) - _LIMIT_MARGIN_RAD
        self._is_gripper = gripper
        self._closing = speeds.gripper_closes * self._is_gripper
        wanted = np.where(self._is_gripper, speeds.gripper_rad_s, speeds.joint_rad_s)
        sliding = np.array([limit.unit == "m" for limit in limits])
        wanted = np.where(sliding, speeds.translation_m_s, wanted)
        self._largest = np.minimum(wanted, _VELOCITY_SHARE * np.array([v.velocity for v in limits]))
        self._braking = _ACCELERATION_SHARE * np.array([limit.acceleration for limit in limits])
        self._acceleration = np.minimum(self._largest / speeds.ramp_s, self._braking)
        self._first = 0
        self._instants: list[_Instant] = []

    def start(self, positions: np.ndarray) -> None:
        """Rest at (A,) rad."""
        self._first = 0
        self._instants = [_Instant.resting(positions)]
        self.note = ""

    def rows(self, moment: Moment, jog: Jog | None) -> np.ndarray | None:
        """(T, A) rad at the knots from `moment.first` on; None where nothing moves and nothing is to."""
        begin = self._at(moment.commit)
        still = jog is None or jog.still or jog.until_s <= moment.commit * KNOT_S
        if begin.at_rest:
            if still:
                return None
            if moment.resting:
                begin = _Instant.resting(moment.planned)
        elif np.abs((begin.positions - moment.planned)[~self._is_gripper]).max() > _LEASH_RAD:
            begin = _Instant.resting(moment.planned)
        past = [self._at(knot) for knot in range(moment.first, moment.commit)]
        future, notes = [begin], []
        for knot in range(moment.commit, moment.commit + _KNOTS_MAX):
            wanted = None if still or knot * KNOT_S >= jog.until_s else jog
            if wanted is None and future[-1].at_rest:
                break
            instant, note = self._advance(future[-1], wanted)
            future.append(instant)
            notes.append(note)
        self.note = next((note for note in notes[:_NOTE_KNOTS] if note), "")
        self._first, self._instants = moment.first, past + future
        return np.stack([instant.positions for instant in self._instants])

    def _at(self, knot: int) -> _Instant:
        index = min(max(knot - self._first, 0), len(self._instants) - 1)
        return self._instants[index]

    def _advance(self, now: _Instant, jog: Jog | None) -> tuple[_Instant, str]:
        velocities = np.zeros(len(self._names))
        twist = np.zeros(6)
        if jog is not None:
            twist = jog.twist * jog.speed
            velocities = jog.speed * (jog.joints + jog.gripper * self._closing) * self._largest
            if twist.any():
                velocities = np.where(self._is_gripper, velocities, 0.0)
        # One kind of arm motion after the other.
        if now.tool_moves:
            velocities = np.where(self._is_gripper, velocities, 0.0)
            twist = np.zeros(6) if jog is not None and jog.joints[~self._is_gripper].any() else twist
        elif now.joints.recent[:, ~self._is_gripper].any():
            twist = np.zeros(6)
        joints, note = self._within_limits(now, velocities)
        following = _Instant(now.positions + joints.velocity * KNOT_S, joints)
        if self._cartesian is None:
            return following, note or ("the robot has no tool frame" if twist.any() else "")
        if not twist.any() and not now.tool_moves:
            return following, note
        columns = self._cartesian.columns
        tool = now.tool if now.tool_moves else self._cartesian.at_rest(now.positions[columns])
        frame = jog.frame if jog is not None else "base"
        tool = self._cartesian.advance(tool, twist * self._cartesian.largest, frame, KNOT_S)
        following.positions[columns] = tool.arm
        return replace(following, tool=tool), tool.note or note

    def _within_limits(self, now: _Instant, wanted: np.ndarray) -> tuple[Ramp, str]:
        """Velocities (A,) in rad/s a step later: ramped, and braked before a limit."""
        change = self._acceleration * KNOT_S
        before = now.joints.newest
        ramp = now.joints.followed_by(before + np.clip(wanted - before, -change, change))
        velocity = ramp.velocity
        room = np.where(velocity > 0.0, self._upper - now.positions, now.positions - self._lower)
        room = np.maximum(room, 0.0)
        allowed = np.minimum(np.sqrt(2.0 * self._braking * room), room / KNOT_S)
        share = np.minimum(1.0, allowed / np.maximum(np.abs(velocity), 1e-12))
        slowed = np.flatnonzero((share < _SLOWED) & (wanted != 0.0))
        return ramp.scaled(share), f"{self._names[slowed[0]]} is near its limit" if len(slowed) else ""
