"""The interface that every policy has, learned or scripted: reason about a sub-step, then act on it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dexvla_model.observation import Observation, RobotState
from dexvla_model.robot.description import RobotDescription

# The sub-step text by which a policy says that the instruction is carried out.
DONE_TEXT = "done"


class InvalidOutput(Exception):
    """A policy produced something that no robot may follow, such as a value that is not finite."""


@dataclass(frozen=True)
class SubStep:
    """What the policy is about to do, in words and as the expert's condition.

    Attributes:
        text: the sub-step as the policy says it.
        condition: (C,) float32, the FiLM-modulated condition of the expert.
        stamp_s: when the observation behind it was taken, in s.
        finished: the policy says that the instruction is carried out.
    """

    text: str
    condition: np.ndarray
    stamp_s: float
    finished: bool = False


@dataclass(frozen=True)
class ActionChunk:
    """A chunk of commanded joint positions.

    Attributes:
        stamp_s: time of row 0, in s; row k is the commanded position at stamp_s + k * step_s.
        step_s: time between rows.
        joints: names of the columns.
        positions: (T, A) rad.
    """

    stamp_s: float
    step_s: float
    joints: tuple[str, ...]
    positions: np.ndarray


class Policy(Protocol):
    """Reasoning and acting are separate calls: they run in separate processes, at their own rates."""

    name: str
    robot: RobotDescription

    def get_ready(self, method: str) -> None:
        """Do now what takes long and the first call of `method`, `reason` or `act`, would do otherwise.

        A process that only calls one of the two spends neither time nor memory on the other.
        """

    def reset(self, seed: int) -> None:
        """Forget the episode; later draws depend on `seed` alone."""

    def reason(self, observation: Observation, instruction: str, previous: SubStep | None = None) -> SubStep:
        """Say the current sub-step. `previous` is the last answer, a draft that speeds up but never changes this one."""

    def act(
        self,
        substep: SubStep,
        state: RobotState,
        prefix: np.ndarray | None = None,
        scheduled: np.ndarray | None = None,
    ) -> ActionChunk:
        """The chunk that starts at `state.stamp_s`.

        Args:
            prefix: (P, A) rad, positions that are already committed for rows 0 to P - 1 of that chunk.
            scheduled: (R, A) rad, positions that the chunk before had for the rows behind them: the new chunk
                may differ, but should not without a reason.

        Raises:
            InvalidOutput: the chunk is not finite.
        """
