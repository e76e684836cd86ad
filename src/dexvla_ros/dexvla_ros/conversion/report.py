"""What became of each bag of a conversion."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

CONVERTED, REFUSED, SKIPPED = "converted", "refused", "skipped"


@dataclass(frozen=True)
class Gap:
    """Nothing from `topic` between two times of the bag's clock, in s."""

    topic: str
    after_s: float
    before_s: float

    def sentence(self) -> str:
        return f"{self.topic}: nothing for {self.before_s - self.after_s:.3f} s after {self.after_s:.3f} s"


@dataclass
class BagReport:
    """One bag's part in a dataset.

    Attributes:
        result: `converted`, `refused` (by `reason`) or `skipped`.
        episodes, frames: that it gave. duration_s, bytes: of the bag.
        gaps: between and around the frames; of an episode that was converted, its episodes end and begin there.
        refused_messages: by topic, [first reason, number].
        before_first_command: frames left out at the start, because the robot had not been commanded yet.
        wall_s: time that it took.
    """

    bag: str
    result: str
    reason: str = ""
    episodes: int = 0
    frames: int = 0
    duration_s: float = 0.0
    bytes: int = 0
    gaps: Sequence[Gap] = ()
    refused_messages: dict[str, tuple[str, int]] = field(default_factory=dict)
    before_first_command: int = 0
    wall_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def remarks(self) -> list[str]:
        """What a person should know besides the numbers, a sentence each."""
        remarks = [f"{self.reason}"] if self.reason else []
        remarks += [gap.sentence() for gap in self.gaps]
        remarks += [
            f"{topic}: {n} messages refused, {why}" for topic, (why, n) in self.refused_messages.items()
        ]
        if self.before_first_command:
            remarks.append(f"{self.before_first_command} frames before the first command left out")
        return remarks
