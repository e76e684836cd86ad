"""The same planner by MoveIt, where `moveit_py` is installed: it comes with ROS only."""

from importlib.util import find_spec

import numpy as np
import yaml

from dexvla_model.errors import UserError
from dexvla_model.robot import RobotDescription
from dexvla_model.robot.moveit import moveit_folder, read_srdf
from dexvla_ros.motion.bodies import robot_urdf_with_table
from dexvla_ros.motion.planner import EmbeddedPlanner, PlannerSettings
from dexvla_ros.motion.refusal import MotionRefused, MoveOutcome


def has_moveit() -> bool:
    """Whether `moveit_py` can be imported."""
    return find_spec("moveit") is not None and find_spec("moveit.planning") is not None


class MoveItPlanner(EmbeddedPlanner):
    """Only the way around what blocks the straight line comes from MoveIt.

    Goals, the refusal of collisions, and the timing within jerk limits stay those of the embedded planner:
    the same goal is refused with the same sentence on every machine, and what MoveIt found is checked again.

    Raises:
        UserError: the robot has no MoveIt configuration, or a file of it cannot be read.
    """

    def __init__(self, robot: RobotDescription, settings: PlannerSettings) -> None:
        super().__init__(robot, settings)
        from moveit.core.robot_state import RobotState
        from moveit.planning import MoveItPy

        self._state_type = RobotState
        self._moveit = MoveItPy(
            node_name="motion_node_moveit", config_dict=moveit_parameters(robot, settings)
        )
        folder = moveit_folder(robot.name, robot.path)
        groups = read_srdf(folder / f"{robot.name}.srdf").subgroups
        self._group = "all" if groups.get("all") else next(iter(groups))
        self._add_obstacles()

    def _path(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        direct = np.stack([start, end])
        if self._is_way_free(direct):
            return direct
        component = self._moveit.get_planning_component(self._group)
        component.set_start_state(robot_state=self._state(start))
        component.set_goal_state(robot_state=self._state(end))
        result = component.plan()
        if not result:
            raise MotionRefused(MoveOutcome.NO_PATH, "MoveIt found no free way; its log says why.")
        found = result.trajectory.get_robot_trajectory_msg().joint_trajectory
        path = np.repeat(start[None], len(found.points), axis=0)
        for column, joint in enumerate(found.joint_names):
            path[:, self.robot.action_joints.index(joint)] = [
                point.positions[column] for point in found.points
            ]
        return np.concatenate([start[None], path, end[None]])

    def _state(self, positions: np.ndarray):
        state = self._state_type(self._moveit.get_robot_model())
        state.joint_positions = dict(zip(self.robot.action_joints, map(float, positions)))
        state.update()
        return state

    def _add_obstacles(self) -> None:
        if not self._settings.obstacles:
            return
        from geometry_msgs.msg import Pose
        from moveit_msgs.msg import CollisionObject
        from shape_msgs.msg import SolidPrimitive

        root = self.bodies.links[0]
        with self._moveit.get_planning_scene_monitor().read_write() as scene:
            for box in self._settings.obstacles:
                thing = CollisionObject(id=box.name, operation=CollisionObject.ADD)
                thing.header.frame_id = root
                thing.primitives = [SolidPrimitive(type=SolidPrimitive.BOX, dimensions=box.size.tolist())]
                pose = Pose()
                pose.position.x, pose.position.y, pose.position.z = box.centre.tolist()
                thing.primitive_poses = [pose]
                scene.apply_collision_object(thing)
            scene.current_state.update()


def moveit_parameters(robot: RobotDescription, settings: PlannerSettings) -> dict:
    """What MoveItPy needs, out of the robot's folder in config/moveit.

    Raises:
        UserError: the folder, or a file in it, is missing or cannot be read.
    """
    folder = moveit_folder(robot.name, robot.path)
    if folder is None:
        raise UserError(
            f"{robot.path}: there is no MoveIt configuration for it; write one with "
            f"`dexvla robot moveit {robot.name}`, or set the parameter planner of motion_node to embedded."
        )
    try:
        texts = {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir() if file.is_file()}
        files = {name: yaml.safe_load(text) for name, text in texts.items() if name.endswith(".yaml")}
        return {
            "robot_description": robot_urdf_with_table(robot),
            "robot_description_semantic": texts[f"{robot.name}.srdf"],
            "robot_description_kinematics": files["kinematics.yaml"],
            "robot_description_planning": files["joint_limits.yaml"],
            "planning_pipelines": {"pipeline_names": ["ompl"]},
            "ompl": files["ompl_planning.yaml"],
            **files["moveit_controllers.yaml"],
            "plan_request_params": {
                "planning_attempts": 1,
                "planning_pipeline": "ompl",
                "planner_id": "RRTConnect",
                "planning_time": settings.planning_time_s,
                "max_velocity_scaling_factor": 1.0,
                "max_acceleration_scaling_factor": 1.0,
            },
        }
    except (OSError, UnicodeDecodeError, KeyError, yaml.YAMLError) as error:
        raise UserError(
            f"{folder}: the MoveIt configuration cannot be read ({error}); write it anew with "
            f"`dexvla robot moveit {robot.name}`."
        ) from error
