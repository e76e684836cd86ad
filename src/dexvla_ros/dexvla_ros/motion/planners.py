"""Which planner a robot gets."""

from dexvla_model.errors import UserError
from dexvla_model.robot import RobotDescription
from dexvla_ros.motion.moveit_planner import MoveItPlanner, has_moveit
from dexvla_ros.motion.planner import EmbeddedPlanner, PlannerSettings

EMBEDDED = "embedded"
MOVEIT = "moveit"
AUTO = "auto"
PLANNERS = (AUTO, EMBEDDED, MOVEIT)


def make_planner(kind: str, robot: RobotDescription, settings: PlannerSettings) -> EmbeddedPlanner:
    """The planner of that kind, one of `PLANNERS`.

    Raises:
        UserError: it is not installed, or the robot's MoveIt configuration cannot be used.
    """
    if kind == MOVEIT and not has_moveit():
        raise UserError(
            "The parameter planner of motion_node is 'moveit', but moveit_py is not installed; install "
            "ros-jazzy-moveit-py, or set it to auto or embedded."
        )
    if kind != EMBEDDED and has_moveit():
        return MoveItPlanner(robot, settings)
    return EmbeddedPlanner(robot, settings)
