"""Forward and inverse kinematics of a robot's tool, from the same URDF as the world."""

import numpy as np

from dexvla_model.errors import UserError
from dexvla_model.robot import RobotDescription
from dexvla_sim.engine import mujoco
from dexvla_sim.world import robot_spec, set_joints

# Between the fingertips: z along the fingers, x from the right to the left finger.
GRASP_FRAME = "grasp_frame"

_DAMPING = 1e-4
_ITERATIONS = 20
_TOLERANCE = 1e-5


class ToolKinematics:
    """The pose of `grasp_frame` over the joints that move it, and the way back.

    Args:
        robot: the robot file. Joints of the action vector that do not move the frame are the gripper's.
        prefix: of the names of the joints, shapes and the frame of one arm, for a robot of two.

    Raises:
        UserError: the URDF has no such frame.
    """

    def __init__(self, robot: RobotDescription, prefix: str = "") -> None:
        spec, frame = robot_spec(robot), prefix + GRASP_FRAME
        if spec.body(frame) is None:
            raise UserError(f"{robot.urdf_path}: there is no link {frame}; add one between the fingertips.")
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        self.robot = robot
        self._prefix = prefix
        self._body = self._model.body(frame).id
        chain = self._ancestors(self._body)
        moving = np.array(
            [self._model.jnt_bodyid[self._model.joint(joint).id] in chain for joint in robot.action_joints]
        )
        own = np.array([joint.startswith(prefix) for joint in robot.action_joints])
        self.arm = np.flatnonzero(moving & own)
        self.gripper = np.flatnonzero(~moving & own)
        self._joints = [self._model.joint(robot.action_joints[index]) for index in self.arm]
        self._qpos = np.array([joint.qposadr[0] for joint in self._joints])
        self._dofs = np.array([joint.dofadr[0] for joint in self._joints])
        self._jacobian = np.zeros((6, self._model.nv))

    def forward(self, arm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,) in m and rotation (3, 3) of the frame in base_link, for arm joints (J,) in rad."""
        self._data.qpos[self._qpos] = arm
        mujoco.mj_kinematics(self._model, self._data)
        return self._data.xpos[self._body].copy(), self._data.xmat[self._body].reshape(3, 3).copy()

    def jacobian(self, arm: np.ndarray) -> np.ndarray:
        """(6, J) for arm joints (J,) in rad: m/s and rad/s of the frame, in base_link, by rad/s of the joints."""
        self.forward(arm)
        return self._jacobian_here()

    def _jacobian_here(self) -> np.ndarray:
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_jacBody(self._model, self._data, self._jacobian[:3], self._jacobian[3:], self._body)
        return self._jacobian[:, self._dofs]

    def inverse(self, position: np.ndarray, rotation: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Arm joints (J,) in rad that bring the frame to a pose, on the branch of `start`.

        Newton's method with damped least squares; out of reach, the nearest pose that the steps lead to.
        """
        arm = np.array(start, dtype=np.float64)
        for _ in range(_ITERATIONS):
            found, turned = self.forward(arm)
            error = np.concatenate([position - found, rotation_vector(rotation @ turned.T)])
            if np.abs(error).max() < _TOLERANCE:
                break
            jacobian = self._jacobian_here()
            step = jacobian.T @ np.linalg.solve(
                jacobian @ jacobian.T + _DAMPING * np.eye(6) * (error @ error), error
            )
            arm += np.clip(step, -0.3, 0.3)
        return arm

    def gripper_opening(self, gripper: np.ndarray) -> float:
        """Distance in m between the two nearest `*_pad` shapes for gripper joints (G,) in rad."""
        joints = [self.robot.action_joints[index] for index in self.gripper]
        set_joints(self._model, self._data.qpos, joints, gripper)
        mujoco.mj_kinematics(self._model, self._data)
        names = [self._model.geom(index).name for index in range(self._model.ngeom)]
        pads = [
            index
            for index, name in enumerate(names)
            if name.startswith(self._prefix) and name.endswith("_pad")
        ]
        if len(pads) != 2:
            raise UserError(
                f"{self.robot.urdf_path}: {len(pads)} collision shapes are named {self._prefix}*_pad; name two so."
            )
        return float(mujoco.mj_geomDistance(self._model, self._data, pads[0], pads[1], 1.0, None))

    def _ancestors(self, body: int) -> set[int]:
        chain = set()
        while body:
            chain.add(body)
            body = int(self._model.body_parentid[body])
        return chain


class GripperStroke:
    """A gripper of one joint as a share of its stroke: 0 is open, 1 is closed, whichever way and unit the joint has.

    Attributes:
        opening_m: distance between the pads when it is open.

    Raises:
        UserError: the gripper has more joints than one, or not two `*_pad` shapes.
    """

    def __init__(self, kinematics: ToolKinematics) -> None:
        robot, gripper = kinematics.robot, kinematics.gripper
        if len(gripper) != 1:
            names = ", ".join(robot.action_joints[index] for index in gripper) or "none"
            raise UserError(
                f"{robot.path}: {len(gripper)} joints of the action do not move {GRASP_FRAME} ({names}); picking up by "
                "script needs a gripper of one joint, so choose a task without it."
            )
        limits = robot.limits[robot.action_joints[int(gripper[0])]]
        ends = (limits.lower, limits.upper)
        openings = [kinematics.gripper_opening(np.array([end])) for end in ends]
        self._open, self._closed = ends if openings[0] > openings[1] else reversed(ends)
        self._shares = np.linspace(0.0, 1.0, 41)
        positions = [np.array([self.position(share)]) for share in self._shares]
        self._openings = np.array([kinematics.gripper_opening(position) for position in positions])
        self.opening_m = float(self._openings[0])

    def closed(self, position: float) -> float:
        """The share at a joint position in its unit."""
        return float((position - self._open) / (self._closed - self._open))

    def position(self, closed: float) -> float:
        """The joint position in its unit at a share."""
        return float(self._open + closed * (self._closed - self._open))

    def contact(self, width_m: float) -> float:
        """The share at which the pads meet an object of that width."""
        return float(np.interp(-width_m, -self._openings, self._shares))


def rotation_vector(rotation: np.ndarray) -> np.ndarray:
    """Axis times angle (3,) in rad of a rotation matrix (3, 3); its angle is below pi."""
    quaternion, vector = np.empty(4), np.empty(3)
    mujoco.mju_mat2Quat(quaternion, rotation.ravel())
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector


def rotation_matrix(vector: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) of axis times angle (3,) in rad."""
    angle = float(np.linalg.norm(vector))
    quaternion, matrix = np.empty(4), np.empty(9)
    mujoco.mju_axisAngle2Quat(quaternion, vector / angle if angle > 0.0 else np.array([1.0, 0.0, 0.0]), angle)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)


def quaternion_of(rotation: np.ndarray) -> np.ndarray:
    """Unit quaternion (4,), w first, of a rotation matrix (3, 3)."""
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(rotation).ravel())
    return quaternion
