"""Where the robot's bodies are, and which of them touch: kinematics by pinocchio, contacts by coal."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import coal
import numpy as np
import pinocchio

from dexvla_model.robot import RobotDescription
from dexvla_model.robot.urdf import expand_xacro
from dexvla_ros.motion.obstacles import BoxObstacle

# Bodies keep this distance from each other on the way.
CLEARANCE_M = 0.005
# Between two checked postures the joints move no more than this in sum, so that no body whose lever is 1 m or
# shorter is ever further from a checked posture than the clearance.
STEP_RAD = 2.0 * CLEARANCE_M


@dataclass(frozen=True)
class Contact:
    """Two links, or a link and an obstacle, that touch, by name."""

    first: str
    second: str

    def __str__(self) -> str:
        return f"{self.first} and {self.second}"


def robot_urdf_with_table(robot: RobotDescription) -> str:
    """The URDF that a planner reads: with the table, where the file has an argument of that name."""
    xml = expand_xacro(robot.urdf_path, {**robot.urdf_arguments, "table": "true"})
    # One number to a joint: pinocchio has two for a continuous one. Their range is ample for any motion.
    return re.sub(r'type="continuous"', 'type="revolute"', xml)


class RobotBodies:
    """The robot's collision shapes, posed by its action vector; joints that follow another one do so.

    Args:
        obstacles: boxes to keep clear of.
        disabled: pairs of link names that are not checked, such as neighbours.
    """

    def __init__(
        self,
        robot: RobotDescription,
        obstacles: Sequence[BoxObstacle] = (),
        disabled: Iterable[frozenset[str]] = (),
    ) -> None:
        xml = robot_urdf_with_table(robot)
        self.model = pinocchio.buildModelFromXML(xml)
        self.data = self.model.createData()
        self.joints = robot.action_joints
        self._spread, self._fixed = _configuration_map(self.model, xml, self.joints)
        geometry = pinocchio.buildGeomFromUrdfString(self.model, xml, pinocchio.GeometryType.COLLISION)
        self._names = [self.model.frames[shape.parentFrame].name for shape in geometry.geometryObjects]
        for box in obstacles:
            placement = pinocchio.SE3(np.eye(3), box.centre)
            geometry.addGeometryObject(
                pinocchio.GeometryObject(f"obstacle {box.name}", 0, placement, coal.Box(*box.size))
            )
            self._names.append(box.name)
        self._geometry = geometry
        self._add_pairs(frozenset(disabled), len(self._names) - len(obstacles))
        # One to see contact, one to see what comes too near.
        self._touching = geometry.createData()
        self._near = geometry.createData()
        for data in (self._touching, self._near):
            for request in data.collisionRequests:
                # Only whether, not where and how deep: that takes most of the time.
                request.enable_contact = False
        self.keep_clear()

    def _add_pairs(self, disabled: frozenset[frozenset[str]], own: int) -> None:
        parents = [shape.parentJoint for shape in self._geometry.geometryObjects]
        self.pairs: list[Contact] = []
        for second in range(len(self._names)):
            for first in range(second):
                pair = Contact(self._names[first], self._names[second])
                # Shapes that are fixed to each other never move apart.
                together = parents[first] == parents[second]
                if together or (second < own and frozenset((pair.first, pair.second)) in disabled):
                    continue
                self._geometry.addCollisionPair(pinocchio.CollisionPair(first, second))
                self.pairs.append(pair)

    def configuration(self, positions: np.ndarray) -> np.ndarray:
        """(Q,) of all joints for (A,) positions of the action vector."""
        return self._spread @ positions + self._fixed

    @property
    def spread(self) -> np.ndarray:
        """(Q, A): how each joint of the model follows the action vector."""
        return self._spread

    def contact(self, positions: np.ndarray) -> Contact | None:
        """Two bodies that touch at (A,) rad, or None."""
        return self._first(positions, self._touching)

    def contacts(self, positions: np.ndarray) -> np.ndarray:
        """(P,) bool: which of `pairs` touch at (A,) rad."""
        configuration = self.configuration(positions)
        pinocchio.computeCollisions(
            self.model, self.data, self._geometry, self._touching, configuration, False
        )
        return np.array([result.isCollision() for result in self._touching.collisionResults], dtype=bool)

    def too_near(self, positions: np.ndarray) -> Contact | None:
        """Two bodies that are nearer than the clearance at (A,) rad, or None."""
        return self._first(positions, self._near)

    def keep_clear(self, *excepted: np.ndarray) -> None:
        """Ask for the clearance between all bodies, but for those that are nearer at one of (A,) postures:
        they only must not touch."""
        for request in self._near.collisionRequests:
            request.security_margin = CLEARANCE_M
        for positions in excepted:
            configuration = self.configuration(positions)
            pinocchio.computeCollisions(
                self.model, self.data, self._geometry, self._near, configuration, False
            )
            close = [result.isCollision() for result in self._near.collisionResults]
            for request, is_close in zip(self._near.collisionRequests, close):
                if is_close:
                    request.security_margin = 0.0

    def too_near_along(self, path: np.ndarray) -> Contact | None:
        """Two bodies that come nearer than the clearance on straight lines through (N, A) rad, or None."""
        for positions in postures_along(path):
            found = self.too_near(positions)
            if found is not None:
                return found
        return None

    def link_pose(self, positions: np.ndarray, link: str) -> pinocchio.SE3:
        """Where a link is at (A,) rad, in the root frame.

        Raises:
            KeyError: there is no such link.
        """
        frame = self.frame(link)
        pinocchio.forwardKinematics(self.model, self.data, self.configuration(positions))
        return pinocchio.updateFramePlacement(self.model, self.data, frame).copy()

    def frame(self, link: str) -> int:
        """Index of a link's frame.

        Raises:
            KeyError: there is no such link.
        """
        if not self.model.existFrame(link, pinocchio.FrameType.BODY):
            raise KeyError(link)
        return self.model.getFrameId(link, pinocchio.FrameType.BODY)

    @property
    def links(self) -> list[str]:
        """Names of all links."""
        return [frame.name for frame in self.model.frames if frame.type == pinocchio.FrameType.BODY]

    def _first(self, positions: np.ndarray, data: pinocchio.GeometryData) -> Contact | None:
        configuration = self.configuration(positions)
        if not pinocchio.computeCollisions(self.model, self.data, self._geometry, data, configuration, True):
            return None
        index = next(index for index, result in enumerate(data.collisionResults) if result.isCollision())
        return self.pairs[index]


def postures_along(path: np.ndarray, step_rad: float = STEP_RAD) -> np.ndarray:
    """(M, A) on the straight lines through (N, A) rad, the joints' steps no more than `step_rad` in sum."""
    parts = [path[:1]]
    for start, end in zip(path[:-1], path[1:]):
        count = max(1, int(np.ceil(np.abs(end - start).sum() / step_rad)))
        parts.append(start + (end - start) * (np.arange(1, count + 1) / count)[:, None])
    return np.concatenate(parts)


def _configuration_map(
    model: pinocchio.Model, xml: str, joints: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """(Q, A) and (Q,): configuration = the first @ action + the second."""
    spread = np.zeros((model.nq, len(joints)))
    fixed = np.zeros(model.nq)
    leaders = {}
    for element in ElementTree.fromstring(xml).findall("joint"):
        mimic = element.find("mimic")
        if mimic is not None:
            ratio, offset = float(mimic.get("multiplier", "1")), float(mimic.get("offset", "0"))
            leaders[element.get("name")] = (mimic.get("joint"), ratio, offset)
    for name in model.names[1:]:
        row = model.idx_qs[model.getJointId(name)]
        leader, ratio, offset = leaders.get(name, (name, 1.0, 0.0))
        fixed[row] = offset
        if leader in joints:
            spread[row, joints.index(leader)] = ratio
    return spread, fixed
