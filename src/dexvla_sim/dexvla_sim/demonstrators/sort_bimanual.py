"""A scripted demonstrator of sorting with two arms: pick, hand over in the middle, place.

It keeps no clock and no memory. Who holds the bar says how far the work is: nobody, the arm that picks, both,
the arm that places. So it goes on sensibly after a drop or a push, from wherever the arms are.
"""

import enum
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dexvla_model.observation import RobotState
from dexvla_model.policy import DONE_TEXT, ActionChunk
from dexvla_model.robot import RobotDescription
from dexvla_sim.demonstrators.bimanual_motions import (
    OPEN,
    SLIP_M,
    approach_distance,
    box_place,
    clear_of,
    down_on,
    from_the_side,
    handover_place,
    onto,
    reaches_in,
    taking_place,
    travel,
    up,
    waiting_place,
)
from dexvla_sim.demonstrators.bimanual_scene import BimanualScene
from dexvla_sim.demonstrators.demonstrator import HORIZON
from dexvla_sim.demonstrators.places import centimetres, lateral_distance
from dexvla_sim.demonstrators.tool_motion import TRAVEL_HEIGHT_M, funnel
from dexvla_sim.demonstrators.two_arms import SIDES, SLACK, SQUEEZE, Arm, Motion, MovingArm, Tool

# Steps of the prediction for each row.
_SUBSTEPS = 2

LIFTED_HEIGHT_M = 0.085
RELEASE_HEIGHT_M = 0.052
AWAY_HEIGHT_M = 0.150

OVER_BOX_M = 0.012
# Within this of going straight down, it says so; within these along x, y and z of the grip, it closes.
NEAR_M = 0.016
GRASP_TOLERANCE_M = np.array([0.012, 0.012, 0.008])
# How exactly the bar has to stand in the middle before the other arm comes, and while it is there.
HANDOVER_TOLERANCE_M = 0.012
HANDOVER_SLACK_M = 0.030
RELEASED = 0.25


class BimanualPhase(enum.Enum):
    """The sub-steps; each text may name the bar, an arm, and a place in whole centimetres of base_link.

    A turn is in degrees, in steps of five.
    """

    REACH = "reach the {name} at {grip} turned {turn}"
    LOWER = "lower to the {name} at {grip} turned {turn}"
    GRASP = "grasp the {name} at {grip} turned {turn}"
    LIFT = "lift the {name} with the {holder}"
    BRING = "hand over the {name} to the {placer}"
    TAKE = "take the {name} with the {placer}"
    CLOSE = "grasp the {name} with the {placer}"
    LET_GO = "let go of the {name} with the {giver}"
    WITHDRAW = "move away with the {giver}"
    CARRY = "place the {name} in the {box} at {goal}"
    RELEASE = "release the {name} at {goal}"
    AWAY = "move away"
    DONE = DONE_TEXT


