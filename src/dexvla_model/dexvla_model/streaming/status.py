"""What a stream of actions is doing, and what came of it."""

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum


class StreamState(Enum):
    """Where a stream stands."""

    IDLE = "idle"  # nothing was started yet
    STARTING = "starting"  # waits for a joint state, or for the controller to take the start over
    STREAMING = "streaming"  # follows the chunks
    HOLDING = "holding"  # decelerates or rests; the next good chunk goes on
    STOPPED = "stopped"  # decelerates or rests until it is started again


@dataclass(frozen=True)
class StreamStatus:
    """State, why, and since when (s of the node clock)."""

    state: StreamState
    reason: str
    since_s: float


class Refusal(Enum):
    """Why a chunk was not taken."""

    STOPPED = "the stream is stopped"
    NO_STATE = "no fresh joint state"
    MALFORMED = "malformed"
    JOINTS = "joints do not match"
    NOT_FINITE = "not finite"
    FROM_THE_FUTURE = "from the future"
    STALE = "stale"
    OUT_OF_ORDER = "older than the last one"
    JUMP = "too far from the current motion"


@dataclass(frozen=True)
class ChunkVerdict:
    """Whether a chunk was taken; if not, why, in general and in words."""

    refusal: Refusal | None = None
    detail: str = ""

    @property
    def taken(self) -> bool:
        return self.refusal is None


@dataclass
class StreamCounters:
    """Figures of one start to the next, for diagnostics.

    Attributes:
        chunks_taken, rows_taken, rows_dropped: rows are dropped when they lie before the commit point.
        refused: chunks by the reason of their refusal.
        states_refused: joint states that were malformed or not finite.
        plans: motions planned. plan_failures: joints for which the solver found none, so that they went on as
            before.
        messages: times that trajectories were given out.
        holds: times that motion was broken off.
        waiting_s: time after the first chunk during which no scheduled row was left: the robot waited for
            inference.
    """

    chunks_taken: int = 0
    rows_taken: int = 0
    rows_dropped: int = 0
    refused: Counter[Refusal] = field(default_factory=Counter)
    states_refused: int = 0
    plans: int = 0
    plan_failures: int = 0
    messages: int = 0
    holds: int = 0
    waiting_s: float = 0.0
