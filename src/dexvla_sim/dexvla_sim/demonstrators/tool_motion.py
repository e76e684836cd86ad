"""How a tool over a table moves: speeds, braking, and the funnel down to a place."""

import math

import numpy as np

SPEED_M_S = 0.28
VERTICAL_SPEED_M_S = 0.20
BRAKING_M_S2 = 0.8
ACCELERATION_M_S2 = 1.5
# Closest approach: speed over distance.
APPROACH_PER_S = 7.0
TURN_SPEED_RAD_S = 0.8
# Share of the gripper's stroke.
GRIPPER_SPEED_PER_S = 0.5625

# Height of the grasp frame over the table on its way, and width of the funnel along which it comes down.
TRAVEL_HEIGHT_M = 0.150
FUNNEL_WIDTH_M = 0.036


def funnel(distance_m: float, low_m: float) -> float:
    """Height in m at a distance from the region over which the tool may go down to `low_m`."""
    share = min(max(distance_m / FUNNEL_WIDTH_M, 0.0), 1.0)
    return low_m + (TRAVEL_HEIGHT_M - low_m) * share


def towards(offset: np.ndarray, speed_m_s: float) -> np.ndarray:
    """Velocity along `offset` that brakes in time to stop at its end."""
    distance = math.hypot(*offset)
    if distance < 1e-9:
        return np.zeros_like(offset)
    speed = min(speed_m_s, math.sqrt(2.0 * BRAKING_M_S2 * distance), APPROACH_PER_S * distance)
    return offset * (speed / distance)


def limited(vector: np.ndarray, length: float) -> np.ndarray:
    """`vector`, shortened to `length` where it is longer."""
    norm = math.hypot(*vector)
    return vector if norm <= length else vector * (length / norm)
