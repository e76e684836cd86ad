"""A scripted demonstrator of pick and place that can be asked at any moment, in any state.

It keeps no clock and no memory: which sub-step is due and where to move is a function of where things are.
So it can take over from a learned policy anywhere, goes on sensibly after a slip, and can label states that
it did not get into itself.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dexvla_model.observation import RobotState
from dexvla_model.policy import DONE_TEXT, ActionChunk
from dexvla_model.robot import RobotDescription
from dexvla_sim.demonstrators.demonstrator import HORIZON
from dexvla_sim.demonstrators.gripper_arm import GripperArm, MovingTool, Tool
from dexvla_sim.demonstrators.places import centimetres, lateral_distance, within_reach
from dexvla_sim.demonstrators.tool_motion import (
    SPEED_M_S,
    TRAVEL_HEIGHT_M,
    VERTICAL_SPEED_M_S,
    funnel,
    towards,
)

# Steps of the prediction for each row.
_SUBSTEPS = 2

# Heights of the grasp frame over the table.
LIFTED_HEIGHT_M = 0.110
RELEASE_HEIGHT_M = 0.055
CLEAR_HEIGHT_M = 0.140
AWAY_HEIGHT_M = 0.200
# The pads take an object a little above its middle, so that the fingertips stay off the table.
GRASP_ABOVE_CENTRE_M = 0.004

# How far beside an object, and beside the tray's middle, the tool may go all the way down; the opened fingers
# and the tray leave more room than that. Outside it descends along the funnel.
OVER_OBJECT_M = 0.014
OVER_TRAY_M = 0.020
# Within this of going straight down, it says so; within these of the grasp, along x, y and z, it closes.
NEAR_M = 0.016
GRASP_TOLERANCE_M = (0.016, 0.016, 0.008)
# A tilt of the tool counts as a distance.
TILT_AS_DISTANCE_M_RAD = 0.1
# So does a gripper that is not open.
CLOSED_AS_DISTANCE_M = 0.4

# Shares of the gripper's stroke, from 0 (open) to 1 (closed): how far it closes beyond contact, and below what
# it counts as open.
SQUEEZE = 0.125
OPEN = 0.1875
RELEASED = 0.25
SLACK = 0.0625
# The funnel and the tolerances suit a gripper that opens so wide; a narrower one has to be more exact.
USUAL_OPENING_M = 0.085
# The widest that a turned object stands between the fingers, per half size.
TURNED_WIDTH_PER_HALF_SIZE = 2.56


class PickPlacePhase(enum.Enum):
    """The sub-steps; each text may name the object and a place in whole centimetres of base_link."""

    ABOVE = "move above the {name} at {target}"
    LOWER = "lower to the {name} at {target}"
    GRASP = "grasp the {name} at {target}"
    LIFT = "lift the {name}"
    CARRY = "carry the {name} to the {place} at {tray}"
    RELEASE = "release the {name} at {tray}"
    AWAY = "move away"
    DONE = DONE_TEXT


@dataclass(frozen=True)
class PickPlaceScene:
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

    @property
    def place(self) -> str:
        """What `tray` is called."""
        return "tray"

    @classmethod
    def from_ground_truth(cls, ground_truth: Mapping[str, Any]) -> "PickPlaceScene":
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
    def from_vector(cls, vector: np.ndarray) -> "PickPlaceScene":
        values = np.asarray(vector, dtype=np.float64)
        held, placed, success = (bool(value > 0.5) for value in values[7:10])
        return cls(values[0:3], values[3:6], float(values[6]), held, placed, success)


class PickPlaceDemonstrator:
    """Decides the sub-step and computes the chunk for any state of the world.

    Args:
        robot: the robot file of an arm with a gripper of one joint.

    Raises:
        UserError: the URDF has no `grasp_frame`, or not two `*_pad` collision shapes, or the gripper more
            joints.
    """

    def __init__(self, robot: RobotDescription) -> None:
        self._robot = robot
        self._arm = GripperArm(robot)
        self._stroke = self._arm.stroke

    def scene(self, ground_truth: Mapping[str, Any]) -> PickPlaceScene:
        return PickPlaceScene.from_ground_truth(ground_truth)

    def scene_of(self, vector: np.ndarray) -> PickPlaceScene:
        """The scene whose `to_vector` this is."""
        return PickPlaceScene.from_vector(vector)

    def phase(self, scene: PickPlaceScene, state: RobotState) -> PickPlacePhase:
        """The sub-step that is due."""
        return self._decide(scene, self._arm.tool(self._arm.positions(state)))

    def text(self, phase: PickPlacePhase, scene: PickPlaceScene, name: str) -> str:
        """The sub-step in words; `name` is the object's."""
        target, tray = centimetres(scene.target), centimetres(scene.tray)
        return phase.value.format(name=name, target=target, tray=tray, place=scene.place)

    def chunk(
        self, scene: PickPlaceScene, state: RobotState, prefix: np.ndarray | None = None
    ) -> ActionChunk:
        """What to do from here: `HORIZON` rows, through as many sub-steps as fit in.

        Args:
            prefix: (P, A) rows that are committed already; the chunk begins with them.
        """
        step_s = 1.0 / self._robot.rates.action_hz
        now = self._arm.positions(state)
        start = now[None]
        if prefix is not None and len(prefix):
            start = np.asarray(prefix, dtype=np.float64)[:HORIZON]
        rows = np.empty((HORIZON, len(self._robot.action_joints)))
        rows[: len(start)] = start
        moving = MovingTool(self._arm, start, step_s)
        measured = self._stroke.closed(now[self._arm.gripper])
        touch = self._stroke.contact(2.0 * scene.half_size)
        if self._presses(scene, measured, self._stroke.closed(start[0, self._arm.gripper])):
            scene = replace(scene, held=True)  # the scene is some 100 ms older than the joint state
        if scene.held:
            touch = min(touch, measured)
        closed = moving.commanded if measured > touch + SLACK else min(moving.commanded, touch)
        if scene.held and len(start) == 1 and self.phase(scene, state) is not PickPlacePhase.RELEASE:
            # The fingers stand at the object; the command that presses them there stands beyond it.
            moving.commanded = self._pressing(scene)
            rows[0, self._arm.gripper] = self._stroke.position(moving.commanded)
        for row in range(len(start), HORIZON):
            for _ in range(_SUBSTEPS):
                tool = moving.seen(closed)
                following = self._next(scene, tool)
                if following is not scene:
                    scene, touch = following, self._stroke.contact(2.0 * following.half_size)
                phase = self._decide(scene, tool)
                goal = self._gripper_goal(phase, scene)
                moving.advance(self._velocity(phase, scene, tool), goal, step_s / _SUBSTEPS)
                scene = self._predict(phase, scene, moving, touch)
                stopped = scene.held or phase is PickPlacePhase.GRASP
                closed = min(moving.commanded, touch) if stopped else moving.commanded
            moving.write(rows[row], rows[row - 1])
        return ActionChunk(state.stamp_s, step_s, self._robot.action_joints, rows)

    def _presses(self, scene: PickPlaceScene, measured: float, commanded: float) -> bool:
        """The fingers stand where they would touch the object, although they are told to close further."""
        stopped = abs(measured - self._stroke.contact(2.0 * scene.half_size)) < SLACK
        return stopped and commanded > measured + 0.5 * SLACK and not scene.placed

    def _pressing(self, scene: PickPlaceScene) -> float:
        """How far the gripper is told to close on the object."""
        return min(self._stroke.contact(2.0 * scene.half_size) + SQUEEZE, 1.0)

    def _room(self, scene: PickPlaceScene) -> float:
        """How exactly the gripper has to stand over the object, as a share of the usual tolerances."""
        widest = TURNED_WIDTH_PER_HALF_SIZE * scene.half_size
        return min(max((self._stroke.opening_m - widest) / (USUAL_OPENING_M - widest), 0.2), 1.0)

    def _decide(self, scene: PickPlaceScene, tool: Tool) -> PickPlacePhase:
        to_tray = lateral_distance(tool.position, scene.tray)
        height = float(tool.position[2])
        if scene.placed:
            near = to_tray < 0.12 and height < CLEAR_HEIGHT_M
            if near and tool.closed > RELEASED:
                return PickPlacePhase.RELEASE
            return PickPlacePhase.AWAY if near or not scene.success else PickPlacePhase.DONE
        if scene.held:
            if to_tray < OVER_TRAY_M + 0.005 and height < RELEASE_HEIGHT_M + 0.012:
                return PickPlacePhase.RELEASE
            ready = height > min(LIFTED_HEIGHT_M, funnel(to_tray - OVER_TRAY_M, RELEASE_HEIGHT_M) - 0.02)
            return PickPlacePhase.CARRY if ready else PickPlacePhase.LIFT
        if lateral_distance(scene.target, scene.tray) < 0.05 and to_tray < 0.05:
            if height < RELEASE_HEIGHT_M + 0.05 and tool.closed > OPEN:
                return PickPlacePhase.RELEASE  # it is just falling out of the fingers
        offset = np.abs(tool.position - scene.target - [0.0, 0.0, GRASP_ABOVE_CENTRE_M])
        # Once it closes it goes on closing, although the fingers push the object a little.
        slack = 1.6 if tool.closed > 0.5 * OPEN else 1.0
        tolerance = np.array(GRASP_TOLERANCE_M) * [self._room(scene), self._room(scene), 1.0]
        between = bool((offset < slack * tolerance).all())
        contact = self._stroke.contact(2.0 * scene.half_size)
        if between and tool.tilt_rad < 0.1 and tool.closed < contact + SLACK:
            return PickPlacePhase.GRASP
        near = self._room(scene) * NEAR_M
        return PickPlacePhase.LOWER if self._approach_distance(scene, tool) < near else PickPlacePhase.ABOVE

    def _approach_distance(self, scene: PickPlaceScene, tool: Tool) -> float:
        """How far the tool is from being able to go straight down on the object, in m."""
        lateral = lateral_distance(tool.position, within_reach(scene.target))
        closed = max(0.0, tool.closed - OPEN)
        return lateral + TILT_AS_DISTANCE_M_RAD * tool.tilt_rad + CLOSED_AS_DISTANCE_M * closed

    def _velocity(self, phase: PickPlacePhase, scene: PickPlaceScene, tool: Tool) -> np.ndarray:
        """(3,) m/s: where the tool goes in this sub-step."""
        place, lateral_speed = tool.position[:2], SPEED_M_S
        height = float(tool.position[2])
        if phase in (PickPlacePhase.ABOVE, PickPlacePhase.LOWER):
            place = within_reach(scene.target)[:2]
            distance = self._approach_distance(scene, tool) - self._room(scene) * OVER_OBJECT_M
            height = funnel(distance, scene.target[2] + GRASP_ABOVE_CENTRE_M)
        elif phase is PickPlacePhase.GRASP:
            height = scene.target[2] + GRASP_ABOVE_CENTRE_M
            place = scene.target[:2]
            lateral_speed = 0.05
        elif phase is PickPlacePhase.LIFT:
            height = TRAVEL_HEIGHT_M
        elif phase is PickPlacePhase.CARRY:
            place = scene.tray[:2]
            height = funnel(lateral_distance(tool.position, scene.tray) - OVER_TRAY_M, RELEASE_HEIGHT_M)
        elif phase is PickPlacePhase.AWAY:
            height = AWAY_HEIGHT_M
        rise = height - float(tool.position[2])
        if phase is not PickPlacePhase.GRASP:
            # Up first, sideways when there is room.
            lateral_speed *= min(max(1.0 - (rise - 0.01) / 0.06, 0.0), 1.0)
        lateral = towards(place - tool.position[:2], lateral_speed)
        vertical = towards(np.array([rise]), VERTICAL_SPEED_M_S)
        return np.concatenate([lateral, vertical])

    def _gripper_goal(self, phase: PickPlacePhase, scene: PickPlaceScene) -> float:
        """How far the gripper is to close."""
        closing = (PickPlacePhase.GRASP, PickPlacePhase.LIFT, PickPlacePhase.CARRY)
        return self._pressing(scene) if phase in closing else 0.0

    def _next(self, scene: PickPlaceScene, tool: Tool) -> PickPlaceScene:
        """The scene in which the next object is due once this one is in its place; here there is none."""
        return scene

    def _predict(
        self, phase: PickPlacePhase, scene: PickPlaceScene, moving: MovingTool, touch: float
    ) -> PickPlaceScene:
        """The scene a moment later, as far as the robot changes it."""
        if phase is PickPlacePhase.GRASP and moving.commanded > touch + 0.5 * SLACK:
            scene = replace(scene, held=True)
        if phase is PickPlacePhase.RELEASE and scene.held and moving.commanded < touch - SLACK:
            return replace(scene, held=False, placed=True, target=scene.tray + [0.0, 0.0, scene.half_size])
        if scene.held:
            return replace(scene, target=moving.position - [0.0, 0.0, GRASP_ABOVE_CENTRE_M])
        return scene
