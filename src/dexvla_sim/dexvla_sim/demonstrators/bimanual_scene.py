"""What a demonstrator that sorts with two arms looks at: the bar, its box, who holds it, and how."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dexvla_sim.demonstrators.two_arms import SIDES, SIGNS, TOOL_ROTATIONS, Tool

# How far beside the bar's middle each gripper takes it.
GRIP_BESIDE_CENTRE_M = 0.045
# The pads take the bar a little above its middle, so that the fingertips stay off the table.
GRASP_ABOVE_CENTRE_M = 0.004
# A bar turned further than this towards the other arm is beyond the wrist: it is taken by its other end.
TURNED_BACK_RAD = 0.33


@dataclass(frozen=True)
class BimanualScene:
    """What the demonstrator looks at besides the robot. Positions in base_link, in m; left before right.

    Attributes:
        bar: (3,) its centre. yaw_rad: of the bar, from along y, within a quarter turn. half_width: across it.
        box: (3,) where it is to go, on the box's underside.
        in_hand: (2, 3) the bar's centre in the frame of each tool, at the same moment.
        held: whether both fingers of the left and of the right gripper touch the bar.
        placed: it lies in its box, untouched. success: the task's own verdict.
    """

    bar: np.ndarray
    yaw_rad: float
    half_width: float
    box: np.ndarray
    in_hand: np.ndarray
    held: tuple[bool, bool]
    placed: bool
    success: bool

    @classmethod
    def from_ground_truth(cls, ground_truth: Mapping[str, Any], tools: Sequence[Tool]) -> "BimanualScene":
        """The scene of a task's ground truth, with the tools where they were at that moment."""
        entries = {entry["name"]: entry for entry in ground_truth["objects"]}
        bar = entries[ground_truth["target"]]
        centre = np.array(bar["position"])
        return cls(
            bar=centre,
            yaw_rad=_bar_yaw(bar["quaternion"]),
            half_width=float(bar["half_size"][0]),
            box=np.array(entries[ground_truth["box"]]["position"]),
            in_hand=np.stack([tool.inside(centre) for tool in tools]),
            held=tuple(bool(ground_truth["held"][side]) for side in SIDES),
            placed=bool(ground_truth["placed"]),
            success=bool(ground_truth["success"]),
        )

    @property
    def placer(self) -> int:
        """The arm on whose side the box stands."""
        return 0 if self.box[1] > 0.0 else 1

    @property
    def giver(self) -> int:
        """The other arm."""
        return 1 - self.placer

    @property
    def picker(self) -> int:
        """The arm on whose side the bar is."""
        return self.placer if SIGNS[self.placer] * self.bar[1] > 0.03 else self.giver

    @property
    def holder(self) -> int:
        """The arm that holds the bar; the one that picks where none does."""
        return next((side for side in (self.placer, self.giver) if self.held[side]), self.picker)

    def slip(self, side: int) -> np.ndarray:
        """(3,) m in base_link: how far off the bar is in a hand, were the tool straight."""
        return TOOL_ROTATIONS[side] @ self.in_hand[side] + beside_bar(side)

    def heading_rad(self, side: int) -> float:
        """How the tool of a side is to be turned to take the bar, by that one of its ends that it reaches."""
        mirrored = SIGNS[side] * self.yaw_rad
        return SIGNS[side] * (mirrored if mirrored >= -TURNED_BACK_RAD else mirrored + math.pi)

    def grip(self, side: int) -> np.ndarray:
        """(3,) where the tool of a side takes the bar."""
        angle = self.heading_rad(side)
        outward = SIGNS[side] * GRIP_BESIDE_CENTRE_M * np.array([-math.sin(angle), math.cos(angle)])
        return self.bar + np.append(outward, GRASP_ABOVE_CENTRE_M)

    def to_vector(self) -> np.ndarray:
        """(18,) float32, for a sub-step's condition."""
        flags = [*self.held, self.placed, self.success]
        return np.concatenate(
            [self.bar, self.box, self.in_hand.ravel(), [self.yaw_rad, self.half_width], flags]
        ).astype(np.float32)

    @classmethod
    def from_vector(cls, vector: np.ndarray) -> "BimanualScene":
        values = np.asarray(vector, dtype=np.float64)
        left, right, placed, success = (bool(value > 0.5) for value in values[14:18])
        return cls(
            bar=values[0:3],
            box=values[3:6],
            in_hand=values[6:12].reshape(2, 3),
            yaw_rad=float(values[12]),
            half_width=float(values[13]),
            held=(left, right),
            placed=placed,
            success=success,
        )


def beside_bar(side: int) -> np.ndarray:
    """(3,) from the bar's centre to the tool of a side that holds it as it should."""
    return np.array([0.0, SIGNS[side] * GRIP_BESIDE_CENTRE_M, GRASP_ABOVE_CENTRE_M])


def _bar_yaw(quaternion: list[float]) -> float:
    """Angle in rad from y to the bar's axis seen from above, within a quarter turn; quaternion x, y, z, w."""
    x, y, z, w = quaternion
    along_x, along_y = 2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z)
    if math.hypot(along_x, along_y) < 0.1:
        return 0.0
    return math.atan(-along_x / along_y) if abs(along_y) > 1e-9 else math.pi / 2
