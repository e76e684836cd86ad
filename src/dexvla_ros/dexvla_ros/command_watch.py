"""What the controllers were told last, and whether somebody else told them. No ROS."""

from collections import deque
from collections.abc import Mapping

import numpy as np

from dexvla_model.robot import RobotDescription
from dexvla_model.streaming import JointTrajectory

# Own messages come back after a moment at most.
_OWN_REMEMBERED = 64


class CommandWatch:
    """Listens on the controllers' topics, on which a node's own messages come back, too.

    Attributes:
        foreign_s: when the last message of another node came, in s of the node clock; minus infinity = never.
        foreign_controller: the controller that it was for.
    """

    def __init__(self, robot: RobotDescription) -> None:
        self._joints = robot.action_joints
        self._positions = np.full(len(robot.action_joints), np.nan)
        self._own: deque[tuple] = deque(maxlen=_OWN_REMEMBERED)
        self.foreign_s = -np.inf
        self.foreign_controller = ""

    def sent(self, trajectories: Mapping[str, JointTrajectory]) -> None:
        """These are our own, about to be published."""
        for controller, trajectory in trajectories.items():
            self._own.append(_key(controller, trajectory))
            self._note(trajectory)

    def heard(self, controller: str, trajectory: JointTrajectory, now_s: float) -> bool:
        """A message came for a controller. Whether another node sent it."""
        if _key(controller, trajectory) in self._own:
            return False
        self.foreign_s, self.foreign_controller = now_s, controller
        self._note(trajectory)
        return True

    def commanded(self, otherwise: np.ndarray) -> np.ndarray:
        """(A,) rad to which the controllers were sent last; `otherwise` (A,) where nobody has sent them."""
        return np.where(np.isnan(self._positions), otherwise, self._positions)

    def _note(self, trajectory: JointTrajectory) -> None:
        if not len(trajectory.positions) or len(trajectory.positions[-1]) != len(trajectory.joints):
            return
        for joint, position in zip(trajectory.joints, trajectory.positions[-1]):
            if joint in self._joints and np.isfinite(position):
                self._positions[self._joints.index(joint)] = position


def _key(controller: str, trajectory: JointTrajectory) -> tuple:
    last = trajectory.positions[-1] if len(trajectory.positions) else ()
    return (
        controller,
        round(trajectory.stamp_s * 1e6),
        len(trajectory.times_s),
        tuple(round(float(position), 9) for position in last),
    )
