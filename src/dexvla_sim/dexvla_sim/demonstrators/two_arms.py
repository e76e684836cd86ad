"""Two arms with grippers, each led by its tool: what a bimanual demonstrator plans with."""

import math
from dataclasses import dataclass

import numpy as np

from dexvla_model.robot import RobotDescription
from dexvla_sim.demonstrators.gripper_arm import GripperArm
from dexvla_sim.demonstrators.tool_motion import APPROACH_PER_S, limited
from dexvla_sim.kinematics import rotation_matrix, rotation_vector

SIDES = ("left", "right")
# Of y, on each side.
SIGNS = (1.0, -1.0)

ACCELERATION_M_S2 = 1.4
TURN_SPEED_RAD_S = 1.2
TURN_ACCELERATION_RAD_S2 = 1.6
GRIPPER_SPEED_PER_S = 1.0

# Shares of the gripper's stroke, from 0 (open) to 1 (closed).
SQUEEZE = 0.125
SLACK = 0.0625

# Fingers down, opening along base_link's x; the wrist cameras look from the sides away from the other arm.
TOOL_ROTATIONS = (
    np.array([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]]),
    np.array([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]]),
)


@dataclass(frozen=True)
class Tool:
    """One arm's grasp frame: position (3,) in m, rotation (3, 3), and how far the gripper is closed (0-1)."""

    side: int
    position: np.ndarray
    rotation: np.ndarray
    closed: float

    def inside(self, place: np.ndarray) -> np.ndarray:
        """(3,) a place of base_link in the tool's frame; `outside` is the way back."""
        return self.rotation.T @ (place - self.position)

    def outside(self, place: np.ndarray) -> np.ndarray:
        """(3,) a place of the tool's frame in base_link."""
        return self.position + self.rotation @ place

    def turn(self, heading_rad: float) -> np.ndarray:
        """(3,) rad: the turn that is left until the fingers point down and the tool has a heading about z."""
        cos, sin = math.cos(heading_rad), math.sin(heading_rad)
        goal = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]) @ TOOL_ROTATIONS[self.side]
        return rotation_vector(goal @ self.rotation.T)

    def tilt_rad(self, heading_rad: float) -> float:
        """The angle of that turn."""
        return math.hypot(*self.turn(heading_rad))


@dataclass(frozen=True)
class Motion:
    """What one arm is to do at a moment: velocity (3,) in m/s, heading about z, how far to close."""

    velocity: np.ndarray
    heading_rad: float
    closed: float


class Arm(GripperArm):
    """One of two arms: kinematics and gripper.

    Raises:
        UserError: the URDF has no grasp frame for that side, or a gripper of more joints or other pads.
    """

    def __init__(self, robot: RobotDescription, side: int) -> None:
        super().__init__(robot, f"{SIDES[side]}_")
        self.side = side

    def tool(self, positions: np.ndarray) -> Tool:
        """Where the tool is for the robot's joints (A,)."""
        place, rotation = self.kinematics.forward(positions[self.joints])
        return Tool(self.side, place, rotation, self.stroke.closed(positions[self.gripper]))


class MovingArm:
    """The prediction of one arm over the rows of a chunk.

    Args:
        rows: (P, A) at least one: from where it goes on, with the velocity of the last two.
        measured: (A,) where the joints are.
        width_m: of the object that it holds or may come to hold.

    Attributes:
        touch: how far the gripper is closed when it meets the object.
        closed: where the fingers are; `commanded` where they are told to be.
    """

    def __init__(
        self, arm: Arm, rows: np.ndarray, measured: np.ndarray, step_s: float, width_m: float, held: bool
    ) -> None:
        self.arm = arm
        here = arm.tool(rows[-1])
        self.position, self.rotation = here.position, here.rotation
        self._velocity: np.ndarray | None = None
        self._turn_speed = 0.0
        if len(rows) > 1:
            before = arm.tool(rows[-2])
            self._velocity = (here.position - before.position) / step_s
            self._turn_speed = math.hypot(*rotation_vector(here.rotation @ before.rotation.T)) / step_s
        at_rest = arm.stroke.closed(measured[arm.gripper])
        self.commanded = here.closed
        self.touch = arm.stroke.contact(width_m)
        if held:
            self.touch = min(self.touch, at_rest)
        stands_open = at_rest > self.touch + SLACK
        self.closed = self.commanded if stands_open else min(self.commanded, self.touch)

    @property
    def tool(self) -> Tool:
        return Tool(self.arm.side, self.position, self.rotation, self.closed)

    def advance(self, motion: Motion, duration_s: float, stopped: bool) -> None:
        """Move on by `duration_s`; `stopped`: an object is between the fingers."""
        if self._velocity is None:
            self._velocity = motion.velocity
        change = limited(motion.velocity - self._velocity, ACCELERATION_M_S2 * duration_s)
        self._velocity = self._velocity + change
        self.position = self.position + self._velocity * duration_s
        self._turn(motion.heading_rad, duration_s)
        step = GRIPPER_SPEED_PER_S * duration_s
        self.commanded += max(-step, min(motion.closed - self.commanded, step))
        self.closed = min(self.commanded, self.touch) if stopped else self.commanded

    def write(self, row: np.ndarray, before: np.ndarray) -> None:
        """The joints of this moment into a row (A,), on the branch of the row `before`."""
        joints = self.arm.joints
        row[joints] = self.arm.kinematics.inverse(self.position, self.rotation, before[joints])
        row[self.arm.gripper] = self.arm.stroke.position(self.commanded)

    def _turn(self, heading_rad: float, duration_s: float) -> None:
        turn = self.tool.turn(heading_rad)
        angle = math.hypot(*turn)
        most = TURN_ACCELERATION_RAD_S2 * duration_s
        braking = math.sqrt(2.0 * TURN_ACCELERATION_RAD_S2 * angle)
        wanted = min(TURN_SPEED_RAD_S, APPROACH_PER_S * angle, braking)
        self._turn_speed += max(-most, min(wanted - self._turn_speed, most))
        if angle > 1e-6:
            share = min(1.0, self._turn_speed * duration_s / angle)
            self.rotation = rotation_matrix(turn * share) @ self.rotation
