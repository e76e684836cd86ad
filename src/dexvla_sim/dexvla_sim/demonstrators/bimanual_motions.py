"""Where the tools of two arms go when they sort: places of handover and box, and velocities to them."""

import math

import numpy as np

from dexvla_sim.demonstrators.bimanual_scene import GRIP_BESIDE_CENTRE_M, BimanualScene, beside_bar
from dexvla_sim.demonstrators.places import lateral_distance
from dexvla_sim.demonstrators.tool_motion import (
    FUNNEL_WIDTH_M,
    SPEED_M_S,
    VERTICAL_SPEED_M_S,
    funnel,
    towards,
)
from dexvla_sim.demonstrators.two_arms import SIGNS, Tool

# The bar's middle in the handover.
HANDOVER_M = np.array([0.28, 0.0, 0.15])
# Where an arm waits: beside the handover, so far out.
WAITING_Y_M = 0.18
# Nearer to the middle than this, a gripper is in the way of what the other one brings.
CLEAR_Y_M = 0.13

# How far beside the grip the tool may go all the way; outside it approaches along a funnel.
OVER_BAR_M = 0.010
# A tilt of the tool counts as a distance, and so does a gripper that is not open: closed further than OPEN.
TILT_AS_DISTANCE_M_RAD = 0.1
CLOSED_AS_DISTANCE_M = 0.2
OPEN = 0.1875
# The bar may lie so far from where it should in the hand that the hand makes up for it.
SLIP_M = 0.020

CLOSING_SPEED_M_S = 0.05


def waiting_place(tool: Tool) -> np.ndarray:
    """(3,) m, beside the handover."""
    return np.array([HANDOVER_M[0], SIGNS[tool.side] * WAITING_Y_M, HANDOVER_M[2]])


def taking_place(tool: Tool) -> np.ndarray:
    """(3,) m, where a tool holds its end of the bar in the handover."""
    return HANDOVER_M + [0.0, SIGNS[tool.side] * GRIP_BESIDE_CENTRE_M, 0.0]


def handover_place(scene: BimanualScene, giver: Tool) -> np.ndarray:
    """Where the giver has the bar's middle in the middle, even if it has slipped a little in the hand."""
    return taking_place(giver) - np.clip(scene.slip(giver.side), -SLIP_M, SLIP_M)


def box_place(scene: BimanualScene, placer: Tool) -> np.ndarray:
    """Where the tool has to be for the bar's middle to be over the box's."""
    slip = np.clip(scene.slip(placer.side), -1.5 * SLIP_M, 1.5 * SLIP_M)
    return scene.box + beside_bar(placer.side) - slip


def reaches_in(tool: Tool) -> bool:
    """A gripper is where the other arm brings the bar."""
    return bool(SIGNS[tool.side] * tool.position[1] < CLEAR_Y_M)


def clear_of(giver: Tool, placer: Tool) -> bool:
    """The giver's gripper no longer stands around the bar that the other arm holds."""
    return math.hypot(*(giver.position - placer.position)) > 2.0 * GRIP_BESIDE_CENTRE_M + 0.05


def approach_distance(scene: BimanualScene, tool: Tool) -> float:
    """How far the tool is from being able to go straight down on the bar, in m."""
    lateral = lateral_distance(tool.position, scene.grip(tool.side))
    tilt = tool.tilt_rad(scene.heading_rad(tool.side))
    return lateral + TILT_AS_DISTANCE_M_RAD * tilt + CLOSED_AS_DISTANCE_M * max(0.0, tool.closed - OPEN)


def down_on(scene: BimanualScene, tool: Tool) -> np.ndarray:
    """(3,) m/s: over the grip, then down on it along a funnel."""
    grip = scene.grip(tool.side)
    height = funnel(approach_distance(scene, tool) - OVER_BAR_M, grip[2])
    return travel(tool, np.array([grip[0], grip[1], height]))


def from_the_side(tool: Tool) -> np.ndarray:
    """(3,) m/s: beside the handover, then straight in along y."""
    place = taking_place(tool)
    beside = math.hypot(tool.position[0] - place[0], tool.position[2] - place[2])
    beside += TILT_AS_DISTANCE_M_RAD * tool.tilt_rad(0.0)
    beside += CLOSED_AS_DISTANCE_M * max(0.0, tool.closed - OPEN)
    share = min(max((beside - OVER_BAR_M) / FUNNEL_WIDTH_M, 0.0), 1.0)
    place[1] += share * (waiting_place(tool)[1] - place[1])
    return towards(place - tool.position, 0.75 * SPEED_M_S)


def onto(tool: Tool, place: np.ndarray) -> np.ndarray:
    """(3,) m/s: the last centimetres, slowly."""
    return towards(place - tool.position, CLOSING_SPEED_M_S)


def travel(tool: Tool, place: np.ndarray) -> np.ndarray:
    """(3,) m/s: up first, sideways when there is room."""
    rise = float(place[2] - tool.position[2])
    speed = SPEED_M_S * min(max(1.0 - (rise - 0.01) / 0.06, 0.0), 1.0)
    lateral = towards(place[:2] - tool.position[:2], speed)
    return np.array([*lateral, *towards(np.array([rise]), VERTICAL_SPEED_M_S)])


def up(tool: Tool, height_m: float) -> np.ndarray:
    """(3,) m/s: straight up or down to a height."""
    return towards(np.array([0.0, 0.0, height_m - tool.position[2]]), VERTICAL_SPEED_M_S)
