"""A scripted demonstrator of the task `posture`: all joints go straight to their goals and arrive
together."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dexvla_model.observation import RobotState, select_joints
from dexvla_model.policy import DONE_TEXT, ActionChunk
from dexvla_model.robot import RobotDescription
from dexvla_sim.demonstrators.demonstrator import HORIZON

# Share of the joints' velocity limits that it uses.
VELOCITY_SHARE = 0.4
# It brakes in the last rows: each goes at most this share of what is left.
APPROACH_SHARE = 0.3


class PosturePhase(enum.Enum):
    """The sub-steps."""

    MOVE = "move to the posture"
    DONE = DONE_TEXT


@dataclass(frozen=True)
class PostureScene:
    """The joints' goals (A,) in their units and the task's own verdict."""

    goals: np.ndarray
    success: bool

    def to_vector(self) -> np.ndarray:
        """(A + 1,) float32, for a sub-step's condition."""
        return np.append(self.goals, self.success).astype(np.float32)

    @classmethod
    def from_vector(cls, vector: np.ndarray) -> "PostureScene":
        values = np.asarray(vector, dtype=np.float64)
        return cls(values[:-1], bool(values[-1] > 0.5))


class PostureDemonstrator:
    """Decides the sub-step and computes the chunk for any state of the robot."""

    def __init__(self, robot: RobotDescription) -> None:
        self._robot = robot
        limits = [robot.limits[joint] for joint in robot.action_joints]
        self._step_s = 1.0 / robot.rates.action_hz
        self._largest_step = VELOCITY_SHARE * self._step_s * np.array([limit.velocity for limit in limits])
        self._lower = np.array([limit.lower for limit in limits])
        self._upper = np.array([limit.upper for limit in limits])

    def scene(self, ground_truth: Mapping[str, Any]) -> PostureScene:
        goals = [ground_truth["goals"][joint] for joint in self._robot.action_joints]
        return PostureScene(np.clip(goals, self._lower, self._upper), bool(ground_truth["success"]))

    def scene_of(self, vector: np.ndarray) -> PostureScene:
        """The scene whose `to_vector` this is."""
        return PostureScene.from_vector(vector)

    def phase(self, scene: PostureScene, state: RobotState) -> PosturePhase:
        """The sub-step that is due."""
        return PosturePhase.DONE if scene.success else PosturePhase.MOVE

    def text(self, phase: PosturePhase, scene: PostureScene, name: str) -> str:
        """The sub-step in words."""
        return phase.value

    def chunk(self, scene: PostureScene, state: RobotState, prefix: np.ndarray | None = None) -> ActionChunk:
        """`HORIZON` rows from here to the goals, behind the committed rows `prefix` (P, A), if any."""
        joints = self._robot.action_joints
        start = select_joints(self._robot.state_joints, state.positions, joints)[None]
        if prefix is not None and len(prefix):
            start = np.asarray(prefix, dtype=np.float64)[:HORIZON]
        rows = np.empty((HORIZON, len(joints)))
        rows[: len(start)] = start
        for row in range(len(start), HORIZON):
            left = scene.goals - rows[row - 1]
            # The joint that needs most steps sets the pace.
            steps = max(float(np.max(np.abs(left) / self._largest_step)), 1.0 / APPROACH_SHARE)
            rows[row] = rows[row - 1] + left / steps
        return ActionChunk(state.stamp_s, self._step_s, joints, rows)
