"""What became of an episode, and of many, as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class EpisodeOutcome:
    """One line of the demo's output.

    Attributes:
        instruction: what the policy was told; the world's own task is what `success` is judged by.
        success: the simulation's physics says so. outcome: how the goal ended, from ExecuteTask.
        sub_steps: what the policy said, repeats collapsed.
        duration_s: from the goal to its end, in simulated time.
        waited_for_inference_s: time in which the robot had nothing left to do and waited for the policy.
        sub_step_latency_s, chunk_latency_s: mean age of what the policy saw, when its answer to that arrived.
        real_time_factor: simulated over real time during the episode.
        video: path of the mp4; None if none was asked for.
        error: what broke, if something did.
    """

    robot: str
    task: str
    policy: str
    seed: int
    instruction: str
    success: bool
    outcome: str
    sub_steps: list[str]
    duration_s: float
    waited_for_inference_s: float
    sub_step_latency_s: float
    chunk_latency_s: float
    real_time_factor: float
    video: str | None = None
    error: str | None = None

    def to_json(self) -> dict:
        """A JSON-able dict, times to the millisecond."""
        fields = asdict(self)
        return {key: round(value, 3) if isinstance(value, float) else value for key, value in fields.items()}


def summarise(outcomes: Sequence[EpisodeOutcome]) -> dict:
    """The figures of several episodes."""
    successes = sum(outcome.success for outcome in outcomes)
    return {
        "episodes": len(outcomes),
        "successes": successes,
        "success_rate": round(successes / len(outcomes), 4),
        "mean_duration_s": round(sum(outcome.duration_s for outcome in outcomes) / len(outcomes), 3),
        "waited_for_inference_s": round(sum(outcome.waited_for_inference_s for outcome in outcomes), 3),
    }
