"""Places on the table, in base_link: distances, reach, and how they are said."""

import math

import numpy as np

# Nearest and farthest that a tool which points down reaches, from the robot's foot.
REACH_M = (0.25, 0.75)


def lateral_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Horizontal distance of two places, in m."""
    return math.hypot(one[0] - other[0], one[1] - other[1])


def within_reach(place: np.ndarray) -> np.ndarray:
    """`place` (3,) drawn into the ring that the arm reaches."""
    distance = max(math.hypot(place[0], place[1]), 1e-6)
    scale = min(max(distance, REACH_M[0]), REACH_M[1]) / distance
    return np.array([place[0] * scale, place[1] * scale, place[2]])


def centimetres(place: np.ndarray) -> str:
    """x and y in whole centimetres, as sub-steps say them."""
    return f"{round(100 * float(place[0]))} {round(100 * float(place[1]))}"
