"""How a motion ends, and why one is not begun."""

from enum import IntEnum


class MoveOutcome(IntEnum):
    """How a motion ended; the numbers are those of dexvla_msgs/MoveTo."""

    SUCCEEDED = 0
    CANCELED = 1
    INVALID_GOAL = 2
    START_IN_COLLISION = 3
    GOAL_IN_COLLISION = 4
    UNREACHABLE = 5
    NO_PATH = 6
    BUSY = 7
    FAILED = 8


class MotionRefused(Exception):
    """There is no motion to the goal; `outcome` says which kind of reason the sentence is."""

    def __init__(self, outcome: MoveOutcome, sentence: str) -> None:
        super().__init__(sentence)
        self.outcome = outcome
