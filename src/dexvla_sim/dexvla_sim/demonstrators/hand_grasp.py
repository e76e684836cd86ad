"""How a five-finger hand takes a cup from the side, and where the hand has to be for it.

The hand keeps its side: thumb up, the palm's normal and the fingers level. Only the tilt about the axis of its
fingers changes, which on the arm is its last joint.
"""

import math
from dataclasses import dataclass

import numpy as np

from dexvla_model.errors import UserError
from dexvla_model.robot import RobotDescription
from dexvla_sim.kinematics import GRASP_FRAME, ToolKinematics, rotation_vector

# The fingers point to the front and somewhat to the right, the palm looks to the left: the arm reaches all the table
# without coming near its singular poses.
_YAW_RAD = math.radians(-25.0)
# Columns: where the hand's x (palm), y (thumb's side) and z (fingers) point in base_link.
UPRIGHT_ROTATION = np.array(
    [
        [-math.sin(_YAW_RAD), 0.0, math.cos(_YAW_RAD)],
        [math.cos(_YAW_RAD), 0.0, math.sin(_YAW_RAD)],
        [0.0, 1.0, 0.0],
    ]
)


@dataclass(frozen=True)
class HandGrasp:
    """A grasp of a cup of about 60 mm: palm and bent fingers are a cradle, and the thumb presses the cup into it.

    Attributes:
        open, closed: joint positions in rad by name. The fingers get to `closed`; the thumb stops at the cup before.
        thumb: the joint that presses. contact: where it stops at the cup, in rad.
        aim: (3,) the cup's axis in grasp_frame, in m, when the hand is around it. held: when it is in the hand.
        approach: (3,) the hand's own way to the cup, a unit vector: along the thumb, so that it passes the cup.
    """

    open: dict[str, float]
    closed: dict[str, float]
    thumb: str
    contact: float
    aim: np.ndarray
    held: np.ndarray
    approach: np.ndarray


def _inspire() -> HandGrasp:
    fingers = [f"{finger}_proximal_joint" for finger in ("pinky", "ring", "middle", "index")]
    pitch, yaw = "thumb_proximal_pitch_joint", "thumb_proximal_yaw_joint"
    return HandGrasp(
        open={**dict.fromkeys(fingers, 0.3), pitch: 0.0, yaw: 1.25},
        closed={**dict.fromkeys(fingers, 0.62), pitch: 0.32, yaw: 1.25},
        thumb=pitch,
        contact=0.13,
        aim=np.array([-0.010, 0.0, 0.016]),
        held=np.array([-0.006, 0.0, 0.011]),
        approach=np.array([0.786, 0.0, 0.618]),
    )


_GRASPS = (_inspire(),)


@dataclass(frozen=True)
class HandPose:
    """Where the hand is: `position` (3,) of grasp_frame in m, and its rotation taken apart.

    Attributes:
        tilt_rad: about the fingers' axis, away from upright; positive pours over the side that the palm looks to.
        swing: (3,) rotation vector in base_link that brings it back to an upright hand tilted by `tilt_rad`.
    """

    position: np.ndarray
    tilt_rad: float
    swing: np.ndarray


class GraspingHand:
    """An arm with a hand that has a `HandGrasp`.

    Attributes:
        arm, hand: indices of their joints in the action vector. thumb: index of the pressing joint within `hand`.
        open, closed: (G,) rad, in the order of `hand`.

    Raises:
        UserError: the robot has no such hand on an arm.
    """

    def __init__(self, robot: RobotDescription) -> None:
        self.kinematics = ToolKinematics(robot)
        self.arm, self.hand = self.kinematics.arm, self.kinematics.gripper
        joints = [robot.action_joints[index] for index in self.hand]
        found = [grasp for grasp in _GRASPS if set(grasp.open) == set(joints)]
        if not found or not len(self.arm):
            raise UserError(
                f"{robot.path}: pouring by script needs an arm with the joints of a known hand behind {GRASP_FRAME} "
                f"({', '.join(sorted(_GRASPS[0].open))}), found {', '.join(joints) or 'none'}; "
                "choose a task without it."
            )
        self.grasp = found[0]
        self.open = np.array([self.grasp.open[joint] for joint in joints])
        self.closed = np.array([self.grasp.closed[joint] for joint in joints])
        self.thumb = joints.index(self.grasp.thumb)
        self._fingers = np.flatnonzero((self.closed != self.open) & (np.arange(len(joints)) != self.thumb))

    def pose(self, arm: np.ndarray) -> HandPose:
        """For arm joints (J,) in rad."""
        position, rotation = self.kinematics.forward(arm)
        return self.pose_of(position, rotation)

    @staticmethod
    def pose_of(position: np.ndarray, rotation: np.ndarray) -> HandPose:
        """For a position (3,) in m and a rotation (3, 3) of grasp_frame."""
        relative = UPRIGHT_ROTATION.T @ rotation
        tilt = math.atan2(relative[0, 1] - relative[1, 0], relative[0, 0] + relative[1, 1])
        return HandPose(position, tilt, rotation_vector(tilted(tilt) @ rotation.T))

    def bent(self, hand: np.ndarray) -> float:
        """How far the fingers are on their way from open (0) to closed (1), for hand joints (G,) in rad."""
        fingers = self._fingers
        return float(np.mean((hand[fingers] - self.open[fingers]) / (self.closed[fingers] - self.open[fingers])))

    def spread(self, hand: np.ndarray) -> float:
        """How far the hand is from open, as a share of its way: that of the joint that is farthest."""
        way = np.where(self.closed != self.open, np.abs(self.closed - self.open), 0.4)
        return float(np.max(np.abs(hand - self.open) / way))


def tilted(tilt_rad: float) -> np.ndarray:
    """(3, 3) rotation in base_link of a hand that is tilted about its fingers' axis."""
    cos, sin = math.cos(tilt_rad), math.sin(tilt_rad)
    return UPRIGHT_ROTATION @ np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
