"""A scripted demonstrator of pick and place that can be asked at any moment, in any state.

It keeps no clock and no memory: which sub-step is due and where to move is a function of where things are.
So it can take over from a learned policy anywhere, goes on sensibly after a slip, and can label states that
it did not get into itself.
"""

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dexvla_model.observation import RobotState, select_joints
from dexvla_model.policy import DONE_TEXT, ActionChunk
from dexvla_model.robot import RobotDescription
from dexvla_sim.kinematics import GripperStroke, ToolKinematics, rotation_matrix, rotation_vector

HORIZON = 16
# Steps of the prediction for each row.
_SUBSTEPS = 2

# Heights of the grasp frame over the table.
TRAVEL_HEIGHT_M = 0.150
LIFTED_HEIGHT_M = 0.110
RELEASE_HEIGHT_M = 0.055
CLEAR_HEIGHT_M = 0.140
AWAY_HEIGHT_M = 0.200
# The pads take an object a little above its middle, so that the fingertips stay off the table.
GRASP_ABOVE_CENTRE_M = 0.004

# How far beside an object, and beside the tray's middle, the tool may go all the way down; the opened fingers
# and the tray leave more room than that. Outside it descends along a funnel of this width.
OVER_OBJECT_M = 0.014
OVER_TRAY_M = 0.020
FUNNEL_WIDTH_M = 0.036
# Within this of going straight down, it says so; within these of the grasp, along x, y and z, it closes.
NEAR_M = 0.016
GRASP_TOLERANCE_M = (0.016, 0.016, 0.008)
# A tilt of the tool counts as a distance.
TILT_AS_DISTANCE_M_RAD = 0.1
# So does a gripper that is not open.
CLOSED_AS_DISTANCE_M = 0.4

SPEED_M_S = 0.28
VERTICAL_SPEED_M_S = 0.20
BRAKING_M_S2 = 0.8
ACCELERATION_M_S2 = 1.5
# Closest approach: speed over distance.
APPROACH_PER_S = 7.0
TURN_SPEED_RAD_S = 0.8
GRIPPER_SPEED_PER_S = 0.5625

# Shares of the gripper's stroke, from 0 (open) to 1 (closed): how far it closes beyond contact, and below what it
# counts as open.
SQUEEZE = 0.125
OPEN = 0.1875
RELEASED = 0.25
SLACK = 0.0625
# The funnel and the tolerances suit a gripper that opens so wide; a narrower one has to be more exact.
USUAL_OPENING_M = 0.085
# The widest that a turned object stands between the fingers, per half size.
TURNED_WIDTH_PER_HALF_SIZE = 2.56

REACH_M = (0.25, 0.75)

# Fingers down, opening along base_link's y; the wrist camera's side of the gripper faces the robot's foot.
TOOL_ROTATION = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])


class Phase(enum.Enum):
    """The sub-steps; each text may name the object and a place in whole centimetres of base_link."""

    ABOVE = "move above the {name} at {target}"
    LOWER = "lower to the {name} at {target}"
    GRASP = "grasp the {name} at {target}"
    LIFT = "lift the {name}"
    CARRY = "carry the {name} to the tray at {tray}"
    RELEASE = "release the {name} at {tray}"
    AWAY = "move away"
    DONE = DONE_TEXT


@dataclass(frozen=True)
class Scene:
    """What the demonstrator looks at besides the robot itself. Positions in base_link, in m.

    Attributes:
        target: (3,) centre of the object to move. tray: (3,) where it is to go, on the tray's underside.
        half_size: half the object's width.
        held: both fingers touch the object. placed: it lies in the tray. success: the task's own verdict.
    """

    target: np.ndarray
    tray: np.ndarray
    half_size: float
    held: bool
    placed: bool
    success: bool

    @classmethod
    def from_ground_truth(cls, ground_truth: Mapping[str, Any]) -> "Scene":
        target = next(entry for entry in ground_truth["objects"] if entry["name"] == ground_truth["target"])
        return cls(
            target=np.array(target["position"]),
            tray=np.array(ground_truth["tray"]["position"]),
            half_size=float(target["half_size"]),
            held=bool(target["held"]),
            placed=bool(target["in_tray"]) and not target["held"],
            success=bool(ground_truth["success"]),
        )

    def to_vector(self) -> np.ndarray:
        """(10,) float32, for a sub-step's condition."""
        flags = [self.half_size, self.held, self.placed, self.success]
        return np.concatenate([self.target, self.tray, flags]).astype(np.float32)

    @classmethod
    def from_vector(cls, vector: np.ndarray) -> "Scene":
        values = np.asarray(vector, dtype=np.float64)
        held, placed, success = (bool(value > 0.5) for value in values[7:10])
        return cls(values[0:3], values[3:6], float(values[6]), held, placed, success)


