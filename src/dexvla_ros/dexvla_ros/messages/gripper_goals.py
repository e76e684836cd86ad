"""Goals of the actions that grippers take, and what their results say."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from action_msgs.msg import GoalStatus
from sensor_msgs.msg import JointState

from dexvla_model.errors import UserError
from dexvla_ros.gripper_bridge import GoalEnd


@dataclass(frozen=True)
class GripperGoals:
    """How one type of action is spoken.

    Attributes:
        kind: the action's class. goal: a goal from joint, position (the joint's unit) and force (N or Nm).
        stalled: whether a result says that the gripper met something.
    """

    kind: type
    goal: Callable[[type, str, float, float], Any]
    stalled: Callable[[Any], bool]

    def make(self, joint: str, position: float, force: float) -> Any:
        """The goal's message."""
        return self.goal(self.kind, joint, position, force)

    def end(self, status: int, result: Any) -> GoalEnd:
        """How a goal ended, by status and result."""
        if status == GoalStatus.STATUS_CANCELED:
            return GoalEnd.CANCELED
        if self.stalled(result):
            return GoalEnd.STALLED
        return GoalEnd.REACHED if status == GoalStatus.STATUS_SUCCEEDED else GoalEnd.ABORTED


def _gripper_command(kind: type, joint: str, position: float, force: float) -> Any:
    goal = kind.Goal()
    goal.command.position, goal.command.max_effort = position, force
    return goal


def _parallel_command(kind: type, joint: str, position: float, force: float) -> Any:
    return kind.Goal(command=JointState(name=[joint], position=[position], effort=[force]))


_GOALS = {
    "control_msgs/action/GripperCommand": _gripper_command,
    "control_msgs/action/ParallelGripperCommand": _parallel_command,
}
ACTION_TYPES = tuple(_GOALS)


def gripper_goals(action_type: str) -> GripperGoals:
    """How to speak an action of `ACTION_TYPES`.

    Raises:
        UserError: there is no such type here, or its package is not installed.
    """
    package, _, name = action_type.split("/")
    try:
        kind = getattr(import_module(f"{package}.action"), name)
    except ImportError as error:
        raise UserError(
            f"The ROS package {package} is not installed, but the gripper's action is a {action_type}: "
            f"install it (sudo apt-get install ros-jazzy-{package.replace('_', '-')}) and source ROS."
        ) from error
    return GripperGoals(kind, _GOALS[action_type], lambda result: bool(result.stalled))
