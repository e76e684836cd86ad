"""What is asked for at the start of an episode, and what is told at its end. No ROS."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class EpisodeRequest:
    """What the operator says at the start of an episode."""

    instruction: str
    operator: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class TopicCount:
    """What has been recorded of a topic in this episode."""

    messages: int = 0
    bytes: int = 0
    drops: int = 0


@dataclass(frozen=True)
class EpisodeSummary:
    """How an episode ended.

    Attributes:
        path: of its bag; None if it was discarded.
        outcome: one of OUTCOMES, or DISCARDED. ending: one sentence.
        duration_s: from its first to its last message.
        error: what kept the bag from being finished; empty if it is whole.
    """

    path: Path | None
    outcome: str
    ending: str
    duration_s: float
    counts: dict[str, TopicCount]
    error: str = ""
