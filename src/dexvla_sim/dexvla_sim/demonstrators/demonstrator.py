"""What whoever drives or labels by script asks of a task's demonstrator."""

import enum
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from dexvla_model.observation import RobotState
from dexvla_model.policy import ActionChunk

# Rows of a chunk.
HORIZON = 16


class Scene(Protocol):
    """What a demonstrator looks at besides the robot itself."""

    def to_vector(self) -> np.ndarray:
        """(D,) float32, for a sub-step's condition; it carries everything."""


class Demonstrator(Protocol):
    """Decides the sub-step and computes the chunk for any state of a task's world.

    It keeps no clock and no memory: both are functions of where things are, by the simulator's ground truth
    and the measured joints. So it can take over anywhere, and label states that it did not get into itself. A
    sub-step whose text is `DONE_TEXT` says that the task is carried out. It is made with the robot file, and
    raises a UserError where the robot lacks what it needs.
    """

    def scene(self, ground_truth: Mapping[str, Any]) -> Scene:
        """The scene that the task's `ground_truth` describes."""

    def scene_of(self, vector: np.ndarray) -> Scene:
        """The scene whose `to_vector` this is."""

    def phase(self, scene: Scene, state: RobotState) -> enum.Enum:
        """The sub-step that is due."""

    def text(self, phase: enum.Enum, scene: Scene, name: str) -> str:
        """The sub-step in words, with places in whole centimetres; `name` is that of the ground truth's
        target."""

    def chunk(self, scene: Scene, state: RobotState, prefix: np.ndarray | None = None) -> ActionChunk:
        """What to do from here: `HORIZON` rows, through as many sub-steps as fit in; the first is where the
        robot is.

        Args:
            prefix: (P, A) rows that are committed already; the chunk begins with them.
        """