class BimanualDemonstrator:
    """Decides the sub-step and computes the chunk of both arms for any state of the world.

    Args:
        robot: the robot file of two arms, `left_` and `right_`, with grippers of one joint each.

    Raises:
        UserError: one of the arms is not there, or has no such gripper.
    """

    def __init__(self, robot: RobotDescription) -> None:
        self._robot = robot
        self._arms = (Arm(robot, 0), Arm(robot, 1))
        limits = [robot.limits[joint] for joint in robot.action_joints]
        self._lower = np.array([limit.lower for limit in limits])
        self._upper = np.array([limit.upper for limit in limits])

    def scene(self, ground_truth: Mapping[str, Any]) -> BimanualScene:
        joints = np.array([ground_truth["joints"][joint] for joint in self._robot.action_joints])
        return BimanualScene.from_ground_truth(ground_truth, [arm.tool(joints) for arm in self._arms])

    def scene_of(self, vector: np.ndarray) -> BimanualScene:
        """The scene whose `to_vector` this is."""
        return BimanualScene.from_vector(vector)

    def phase(self, scene: BimanualScene, state: RobotState) -> BimanualPhase:
        """The sub-step that is due."""
        joints = self._arms[0].positions(state)
        return self._decide(scene, [arm.tool(joints) for arm in self._arms])

    def text(self, phase: BimanualPhase, scene: BimanualScene, name: str) -> str:
        """The sub-step in words; `name` is the bar's."""
        return phase.value.format(
            name=name,
            box=f"{name.split()[0]} box",
            grip=centimetres(scene.grip(scene.picker)),
            turn=5 * round(math.degrees(scene.heading_rad(scene.picker)) / 5),
            goal=centimetres(scene.box),
            holder=SIDES[scene.holder],
            giver=SIDES[scene.giver],
            placer=SIDES[scene.placer],
        )

    def chunk(self, scene: BimanualScene, state: RobotState, prefix: np.ndarray | None = None) -> ActionChunk:
        """What to do from here: `HORIZON` rows, through as many sub-steps as fit in.

        Args:
            prefix: (P, A) rows that are committed already; the chunk begins with them.
        """
        step_s = 1.0 / self._robot.rates.action_hz
        measured = self._arms[0].positions(state)
        start = measured[None]
        if prefix is not None and len(prefix):
            start = np.asarray(prefix, dtype=np.float64)[:HORIZON]
        rows = np.empty((HORIZON, len(self._robot.action_joints)))
        rows[: len(start)] = start
        # The scene is some 100 ms older than the joint state.
        held = tuple(
            scene.held[arm.side] or self._presses(arm, scene, measured, start[0]) for arm in self._arms
        )
        scene = replace(scene, held=held)
        width_m = 2.0 * scene.half_width
        arms = [
            MovingArm(arm, start, measured, step_s, width_m, held[arm.side]) for arm in self._arms
        ]
        if len(start) == 1:
            tools = [arm.tool for arm in arms]
            for arm, motion in zip(arms, self._motions(self._decide(scene, tools), scene, tools)):
                if held[arm.arm.side] and motion.closed > 0.0:
                    # The fingers stand at the bar; the command that presses them there stands beyond it.
                    arm.commanded = motion.closed
                    rows[0, arm.arm.gripper] = arm.arm.stroke.position(arm.commanded)
        for row in range(len(start), HORIZON):
            for _ in range(_SUBSTEPS):
                tools = [arm.tool for arm in arms]
                phase = self._decide(scene, tools)
                for arm, motion in zip(arms, self._motions(phase, scene, tools)):
                    closing = phase in (BimanualPhase.GRASP, BimanualPhase.CLOSE) and motion.closed > 0.0
                    arm.advance(motion, step_s / _SUBSTEPS, scene.held[arm.arm.side] or closing)
                scene = self._predict(phase, scene, arms)
            for arm in arms:
                arm.write(rows[row], rows[row - 1])
        rows[len(start) :] = np.clip(rows[len(start) :], self._lower, self._upper)
        return ActionChunk(state.stamp_s, step_s, self._robot.action_joints, rows)

    def _presses(self, arm: Arm, scene: BimanualScene, measured: np.ndarray, commanded: np.ndarray) -> bool:
        """The fingers stand where they would touch the bar, although they are told to close further."""
        stands, told = (arm.stroke.closed(row[arm.gripper]) for row in (measured, commanded))
        stopped = abs(stands - arm.stroke.contact(2.0 * scene.half_width)) < SLACK
        near = math.hypot(*scene.slip(arm.side)) < 2.0 * SLIP_M
        return stopped and told > stands + 0.5 * SLACK and near and not scene.placed

    def _decide(self, scene: BimanualScene, tools: list[Tool]) -> BimanualPhase:
        placer, giver = tools[scene.placer], tools[scene.giver]
        if scene.placed:
            return self._after_placing(scene, placer)
        if scene.held[scene.placer]:
            if scene.held[scene.giver]:
                return BimanualPhase.LET_GO
            if not clear_of(giver, placer):
                return BimanualPhase.WITHDRAW
            return self._placing(scene, placer)
        if scene.held[scene.giver]:
            return self._handing_over(scene, giver, placer)
        over_box = lateral_distance(placer.position, scene.box) < 0.10
        falling = lateral_distance(scene.bar, scene.box) < 0.06 and scene.bar[2] < placer.position[2]
        if falling and over_box and placer.closed > OPEN and placer.position[2] < RELEASE_HEIGHT_M + 0.03:
            return BimanualPhase.RELEASE
        return self._picking(scene, tools[scene.picker])

    def _picking(self, scene: BimanualScene, tool: Tool) -> BimanualPhase:
        offset = np.abs(tool.position - scene.grip(tool.side))
        # Once it closes it goes on closing, although the fingers push the bar a little.
        slack = 1.6 if tool.closed > 0.5 * OPEN else 1.0
        between = bool((offset < slack * GRASP_TOLERANCE_M).all())
        upright = tool.tilt_rad(scene.heading_rad(tool.side)) < 0.12
        if between and upright and tool.closed < self._contact(scene) + SLACK:
            return BimanualPhase.GRASP
        return BimanualPhase.LOWER if approach_distance(scene, tool) < NEAR_M else BimanualPhase.REACH

    def _handing_over(self, scene: BimanualScene, giver: Tool, placer: Tool) -> BimanualPhase:
        if giver.position[2] < LIFTED_HEIGHT_M:
            return BimanualPhase.LIFT
        away = math.hypot(*(handover_place(scene, giver) - giver.position))
        tolerance = HANDOVER_SLACK_M if reaches_in(placer) else HANDOVER_TOLERANCE_M
        if away > tolerance or giver.tilt_rad(0.0) > 0.15:
            return BimanualPhase.BRING
        offset = np.abs(placer.position - taking_place(placer))
        slack = 1.6 if placer.closed > 0.5 * OPEN else 1.0
        there = bool((offset < slack * GRASP_TOLERANCE_M).all()) and placer.tilt_rad(0.0) < 0.12
        if there and away < slack * HANDOVER_TOLERANCE_M and placer.closed < self._contact(scene) + SLACK:
            return BimanualPhase.CLOSE
        return BimanualPhase.TAKE

    def _placing(self, scene: BimanualScene, placer: Tool) -> BimanualPhase:
        away = lateral_distance(placer.position, box_place(scene, placer))
        height = float(placer.position[2])
        if away < OVER_BOX_M + 0.004 and height < RELEASE_HEIGHT_M + 0.010:
            return BimanualPhase.RELEASE
        ready = height > min(LIFTED_HEIGHT_M, funnel(away - OVER_BOX_M, RELEASE_HEIGHT_M) - 0.02)
        return BimanualPhase.CARRY if ready else BimanualPhase.LIFT

    def _after_placing(self, scene: BimanualScene, placer: Tool) -> BimanualPhase:
        near = lateral_distance(placer.position, scene.box) < 0.12
        near = near and placer.position[2] < AWAY_HEIGHT_M - 0.02
        if near and placer.closed > RELEASED:
            return BimanualPhase.RELEASE
        return BimanualPhase.AWAY if near or not scene.success else BimanualPhase.DONE

    def _contact(self, scene: BimanualScene) -> float:
        return self._arms[0].stroke.contact(2.0 * scene.half_width)

    def _motions(self, phase: BimanualPhase, scene: BimanualScene, tools: list[Tool]) -> list[Motion]:
        """What each arm does in a sub-step; an arm that has no part in it waits beside the handover."""
        motions = [Motion(travel(tool, waiting_place(tool)), 0.0, 0.0) for tool in tools]
        pressing = min(self._contact(scene) + SQUEEZE, 1.0)
        still = np.zeros(3)
        placer, giver = tools[scene.placer], tools[scene.giver]
        if phase in (BimanualPhase.REACH, BimanualPhase.LOWER, BimanualPhase.GRASP):
            tool, closing = tools[scene.picker], phase is BimanualPhase.GRASP
            velocity = onto(tool, scene.grip(tool.side)) if closing else down_on(scene, tool)
            motions[tool.side] = Motion(velocity, scene.heading_rad(tool.side), pressing if closing else 0.0)
        elif phase is BimanualPhase.LIFT:
            tool = tools[scene.holder]
            heading = scene.heading_rad(tool.side)
            motions[tool.side] = Motion(up(tool, TRAVEL_HEIGHT_M), heading, pressing)
        elif phase is BimanualPhase.BRING:
            place = handover_place(scene, giver)
            if reaches_in(placer) and lateral_distance(giver.position, place) > HANDOVER_SLACK_M:
                place = waiting_place(giver)
            motions[giver.side] = Motion(travel(giver, place), 0.0, pressing)
        elif phase is BimanualPhase.TAKE:
            motions[giver.side] = Motion(onto(giver, handover_place(scene, giver)), 0.0, pressing)
            motions[placer.side] = Motion(from_the_side(placer), 0.0, 0.0)
        elif phase is BimanualPhase.CLOSE:
            motions[giver.side] = Motion(onto(giver, handover_place(scene, giver)), 0.0, pressing)
            motions[placer.side] = Motion(onto(placer, taking_place(placer)), 0.0, pressing)
        elif phase is BimanualPhase.LET_GO:
            motions[giver.side] = Motion(still, 0.0, 0.0)
            motions[placer.side] = Motion(still, 0.0, pressing)
        elif phase is BimanualPhase.WITHDRAW:
            out = waiting_place(giver) * [0.0, 1.0, 0.0] + giver.position * [1.0, 0.0, 1.0]
            velocity = travel(giver, out) if giver.closed < RELEASED else still
            motions[giver.side] = Motion(velocity, 0.0, 0.0)
            motions[placer.side] = Motion(still, 0.0, pressing)
        elif phase is BimanualPhase.CARRY:
            place = box_place(scene, placer)
            height = funnel(lateral_distance(placer.position, place) - OVER_BOX_M, RELEASE_HEIGHT_M)
            goal = np.array([place[0], place[1], height])
            motions[placer.side] = Motion(travel(placer, goal), 0.0, pressing)
        elif phase is BimanualPhase.RELEASE:
            motions[placer.side] = Motion(still, 0.0, 0.0)
        elif phase is BimanualPhase.AWAY:
            motions[placer.side] = Motion(up(placer, AWAY_HEIGHT_M), 0.0, 0.0)
        elif phase is BimanualPhase.DONE:
            motions = [Motion(still, 0.0, 0.0) for _ in tools]
        return motions

    def _predict(self, phase: BimanualPhase, scene: BimanualScene, arms: list[MovingArm]) -> BimanualScene:
        """The scene a moment later, as far as the robot changes it."""
        held, in_hand = list(scene.held), scene.in_hand.copy()
        closing = {BimanualPhase.GRASP: scene.picker, BimanualPhase.CLOSE: scene.placer}.get(phase)
        for arm in arms:
            side = arm.arm.side
            if side == closing and arm.commanded > arm.touch + 0.5 * SLACK:
                if not held[side]:
                    in_hand[side] = arm.tool.inside(scene.bar)
                held[side] = True
            if held[side] and arm.commanded < arm.touch - SLACK:
                held[side] = False
        if phase is BimanualPhase.RELEASE and any(scene.held) and not any(held):
            scene = replace(scene, placed=True, bar=scene.box + [0.0, 0.0, scene.half_width])
        scene = replace(scene, held=tuple(held), in_hand=in_hand)
        if any(held):
            scene = replace(scene, bar=arms[scene.holder].tool.outside(in_hand[scene.holder]))
        return scene