@dataclass(frozen=True)
class _Tool:
    """The grasp frame's position (3,) in m, its tilt from `TOOL_ROTATION` and how far the gripper is closed (0 to 1)."""

    position: np.ndarray
    tilt_rad: float
    closed: float


class Demonstrator:
    """Decides the sub-step and computes the chunk for any state of the world.

    Args:
        robot: the robot file of an arm with a gripper of one joint.

    Raises:
        UserError: the URDF has no `grasp_frame`, or not two `*_pad` collision shapes, or the gripper more joints.
    """

    def __init__(self, robot: RobotDescription) -> None:
        self._robot = robot
        self._kinematics = ToolKinematics(robot)
        self._stroke = GripperStroke(self._kinematics)

    def scene(self, ground_truth: Mapping[str, Any]) -> Scene:
        return Scene.from_ground_truth(ground_truth)

    def scene_of(self, vector: np.ndarray) -> Scene:
        """The scene whose `to_vector` this is."""
        return Scene.from_vector(vector)

    def phase(self, scene: Scene, state: RobotState) -> Phase:
        """The sub-step that is due."""
        command = self._command(state)
        position, rotation = self._kinematics.forward(command[self._kinematics.arm])
        tilt = math.hypot(*rotation_vector(TOOL_ROTATION @ rotation.T))
        tool = _Tool(position, tilt, self._stroke.closed(command[self._kinematics.gripper[0]]))
        return self._decide(scene, tool)

    def text(self, phase: Phase, scene: Scene, name: str) -> str:
        """The sub-step in words; `name` is the object's."""
        return phase.value.format(name=name, target=_centimetres(scene.target), tray=_centimetres(scene.tray))

    def chunk(self, scene: Scene, state: RobotState, prefix: np.ndarray | None = None) -> ActionChunk:
        """What to do from here: `HORIZON` rows, through as many sub-steps as fit in.

        Args:
            prefix: (P, A) rows that are committed already; the chunk begins with them.
        """
        arm, gripper = self._kinematics.arm, int(self._kinematics.gripper[0])
        step_s = 1.0 / self._robot.rates.action_hz
        start = self._command(state)[None]
        if prefix is not None and len(prefix):
            start = np.asarray(prefix, dtype=np.float64)[:HORIZON]
        rows = np.empty((HORIZON, len(self._robot.action_joints)))
        rows[: len(start)] = start
        position, rotation = self._kinematics.forward(start[-1, arm])
        velocity = None
        if len(start) > 1:
            velocity = (position - self._kinematics.forward(start[-2, arm])[0]) / step_s
        measured = self._stroke.closed(self._command(state)[gripper])
        commanded = self._stroke.closed(start[-1, gripper])
        touch = self._stroke.contact(2.0 * scene.half_size)
        if self._presses(scene, measured, self._stroke.closed(start[0, gripper])):
            scene = replace(scene, held=True)  # the scene is some 100 ms older than the joint state
        if scene.held:
            touch = min(touch, measured)
        closed = commanded if measured > touch + SLACK else min(commanded, touch)
        if scene.held and len(start) == 1 and self.phase(scene, state) is not Phase.RELEASE:
            # The fingers stand at the object; the command that presses them there stands beyond it.
            commanded = self._pressing(scene)
            rows[0, gripper] = self._stroke.position(commanded)
        dt = step_s / _SUBSTEPS
        for row in range(len(start), HORIZON):
            for _ in range(_SUBSTEPS):
                turn = rotation_vector(TOOL_ROTATION @ rotation.T)
                tilt = math.hypot(*turn)
                tool = _Tool(position, tilt, closed)
                phase = self._decide(scene, tool)
                wanted = self._velocity(phase, scene, tool)
                if velocity is None:
                    velocity = wanted
                velocity = velocity + _limited(wanted - velocity, ACCELERATION_M_S2 * dt)
                position = position + velocity * dt
                if tilt > 1e-6:
                    rotation = rotation_matrix(turn * min(1.0, TURN_SPEED_RAD_S * dt / tilt)) @ rotation
                goal = self._gripper_goal(phase, scene)
                commanded += max(-GRIPPER_SPEED_PER_S * dt, min(goal - commanded, GRIPPER_SPEED_PER_S * dt))
                scene = self._predict(phase, scene, position, commanded, touch)
                closed = min(commanded, touch) if scene.held or phase is Phase.GRASP else commanded
            rows[row, arm] = self._kinematics.inverse(position, rotation, rows[row - 1, arm])
            rows[row, gripper] = self._stroke.position(commanded)
        return ActionChunk(state.stamp_s, step_s, self._robot.action_joints, rows)

    def _command(self, state: RobotState) -> np.ndarray:
        """(A,) the measured positions in the order of the action vector."""
        return select_joints(self._robot.state_joints, state.positions, self._robot.action_joints)

    def _presses(self, scene: Scene, measured: float, commanded: float) -> bool:
        """The fingers stand where they would touch the object, although they are told to close further."""
        stopped = abs(measured - self._stroke.contact(2.0 * scene.half_size)) < SLACK
        return stopped and commanded > measured + 0.5 * SLACK and not scene.placed

    def _pressing(self, scene: Scene) -> float:
        """How far the gripper is told to close on the object."""
        return min(self._stroke.contact(2.0 * scene.half_size) + SQUEEZE, 1.0)

    def _room(self, scene: Scene) -> float:
        """How exactly the gripper has to stand over the object, as a share of the usual tolerances."""
        widest = TURNED_WIDTH_PER_HALF_SIZE * scene.half_size
        return min(max((self._stroke.opening_m - widest) / (USUAL_OPENING_M - widest), 0.2), 1.0)

    def _decide(self, scene: Scene, tool: _Tool) -> Phase:
        to_tray = _lateral(tool.position, scene.tray)
        height = float(tool.position[2])
        if scene.placed:
            near = to_tray < 0.12 and height < CLEAR_HEIGHT_M
            if near and tool.closed > RELEASED:
                return Phase.RELEASE
            return Phase.AWAY if near or not scene.success else Phase.DONE
        if scene.held:
            if to_tray < OVER_TRAY_M + 0.005 and height < RELEASE_HEIGHT_M + 0.012:
                return Phase.RELEASE
            ready = height > min(LIFTED_HEIGHT_M, _funnel(to_tray - OVER_TRAY_M, RELEASE_HEIGHT_M) - 0.02)
            return Phase.CARRY if ready else Phase.LIFT
        if _lateral(scene.target, scene.tray) < 0.05 and to_tray < 0.05:
            if height < RELEASE_HEIGHT_M + 0.05 and tool.closed > OPEN:
                return Phase.RELEASE  # it is just falling out of the fingers
        offset = np.abs(tool.position - scene.target - [0.0, 0.0, GRASP_ABOVE_CENTRE_M])
        # Once it closes it goes on closing, although the fingers push the object a little.
        slack = 1.6 if tool.closed > 0.5 * OPEN else 1.0
        tolerance = np.array(GRASP_TOLERANCE_M) * [self._room(scene), self._room(scene), 1.0]
        between = bool((offset < slack * tolerance).all())
        if between and tool.tilt_rad < 0.1 and tool.closed < self._stroke.contact(2.0 * scene.half_size) + SLACK:
            return Phase.GRASP
        near = self._room(scene) * NEAR_M
        return Phase.LOWER if self._approach_distance(scene, tool) < near else Phase.ABOVE

    def _approach_distance(self, scene: Scene, tool: _Tool) -> float:
        """How far the tool is from being able to go straight down on the object, in m."""
        lateral = _lateral(tool.position, _within_reach(scene.target))
        closed = max(0.0, tool.closed - OPEN)
        return lateral + TILT_AS_DISTANCE_M_RAD * tool.tilt_rad + CLOSED_AS_DISTANCE_M * closed

    def _velocity(self, phase: Phase, scene: Scene, tool: _Tool) -> np.ndarray:
        """(3,) m/s: where the tool goes in this sub-step."""
        place, lateral_speed = tool.position[:2], SPEED_M_S
        height = float(tool.position[2])
        if phase in (Phase.ABOVE, Phase.LOWER):
            place = _within_reach(scene.target)[:2]
            distance = self._approach_distance(scene, tool) - self._room(scene) * OVER_OBJECT_M
            height = _funnel(distance, scene.target[2] + GRASP_ABOVE_CENTRE_M)
        elif phase is Phase.GRASP:
            height = scene.target[2] + GRASP_ABOVE_CENTRE_M
            place = scene.target[:2]
            lateral_speed = 0.05
        elif phase is Phase.LIFT:
            height = TRAVEL_HEIGHT_M
        elif phase is Phase.CARRY:
            place = scene.tray[:2]
            height = _funnel(_lateral(tool.position, scene.tray) - OVER_TRAY_M, RELEASE_HEIGHT_M)
        elif phase is Phase.AWAY:
            height = AWAY_HEIGHT_M
        rise = height - float(tool.position[2])
        if phase is not Phase.GRASP:
            # Up first, sideways when there is room.
            lateral_speed *= min(max(1.0 - (rise - 0.01) / 0.06, 0.0), 1.0)
        lateral = _towards(place - tool.position[:2], lateral_speed)
        vertical = _towards(np.array([rise]), VERTICAL_SPEED_M_S)
        return np.concatenate([lateral, vertical])

    def _gripper_goal(self, phase: Phase, scene: Scene) -> float:
        """How far the gripper is to close."""
        return self._pressing(scene) if phase in (Phase.GRASP, Phase.LIFT, Phase.CARRY) else 0.0

    def _predict(
        self, phase: Phase, scene: Scene, position: np.ndarray, commanded: float, touch: float
    ) -> Scene:
        """The scene a moment later, as far as the robot changes it."""
        if phase is Phase.GRASP and commanded > touch + 0.5 * SLACK:
            scene = replace(scene, held=True)
        if phase is Phase.RELEASE and scene.held and commanded < touch - SLACK:
            return replace(scene, held=False, placed=True, target=scene.tray + [0.0, 0.0, scene.half_size])
        if scene.held:
            return replace(scene, target=position - [0.0, 0.0, GRASP_ABOVE_CENTRE_M])
        return scene


