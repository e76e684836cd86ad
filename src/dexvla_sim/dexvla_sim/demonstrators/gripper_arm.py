"""An arm with a gripper of one joint over a table: where its tool is, and where it will be."""

import math
from dataclasses import dataclass

import numpy as np

from dexvla_model.observation import RobotState, select_joints
from dexvla_model.robot import RobotDescription
from dexvla_sim.demonstrators.tool_motion import (
    ACCELERATION_M_S2,
    GRIPPER_SPEED_PER_S,
    TURN_SPEED_RAD_S,
    limited,
)
from dexvla_sim.kinematics import GripperStroke, ToolKinematics, rotation_matrix, rotation_vector

# Fingers down, opening along base_link's y; the wrist camera's side of the gripper faces the robot's foot.
TOOL_ROTATION = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])


@dataclass(frozen=True)
class Tool:
    """The grasp frame's position (3,) in m, its tilt from the wanted rotation, and how far the gripper is
    closed (0-1)."""

    position: np.ndarray
    tilt_rad: float
    closed: float


class GripperArm:
    """Kinematics and gripper of a robot.

    Args:
        prefix: of the names of one arm's joints, shapes and frame, for a robot of two.

    Attributes:
        stroke: of the gripper, as shares from 0 (open) to 1 (closed).
        joints: (J,) the arm's places in the action vector. gripper: the gripper's.

    Raises:
        UserError: the URDF has no `grasp_frame`, or not two `*_pad` collision shapes, or the gripper more
            joints.
    """

    def __init__(self, robot: RobotDescription, prefix: str = "") -> None:
        self.robot = robot
        self.kinematics = ToolKinematics(robot, prefix)
        self.stroke = GripperStroke(self.kinematics)
        self.joints = self.kinematics.arm
        self.gripper = int(self.kinematics.gripper[0])

    def positions(self, state: RobotState) -> np.ndarray:
        """(A,) the measured positions in the order of the action vector."""
        return select_joints(self.robot.state_joints, state.positions, self.robot.action_joints)

    def tool(self, positions: np.ndarray, wanted: np.ndarray = TOOL_ROTATION) -> Tool:
        """The tool for joints (A,); its tilt is from the rotation `wanted` (3, 3)."""
        position, rotation = self.kinematics.forward(positions[self.joints])
        tilt = math.hypot(*rotation_vector(wanted @ rotation.T))
        return Tool(position, tilt, self.stroke.closed(positions[self.gripper]))


class MovingTool:
    """The tool as a chunk moves it on, from the chunk's first rows.

    Args:
        rows: (P, A) at least one: it goes on from the last, with the velocity of the last two.

    Attributes:
        position: (3,) in m. rotation: (3, 3).
        commanded: how far the gripper is told to close.
    """

    def __init__(self, arm: GripperArm, rows: np.ndarray, step_s: float) -> None:
        self._arm = arm
        self.position, self.rotation = arm.kinematics.forward(rows[-1, arm.joints])
        self._velocity = None
        if len(rows) > 1:
            self._velocity = (self.position - arm.kinematics.forward(rows[-2, arm.joints])[0]) / step_s
        self.commanded = arm.stroke.closed(rows[-1, arm.gripper])

    def seen(self, closed: float, wanted: np.ndarray = TOOL_ROTATION) -> Tool:
        """The tool as it is now, where the fingers stand at `closed`."""
        return Tool(self.position, math.hypot(*rotation_vector(wanted @ self.rotation.T)), closed)

    def advance(
        self, velocity: np.ndarray, closed: float, duration_s: float, wanted: np.ndarray = TOOL_ROTATION
    ) -> None:
        """Move on for `duration_s`.

        Args:
            velocity: (3,) in m/s that it is to have. closed: how far the gripper is to close.
            wanted: (3, 3) rotation to turn to.
        """
        if self._velocity is None:
            self._velocity = velocity
        self._velocity = self._velocity + limited(velocity - self._velocity, ACCELERATION_M_S2 * duration_s)
        self.position = self.position + self._velocity * duration_s
        turn = rotation_vector(wanted @ self.rotation.T)
        angle = math.hypot(*turn)
        if angle > 1e-6:
            share = min(1.0, TURN_SPEED_RAD_S * duration_s / angle)
            self.rotation = rotation_matrix(turn * share) @ self.rotation
        step = GRIPPER_SPEED_PER_S * duration_s
        self.commanded += max(-step, min(closed - self.commanded, step))

    def write(self, row: np.ndarray, before: np.ndarray) -> None:
        """The joints of this moment into a row (A,), on the branch of the row `before`."""
        joints = self._arm.joints
        row[joints] = self._arm.kinematics.inverse(self.position, self.rotation, before[joints])
        row[self._arm.gripper] = self._arm.stroke.position(self.commanded)
