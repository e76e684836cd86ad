"""What the demonstrator of pouring sees, and what it says."""

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dexvla_model.policy import DONE_TEXT
from dexvla_sim.tasks.pour import UPRIGHT_RAD


class PourPhase(enum.Enum):
    """The sub-steps; each text may name a place in whole centimetres of base_link."""

    REACH = "reach the {name} at {cup}"
    CLOSE_IN = "close in on the {name} at {cup}"
    GRASP = "grasp the {name} at {cup}"
    LIFT = "lift the {name}"
    CARRY = "carry the {name} to the bowl at {bowl}"
    POUR = "pour into the bowl at {bowl}"
    UPRIGHT = "turn the {name} upright"
    DONE = DONE_TEXT


@dataclass(frozen=True)
class PourScene:
    """What the demonstrator looks at besides the robot itself. Positions in base_link, in m.

    Attributes:
        cup, bowl: (3,) middle of their undersides. up: (3,) the cup's axis.
        held: the hand presses the cup. balls: how many are in the cup. success: the task's own verdict.
    """

    cup: np.ndarray
    up: np.ndarray
    bowl: np.ndarray
    held: bool
    balls: int
    success: bool

    @classmethod
    def from_ground_truth(cls, ground_truth: Mapping[str, Any]) -> "PourScene":
        cup = ground_truth["cup"]
        x, y, z, w = cup["quaternion"]
        return cls(
            cup=np.array(cup["position"]),
            up=np.array([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)]),
            bowl=np.array(ground_truth["bowl"]["position"]),
            held=bool(cup["held"]),
            balls=int(cup["balls"]),
            success=bool(ground_truth["success"]),
        )

    def to_vector(self) -> np.ndarray:
        """(12,) float32, for a sub-step's condition."""
        flags = [self.held, self.balls, self.success]
        return np.concatenate([self.cup, self.up, self.bowl, flags]).astype(np.float32)

    @classmethod
    def from_vector(cls, vector: np.ndarray) -> "PourScene":
        values = np.asarray(vector, dtype=np.float64)
        held, balls, success = values[9] > 0.5, round(float(values[10])), values[11] > 0.5
        return cls(values[0:3], values[3:6], values[6:9], bool(held), balls, bool(success))

    @property
    def fallen(self) -> bool:
        """The cup lies, and nothing can be done about it."""
        return not self.held and float(self.up[2]) < math.cos(UPRIGHT_RAD)