def _funnel(distance_m: float, low_m: float) -> float:
    """Height at a distance from the region over which the tool may go down to `low_m`."""
    share = min(max(distance_m / FUNNEL_WIDTH_M, 0.0), 1.0)
    return low_m + (TRAVEL_HEIGHT_M - low_m) * share


def _towards(offset: np.ndarray, speed_m_s: float) -> np.ndarray:
    """Velocity along `offset` that brakes in time to stop at its end."""
    distance = math.hypot(*offset)
    if distance < 1e-9:
        return np.zeros_like(offset)
    speed = min(speed_m_s, math.sqrt(2.0 * BRAKING_M_S2 * distance), APPROACH_PER_S * distance)
    return offset * (speed / distance)


def _limited(vector: np.ndarray, length: float) -> np.ndarray:
    norm = math.hypot(*vector)
    return vector if norm <= length else vector * (length / norm)


def _lateral(one: np.ndarray, other: np.ndarray) -> float:
    """Horizontal distance of two places, in m."""
    return math.hypot(one[0] - other[0], one[1] - other[1])


def _within_reach(place: np.ndarray) -> np.ndarray:
    """`place` drawn into the ring that the arm reaches."""
    distance = max(math.hypot(place[0], place[1]), 1e-6)
    scale = min(max(distance, REACH_M[0]), REACH_M[1]) / distance
    return np.array([place[0] * scale, place[1] * scale, place[2]])


def _centimetres(place: np.ndarray) -> str:
    return f"{round(100 * float(place[0]))} {round(100 * float(place[1]))}"
