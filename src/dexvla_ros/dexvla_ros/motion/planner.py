"""From a goal and where the robot stands to a motion, or to the sentence that says why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pinocchio

from dexvla_model.robot import RobotDescription
from dexvla_model.streaming.plan import MotionPlan
from dexvla_ros.motion.bodies import RobotBodies, postures_along
from dexvla_ros.motion.disabled_pairs import unchecked_pairs
from dexvla_ros.motion.goals import MoveGoal, full_goal, joint_positions, named_poses
from dexvla_ros.motion.inverse_kinematics import postures_at
from dexvla_ros.motion.obstacles import BoxObstacle
from dexvla_ros.motion.path_search import PathSearch
from dexvla_ros.motion.refusal import MotionRefused, MoveOutcome
from dexvla_ros.motion.timing import motion_along

# So many postures at a pose are tried as goals.
_POSTURES_MAX = 4


class MotionPlanner(Protocol):
    """Plans one motion at a time."""

    def plan(self, start: np.ndarray, goal: MoveGoal) -> MotionPlan:
        """A motion from rest at (A,) rad to rest at the goal, from knot 0 on.

        Raises:
            MotionRefused: there is none; the sentence says why.
        """


@dataclass(frozen=True)
class PlannerSettings:
    """How to plan.

    Attributes:
        planning_time_s: after which a search for a way gives up, real time.
        compliant_controllers: whose joints close on things; their bodies may touch each other.
        obstacles: boxes to plan around.
    """

    planning_time_s: float = 5.0
    compliant_controllers: tuple[str, ...] = ()
    obstacles: tuple[BoxObstacle, ...] = ()


class EmbeddedPlanner:
    """Plans with pinocchio, coal and OMPL, around the table, the obstacles and the robot itself.

    All joints move at once on a straight line where that is free. Else the arm goes around what is in the
    way, with the fingers as they are, and the fingers move last.

    Raises:
        UserError: the robot's SRDF cannot be read.
    """

    def __init__(self, robot: RobotDescription, settings: PlannerSettings = PlannerSettings()) -> None:
        self.robot = robot
        self._settings = settings
        self._poses = named_poses(robot)
        disabled = unchecked_pairs(robot, settings.compliant_controllers)
        self.bodies = RobotBodies(robot, settings.obstacles, disabled)
        self._limits = [robot.limits[joint] for joint in robot.action_joints]
        self._lower = np.array([limit.lower for limit in self._limits])
        self._upper = np.array([limit.upper for limit in self._limits])
        fingers = {
            joint
            for controller in robot.controllers
            if controller.name in settings.compliant_controllers
            for joint in controller.joints
        }
        arm = [index for index, joint in enumerate(robot.action_joints) if joint not in fingers]
        self._arm = np.array(arm or range(len(robot.action_joints)))

    def plan(self, start: np.ndarray, goal: MoveGoal) -> MotionPlan:
        """See `MotionPlanner.plan`."""
        start = np.asarray(start, dtype=np.float64)
        touching = self.bodies.contact(start)
        if touching is not None:
            raise MotionRefused(
                MoveOutcome.START_IN_COLLISION,
                f"The robot stands in collision: {touching} touch; move it away by teleoperation.",
            )
        refusal = None
        for end in self._ends(start, goal):
            try:
                return self._motion(start, end, goal)
            except MotionRefused as reason:
                refusal = refusal or reason
        raise refusal

    def _ends(self, start: np.ndarray, goal: MoveGoal) -> Sequence[np.ndarray]:
        """(A,) postures that fulfil the goal, the best first."""
        if not goal.link:
            return [
                full_goal(start, joint_positions(goal, self.robot, self._poses), self.robot.action_joints)
            ]
        target = self._target(start, goal)
        found = postures_at(self.bodies, goal.link, target, start, self._arm, self._lower, self._upper)
        if not found:
            x, y, z = target.translation
            raise MotionRefused(
                MoveOutcome.UNREACHABLE,
                f"No posture takes {goal.link} to x {x:.3f}, y {y:.3f}, z {z:.3f} m with that orientation.",
            )
        free = [posture for posture in found if self.bodies.contact(posture) is None]
        return (free or found)[:_POSTURES_MAX]

    def _target(self, start: np.ndarray, goal: MoveGoal) -> pinocchio.SE3:
        for link in (goal.link, goal.frame or self.robot.base_frame):
            if link not in self.bodies.links:
                raise MotionRefused(
                    MoveOutcome.INVALID_GOAL,
                    f"There is no link {link!r}; the links are {', '.join(self.bodies.links)}.",
                )
        quaternion = pinocchio.Quaternion(goal.quaternion / np.linalg.norm(goal.quaternion))
        wanted = pinocchio.SE3(quaternion.matrix(), np.asarray(goal.position, dtype=np.float64))
        return self.bodies.link_pose(start, goal.frame or self.robot.base_frame) * wanted

    def _motion(self, start: np.ndarray, end: np.ndarray, goal: MoveGoal) -> MotionPlan:
        touching = self.bodies.contact(end)
        if touching is not None:
            raise MotionRefused(
                MoveOutcome.GOAL_IN_COLLISION,
                f"The robot would be in collision at {goal}: {touching} would touch.",
            )
        self.bodies.keep_clear(start, end)
        path = self._path(start, end)
        motion = motion_along(
            path, self._limits, goal.speed, lambda knots: self._is_way_free(postures_along(knots))
        )
        if motion is None:
            raise MotionRefused(MoveOutcome.NO_PATH, f"There is no free motion to {goal}.")
        return motion

    def _path(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        direct = np.stack([start, end])
        blocked = self.bodies.too_near_along(direct)
        if blocked is None:
            return direct
        arm = self._arm

        def whole(rows: np.ndarray) -> np.ndarray:
            postures = np.repeat(start[None], len(rows), axis=0)
            postures[:, arm] = rows
            return postures

        search = PathSearch(
            self._lower[arm],
            self._upper[arm],
            is_free=lambda row: self.bodies.too_near(whole(row[None])[0]) is None,
            is_way_free=lambda rows: self._is_way_free(whole(rows)),
            time_s=self._settings.planning_time_s,
        )
        found = search.path(start[arm], end[arm])
        if found is not None:
            path = np.concatenate([whole(found), end[None]])
            if self._is_way_free(path[-2:]):
                return path
        raise MotionRefused(
            MoveOutcome.NO_PATH,
            f"No free way was found within {self._settings.planning_time_s:g} s: on the straight one "
            f"{blocked} would come too near to each other.",
        )

    def _is_way_free(self, path: np.ndarray) -> bool:
        return self.bodies.too_near_along(path) is None
