"""A scripted demonstrator of pouring that can be asked at any moment, in any state, without clock or memory."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dexvla_model.observation import RobotState, select_joints
from dexvla_model.policy import ActionChunk
from dexvla_model.robot import RobotDescription
from dexvla_sim.demonstrators.demonstrator import HORIZON
from dexvla_sim.demonstrators.hand_grasp import GraspingHand, HandPose
from dexvla_sim.demonstrators.places import centimetres, within_reach
from dexvla_sim.demonstrators.pour_scene import PourPhase, PourScene
from dexvla_sim.demonstrators.tool_motion import (
    ACCELERATION_M_S2,
    APPROACH_PER_S,
    SPEED_M_S,
    TURN_SPEED_RAD_S,
    limited,
    towards,
)
from dexvla_sim.kinematics import rotation_matrix
from dexvla_sim.tasks.pour import CUP_HEIGHT_M, CUP_RADIUS_M

# Steps of the prediction for each row.
_SUBSTEPS = 2

# The hand comes to the cup along the grasp's own way, and only within these beside that way goes all along it.
ON_THE_WAY_M = 0.010
FUNNEL_WIDTH_M = 0.040
# Within this of the way it says that it closes in; within these of its end, beside and along, it closes.
NEAR_M = 0.018
GRASP_TOLERANCE_M = (0.012, 0.012)
# A turned hand, or one that is not open, counts as a distance.
TURN_AS_DISTANCE_M_RAD = 0.1
SPREAD_AS_DISTANCE_M = 0.08
SPREAD = 0.25

TRAVEL_HEIGHT_M = 0.170
LIFTED_HEIGHT_M = 0.125
# Over the bowl the lip of the cup comes down as the cup tilts, between these heights over the table; it stays so far
# before the bowl's middle, where the balls land.
LIP_HEIGHT_M = (0.130, 0.220)
LIP_BEFORE_BOWL_M = 0.030
POURING_TILT_RAD = 2.2
# A cup that is tilted more than this is being poured out.
POURING_FROM_RAD = 0.15
UPRIGHT_AGAIN_RAD = 0.06
# How far from its place over the bowl the hand starts to tilt, and how far off it may be pushed before it stops.
POUR_TOLERANCE_M = (0.020, 0.080)

TILT_SPEED_RAD_S = 1.0
TILT_ACCELERATION_RAD_S2 = 2.0
# Shares at which the fingers have closed, and still hold; the thumb's command is beyond the cup by this angle then.
CLOSED = 0.9
HOLDING = 0.8
PRESSING_RAD = 0.06
# A cup that is so near the hand's middle, and so high, is in the hand; the scene may be older than the hand's place.
IN_HAND_M = 0.070
OFF_TABLE_M = 0.015


class PourDemonstrator:
    """Decides the sub-step and computes the chunk for any state of the world.

    Args:
        robot: the robot file of an arm with a hand of `hand_grasp`.

    Raises:
        UserError: it has no such hand.
    """

    def __init__(self, robot: RobotDescription) -> None:
        self._robot = robot
        self._hand = GraspingHand(robot)
        grasp = self._hand.grasp
        # The cup's lip on the side that the palm looks to, in grasp_frame.
        self._lip = grasp.held + [CUP_RADIUS_M, 0.0, 0.0] + self._hand.above(CUP_HEIGHT_M - grasp.height_m)
        self._approach = self._hand.upright @ grasp.approach
        self._aim = self._hand.upright @ grasp.aim

    def scene(self, ground_truth: Mapping[str, Any]) -> PourScene:
        return PourScene.from_ground_truth(ground_truth)

    def scene_of(self, vector: np.ndarray) -> PourScene:
        """The scene whose `to_vector` this is."""
        return PourScene.from_vector(vector)

    def phase(self, scene: PourScene, state: RobotState) -> PourPhase:
        """The sub-step that is due."""
        joints = self._positions(state)
        pose, fingers = self._hand.pose(joints[self._hand.arm]), joints[self._hand.hand]
        return self._decide(replace(scene, held=scene.held or self._carries(scene, pose, fingers)), pose, fingers)

    def text(self, phase: PourPhase, scene: PourScene, name: str) -> str:
        """The sub-step in words; `name` is the cup's."""
        return phase.value.format(name=name, cup=centimetres(scene.cup), bowl=centimetres(scene.bowl))

    def chunk(self, scene: PourScene, state: RobotState, prefix: np.ndarray | None = None) -> ActionChunk:
        """What to do from here: `HORIZON` rows, through as many sub-steps as fit in.

        Args:
            prefix: (P, A) rows that are committed already; the chunk begins with them.
        """
        arm, hand, kinematics = self._hand.arm, self._hand.hand, self._hand.kinematics
        step_s = 1.0 / self._robot.rates.action_hz
        # A slower arm does in a step what was planned for a shorter time.
        planned_s = self._hand.pace * step_s
        measured = self._positions(state)
        start = measured[None].copy()
        if prefix is not None and len(prefix):
            start = np.asarray(prefix, dtype=np.float64)[:HORIZON]
        if self._carries(scene, self._hand.pose(measured[arm]), measured[hand]):
            scene = replace(scene, held=True)
        if self._presses(scene, measured[hand], start[0, hand]):
            scene = replace(scene, held=True)  # the scene is some 100 ms older than the joint state
        elif prefix is None and scene.held and self._hand.bent(measured[hand]) > HOLDING:
            # The thumb stands at the cup; the command that presses it there stands beyond.
            start[0, hand] = self._hand.closed
        rows = np.empty((HORIZON, len(self._robot.action_joints)))
        rows[: len(start)] = start
        position, rotation = kinematics.forward(start[-1, arm])
        fingers = start[-1, hand].copy()
        pose = self._hand.pose_of(position, rotation)
        velocity, tilting = None, 0.0
        if len(start) > 1:
            before = self._hand.pose(start[-2, arm])
            velocity = (position - before.position) / planned_s
            tilting = (pose.tilt_rad - before.tilt_rad) / planned_s
        dt = planned_s / _SUBSTEPS
        hand_step = self._hand.grasp.speed_rad_s * step_s / _SUBSTEPS
        for row in range(len(start), HORIZON):
            for _ in range(_SUBSTEPS):
                pose = self._hand.pose_of(position, rotation)
                phase = self._decide(scene, pose, fingers)
                tilt_goal = POURING_TILT_RAD if phase is PourPhase.POUR else 0.0
                tilting = _next_tilting(tilting, tilt_goal - pose.tilt_rad, dt)
                wanted = self._velocity(phase, scene, pose, tilting, fingers)
                velocity = wanted if velocity is None else velocity
                velocity = velocity + limited(wanted - velocity, ACCELERATION_M_S2 * dt)
                position = position + velocity * dt
                turn = math.hypot(*pose.swing)
                if turn > 1e-6:
                    rotation = rotation_matrix(pose.swing * min(1.0, TURN_SPEED_RAD_S * dt / turn)) @ rotation
                rotation = rotation @ self._hand.upright.T @ self._hand.tilted(tilting * dt)
                goal = self._finger_goal(phase, scene, fingers)
                fingers = fingers + np.clip(goal - fingers, -hand_step, hand_step)
                if phase is PourPhase.GRASP and self._closed_on_cup(fingers):
                    scene = replace(scene, held=True)
            rows[row, arm] = kinematics.inverse(position, rotation, rows[row - 1, arm])
            rows[row, hand] = fingers
        return ActionChunk(state.stamp_s, step_s, self._robot.action_joints, rows)

    def _positions(self, state: RobotState) -> np.ndarray:
        """(A,) the measured positions in the order of the action vector."""
        return select_joints(self._robot.state_joints, state.positions, self._robot.action_joints)

    def _carries(self, scene: PourScene, pose: HandPose, fingers: np.ndarray) -> bool:
        """The cup is off the table where the closed hand is, whether the thumb presses it at this moment or not."""
        offset = scene.cup + self._hand.grasp.height_m * scene.up - pose.position
        near = math.hypot(*offset) < IN_HAND_M
        return near and float(scene.cup[2]) > OFF_TABLE_M and self._hand.bent(fingers) > HOLDING

    def _presses(self, scene: PourScene, measured: np.ndarray, commanded: np.ndarray) -> bool:
        """The thumb stands where it would touch the cup, although it is told to close further."""
        thumb, contact = self._hand.thumb, self._hand.grasp.contact
        stopped = abs(measured[thumb] - contact) < 0.5 * PRESSING_RAD and self._hand.bent(measured) > CLOSED
        return stopped and commanded[thumb] > contact + PRESSING_RAD and scene.balls > 0 and not scene.fallen

    def _closed_on_cup(self, fingers: np.ndarray) -> bool:
        """Commanded hand joints (G,) rad hold a cup that stands where it should."""
        beyond = fingers[self._hand.thumb] > self._hand.grasp.contact + PRESSING_RAD
        return bool(beyond) and self._hand.bent(fingers) > CLOSED

    def _decide(self, scene: PourScene, pose: HandPose, fingers: np.ndarray) -> PourPhase:
        if scene.held and self._hand.bent(fingers) > HOLDING:
            return self._decide_with_cup(scene, pose)
        if scene.balls == 0 and scene.success:
            return PourPhase.DONE
        along, beside = self._to_cup(scene, pose)
        # Once it closes it goes on closing, although the fingers push the cup a little.
        slack = 1.8 if self._hand.bent(fingers) > 0.1 else 1.0
        between = beside + TURN_AS_DISTANCE_M_RAD * _turn(pose) < slack * GRASP_TOLERANCE_M[0]
        if between and abs(along) < slack * GRASP_TOLERANCE_M[1] and not scene.fallen:
            return PourPhase.GRASP
        near = beside + self._unready(pose, fingers) < NEAR_M and along < self._hand.grasp.stand_off_m + NEAR_M
        return PourPhase.CLOSE_IN if near and not scene.fallen else PourPhase.REACH

    def _decide_with_cup(self, scene: PourScene, pose: HandPose) -> PourPhase:
        if scene.balls == 0:
            return PourPhase.DONE if scene.success and abs(pose.tilt_rad) < UPRIGHT_AGAIN_RAD else PourPhase.UPRIGHT
        off = math.dist(pose.position, self._pouring_place(scene, pose.tilt_rad))
        if off < POUR_TOLERANCE_M[pose.tilt_rad > POURING_FROM_RAD] and _turn(pose, tilt=False) < 0.15:
            return PourPhase.POUR
        return PourPhase.CARRY if pose.position[2] > LIFTED_HEIGHT_M else PourPhase.LIFT

    def _to_cup(self, scene: PourScene, pose: HandPose) -> tuple[float, float]:
        """How far the hand still has to go along the grasp's way, and how far it is beside it, in m."""
        offset = self._around(scene) - pose.position
        along = float(offset @ self._approach)
        return along, math.hypot(*(offset - along * self._approach))

    def _unready(self, pose: HandPose, fingers: np.ndarray) -> float:
        """A turned or half closed hand as a distance in m."""
        spread = max(0.0, self._hand.spread(fingers) - SPREAD)
        return TURN_AS_DISTANCE_M_RAD * _turn(pose) + SPREAD_AS_DISTANCE_M * spread

    def _around(self, scene: PourScene) -> np.ndarray:
        """(3,) where grasp_frame is when the open hand is around the cup."""
        place = within_reach(np.array([scene.cup[0], scene.cup[1], self._hand.grasp.height_m]))
        return place - self._aim

    def _pouring_place(self, scene: PourScene, tilt_rad: float) -> np.ndarray:
        """(3,) where grasp_frame belongs while the cup is tilted so far over the bowl."""
        low, high = LIP_HEIGHT_M
        lip = scene.bowl - LIP_BEFORE_BOWL_M * self._hand.upright[:, 0]
        lip[2] = low + (high - low) * max(0.0, math.cos(tilt_rad))
        return lip - self._hand.tilted(tilt_rad) @ self._lip

    def _velocity(
        self, phase: PourPhase, scene: PourScene, pose: HandPose, tilting: float, fingers: np.ndarray
    ) -> np.ndarray:
        """(3,) m/s: where the hand goes in this sub-step."""
        if phase is PourPhase.DONE or (scene.fallen and phase is PourPhase.REACH):
            return np.zeros(3)
        if phase in (PourPhase.REACH, PourPhase.CLOSE_IN, PourPhase.GRASP):
            around = self._around(scene)
            along, beside = self._to_cup(scene, pose)
            share = (beside + self._unready(pose, fingers) - ON_THE_WAY_M) / FUNNEL_WIDTH_M
            back = 0.0 if phase is PourPhase.GRASP else self._hand.grasp.stand_off_m * min(max(share, 0.0), 1.0)
            forward = along - back
            side = around - along * self._approach - pose.position
            # Back first, sideways when there is room.
            room = min(max(1.0 + (forward + 0.01) / 0.05, 0.0), 1.0)
            return towards(forward * self._approach + room * side, SPEED_M_S)
        if phase is PourPhase.LIFT:
            return towards(np.array([0.0, 0.0, TRAVEL_HEIGHT_M - pose.position[2]]), SPEED_M_S)
        place = self._pouring_place(scene, pose.tilt_rad)
        if phase is PourPhase.CARRY:
            place = self._pouring_place(scene, 0.0)
            offset = place - pose.position
            # Up first, sideways when there is room.
            offset[:2] *= min(max(1.0 - (offset[2] - 0.01) / 0.06, 0.0), 1.0)
            return towards(offset, SPEED_M_S)
        step = 0.01
        along_tilt = (self._pouring_place(scene, pose.tilt_rad + step) - place) / step
        return towards(place - pose.position, SPEED_M_S) + along_tilt * tilting

    def _finger_goal(self, phase: PourPhase, scene: PourScene, fingers: np.ndarray) -> np.ndarray:
        """(G,) rad that the hand's joints are on their way to."""
        if phase in (PourPhase.REACH, PourPhase.CLOSE_IN):
            return self._hand.open
        return fingers if phase is PourPhase.DONE and not scene.held else self._hand.closed


def _turn(pose: HandPose, tilt: bool = True) -> float:
    """How far the hand is turned from upright, or from an upright one that tilts, in rad."""
    return math.hypot(*pose.swing) + (abs(pose.tilt_rad) if tilt else 0.0)


def _next_tilting(tilting: float, left_rad: float, dt: float) -> float:
    """Speed of the tilt in rad/s a moment later: it brakes in time to stop where nothing is left."""
    speed = min(
        TILT_SPEED_RAD_S, math.sqrt(TILT_ACCELERATION_RAD_S2 * abs(left_rad)), APPROACH_PER_S * abs(left_rad)
    )
    change = math.copysign(speed, left_rad) - tilting
    return tilting + max(-TILT_ACCELERATION_RAD_S2 * dt, min(change, TILT_ACCELERATION_RAD_S2 * dt))
