"""How a hand with a thumb takes a cup from the side, and where the hand has to be for it.

The hand keeps its side: thumb up or down, the palm's normal and the fingers level. Only the tilt about the axis of
its fingers changes, which on the arm is its last joint.
"""

import math
from dataclasses import dataclass

import numpy as np

from dexvla_model.errors import UserError
from dexvla_model.robot import RobotDescription
from dexvla_sim.kinematics import GRASP_FRAME, ToolKinematics, rotation_vector

# The motions are planned for an arm whose joints accelerate like this; one that cannot does it all slower.
_BRISK_RAD_S2 = 5.0


@dataclass(frozen=True)
class HandGrasp:
    """A grasp of a cup of about 60 mm: palm and bent fingers are a cradle, and the thumb presses the cup into it.

    Attributes:
        open, closed: joint positions in rad by name. The fingers get to `closed`; the thumb stops at the cup before.
        thumb: the joint that presses. contact: where it stops at the cup, in rad.
        speed_rad_s: of all joints of the hand, when it opens and closes.
        aim: (3,) the cup's axis in grasp_frame, in m, when the hand is around it. held: when it is in the hand.
        approach: (3,) the hand's own way to the cup, a unit vector: along the thumb, so that it passes the cup.
        stand_off_m: from so far the hand comes along that way: the tips of the open hand are short of the cup there.
        height_m: of grasp_frame over the foot of the cup.
        thumb_up: the thumb's side of the hand is on top; otherwise the other one is.
        yaw_rad: where the fingers point, from the front of the robot's foot to the left: so that the arm reaches all
            the table without coming near its singular poses or its ends.
    """

    open: dict[str, float]
    closed: dict[str, float]
    thumb: str
    contact: float
    speed_rad_s: float
    aim: np.ndarray
    held: np.ndarray
    approach: np.ndarray
    stand_off_m: float
    height_m: float
    thumb_up: bool
    yaw_rad: float


def _inspire() -> HandGrasp:
    fingers = [f"{finger}_proximal_joint" for finger in ("pinky", "ring", "middle", "index")]
    pitch, yaw = "thumb_proximal_pitch_joint", "thumb_proximal_yaw_joint"
    return HandGrasp(
        open={**dict.fromkeys(fingers, 0.3), pitch: 0.0, yaw: 1.25},
        closed={**dict.fromkeys(fingers, 0.62), pitch: 0.32, yaw: 1.25},
        thumb=pitch,
        contact=0.13,
        speed_rad_s=0.35,
        aim=np.array([-0.010, 0.0, 0.016]),
        held=np.array([-0.006, 0.0, 0.011]),
        approach=np.array([0.786, 0.0, 0.618]),
        stand_off_m=0.090,
        height_m=0.078,
        thumb_up=True,
        # To the front and somewhat to the right; the palm looks to the left.
        yaw_rad=math.radians(-25.0),
    )


def _leap() -> HandGrasp:
    """Bent fingers that only turn at their knuckles, and a thumb that comes from outside and presses."""
    knuckles, middles, lasts = ("1", "5", "9"), ("2", "6", "10"), ("3", "7", "11")
    still = {**dict.fromkeys(("0", "4", "8"), 0.0), **dict.fromkeys(middles, 0.6), **dict.fromkeys(lasts, 0.5)}
    # The thumb's last joint bends away from the cup: its tip passes the fingertips.
    still |= {"12": 2.0, "13": 0.0, "15": -0.4}
    return HandGrasp(
        open=still | dict.fromkeys(knuckles, 0.3) | {"14": -1.0},
        closed=still | dict.fromkeys(knuckles, 1.2) | {"14": 0.75},
        thumb="14",
        contact=0.487,
        speed_rad_s=1.0,
        aim=np.array([0.006, 0.0, 0.0]),
        held=np.array([0.0, 0.0, 0.0]),
        approach=np.array([1.0, 0.0, 0.0]),
        stand_off_m=0.110,
        height_m=0.080,
        # The fingers point to the left, the palm looks to the front: the wrist, low over the table, stays clear of
        # the bowl, which stands to the left.
        thumb_up=False,
        yaw_rad=math.radians(100.0),
    )


_GRASPS = (_inspire(), _leap())


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
        upright: (3, 3) columns: where the hand's x (palm), y (thumb's side) and z (fingers) point in base_link.
        pace: at most 1: by it the arm's motions are slower than planned; by its square, their accelerations less.

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
                f"({' or '.join(', '.join(sorted(grasp.open)) for grasp in _GRASPS)}), "
                f"found {', '.join(joints) or 'none'}; "
                "choose a task without it."
            )
        self.grasp = found[0]
        self.open = np.array([self.grasp.open[joint] for joint in joints])
        self.closed = np.array([self.grasp.closed[joint] for joint in joints])
        self.thumb = joints.index(self.grasp.thumb)
        cos, sin = math.cos(self.grasp.yaw_rad), math.sin(self.grasp.yaw_rad)
        self._side = 1.0 if self.grasp.thumb_up else -1.0
        self.upright = np.array(
            [[-self._side * sin, 0.0, cos], [self._side * cos, 0.0, sin], [0.0, self._side, 0.0]]
        )
        accelerations = [robot.limits[robot.action_joints[index]].acceleration for index in self.arm]
        self.pace = min(1.0, math.sqrt(min(accelerations) / _BRISK_RAD_S2))
        self._fingers = np.flatnonzero((self.closed != self.open) & (np.arange(len(joints)) != self.thumb))

    def pose(self, arm: np.ndarray) -> HandPose:
        """For arm joints (J,) in rad."""
        position, rotation = self.kinematics.forward(arm)
        return self.pose_of(position, rotation)

    def pose_of(self, position: np.ndarray, rotation: np.ndarray) -> HandPose:
        """For a position (3,) in m and a rotation (3, 3) of grasp_frame."""
        relative = self.upright.T @ rotation
        tilt = self._side * math.atan2(relative[0, 1] - relative[1, 0], relative[0, 0] + relative[1, 1])
        return HandPose(position, tilt, rotation_vector(self.tilted(tilt) @ rotation.T))

    def bent(self, hand: np.ndarray) -> float:
        """How far the fingers are on their way from open (0) to closed (1), for hand joints (G,) in rad."""
        fingers = self._fingers
        return float(np.mean((hand[fingers] - self.open[fingers]) / (self.closed[fingers] - self.open[fingers])))

    def spread(self, hand: np.ndarray) -> float:
        """How far the hand is from open, as a share of its way: that of the joint that is farthest."""
        way = np.where(self.closed != self.open, np.abs(self.closed - self.open), 0.4)
        return float(np.max(np.abs(hand - self.open) / way))

    def above(self, height_m: float) -> np.ndarray:
        """(3,) in grasp_frame: so far towards the side of the hand that is on top."""
        return np.array([0.0, self._side * height_m, 0.0])

    def tilted(self, tilt_rad: float) -> np.ndarray:
        """(3, 3) rotation in base_link of a hand that is tilted about its fingers' axis."""
        cos, sin = math.cos(tilt_rad), self._side * math.sin(tilt_rad)
        return self.upright @ np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
