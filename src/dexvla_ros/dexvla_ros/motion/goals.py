"""What can be asked of a motion: a named pose, joints, or a link at a pose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dexvla_model.robot import RobotDescription
from dexvla_model.robot.moveit import load_semantics
from dexvla_ros.motion.refusal import MotionRefused, MoveOutcome

HOME = "home"
# A position that is so little outside its limits is rounding.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class MoveGoal:
    """Where to; one of `named`, `joints` and `link` is given.

    Attributes:
        named: name of a pose. joints, positions: in rad or m.
        link, position, quaternion, frame: the link shall be at (3,) m and (4,) x y z w in the frame of
            another one; an empty frame is the robot's base.
        speed: share of the limits, above 0 to 1.
    """

    named: str = ""
    joints: tuple[str, ...] = ()
    positions: tuple[float, ...] = ()
    link: str = ""
    position: np.ndarray = field(default_factory=lambda: np.zeros(3))
    quaternion: np.ndarray = field(default_factory=lambda: np.array([0.0, 0.0, 0.0, 1.0]))
    frame: str = ""
    speed: float = 1.0

    def __str__(self) -> str:
        if self.named:
            return f"the pose {self.named}"
        return f"a pose of {self.link}" if self.link else "a joint goal"


def named_poses(robot: RobotDescription) -> dict[str, Mapping[str, float]]:
    """Joint positions by name: `home` of the robot file, and what the robot's SRDF has besides.

    Raises:
        UserError: the SRDF cannot be read.
    """
    semantics = load_semantics(robot)
    return {**({} if semantics is None else semantics.states), HOME: robot.home}


def check_goal(goal: MoveGoal, robot: RobotDescription, poses: Mapping[str, Mapping[str, float]]) -> None:
    """Whether the goal can be meant.

    Raises:
        MotionRefused: it cannot; the sentence says why.
    """
    kinds = [bool(goal.named), bool(goal.joints or goal.positions), bool(goal.link)]
    if sum(kinds) != 1:
        raise _invalid("Give one of a named pose, joints with positions, and a link with a pose.")
    if not (np.isfinite(goal.speed) and 0.0 < goal.speed <= 1.0):
        raise _invalid(f"The speed is {goal.speed:g}; allowed is above 0 to 1.")
    if goal.link:
        _check_pose(goal)
    else:
        joint_positions(goal, robot, poses)


def joint_positions(
    goal: MoveGoal, robot: RobotDescription, poses: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """Positions in rad or m by joint of a named pose or a joint goal.

    Raises:
        MotionRefused: there is no such pose or joint, or a position is outside the limits.
    """
    if goal.named:
        if goal.named not in poses:
            raise _invalid(
                f"There is no pose named {goal.named!r}; the poses are {', '.join(sorted(poses))}."
            )
        wanted = dict(poses[goal.named])
    else:
        if len(goal.joints) != len(goal.positions):
            raise _invalid(f"{len(goal.joints)} joints came with {len(goal.positions)} positions.")
        if len(set(goal.joints)) != len(goal.joints):
            raise _invalid("A joint is named twice.")
        wanted = dict(zip(goal.joints, map(float, goal.positions)))
    for joint, position in wanted.items():
        if joint not in robot.action_joints:
            raise _invalid(f"There is no joint {joint!r}; the joints are {', '.join(robot.action_joints)}.")
        limit = robot.limits[joint]
        if not limit.lower - _ROUNDING <= position <= limit.upper + _ROUNDING:
            raise _invalid(
                f"The joint {joint} would be at {position:g} {limit.unit}; allowed is {limit.lower:g} to "
                f"{limit.upper:g} {limit.unit}."
            )
        wanted[joint] = min(max(position, limit.lower), limit.upper)
    return wanted


def full_goal(start: np.ndarray, wanted: Mapping[str, float], joints: Sequence[str]) -> np.ndarray:
    """(A,): the start, with the wanted positions in place of its own."""
    goal = np.array(start, dtype=np.float64)
    for joint, position in wanted.items():
        goal[list(joints).index(joint)] = position
    return goal


def _check_pose(goal: MoveGoal) -> None:
    numbers = np.concatenate([goal.position, goal.quaternion])
    if not np.isfinite(numbers).all():
        raise _invalid("A number of the pose is not finite.")
    length = float(np.linalg.norm(goal.quaternion))
    if not 0.99 <= length <= 1.01:
        raise _invalid(f"The quaternion x y z w has the length {length:.3f}; needed is 1.")


def _invalid(sentence: str) -> MotionRefused:
    return MotionRefused(MoveOutcome.INVALID_GOAL, sentence)
