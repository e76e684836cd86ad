"""What can be set about streaming."""

import math
from dataclasses import dataclass, fields

from dexvla_model.errors import UserError

# Allowed range of every setting that is a number, and its unit.
RANGES = {
    "commit_lead_s": (0.0, 1.0, "s"),
    "overlap_s": (0.0, 1.0, "s"),
    "blend_s": (0.0, 2.0, "s"),
    "window_s": (1.0, 4.0, "s"),
    "smoothing_hz": (0.5, 8.0, "Hz"),
    "expected_latency_s": (0.0, 2.0, "s"),
    "prefix_max_s": (0.0, 2.0, "s"),
    "chunk_age_max_s": (0.05, 10.0, "s"),
    "chunk_ahead_max_s": (0.0, 1.0, "s"),
    "jump_max_rad": (0.01, 10.0, "rad"),
    "rejections_max": (1, 100, "chunks"),
    "state_age_max_s": (0.01, 5.0, "s"),
    "clock_back_max_s": (0.0, 1.0, "s"),
    "tracking_tolerance_rad": (0.001, 10.0, "rad"),
    "tracking_lag_s": (0.0, 2.0, "s"),
    "tracking_patience_s": (0.0, 5.0, "s"),
    "start_tolerance_rad": (0.0, 1.0, "rad"),
    "start_offset_rad": (0.0, 0.5, "rad"),
}


@dataclass(frozen=True)
class StreamSettings:
    """How chunks become motion. The defaults suit 16 rows at 10 Hz to a chunk, one every 0.1 to 0.3 s.

    Attributes:
        commit_lead_s: motion nearer than this is never changed any more. It has to cover planning, the way of
            a message to the controller and the period of the node's timer: only then do old and new
            trajectory meet exactly.
        overlap_s: a message begins this long before now, with motion that is committed.
        blend_s: time over which a new chunk takes over from the rows that were scheduled before it.
        window_s: time from the commit point to the rest at the end of each message. It also bounds the speed:
            a stop has to fit.
        smoothing_hz: motion in the chunks that is faster than this is smoothed away.
        expected_latency_s: from a joint state to the chunk inferred from it, until latencies have been
            measured.
        prefix_max_s: the most of a chunk that is committed in advance, for prefix-conditioned denoising.
        chunk_age_max_s: an older chunk is refused.
        chunk_ahead_max_s: a chunk with a stamp further ahead of now is refused.
        jump_max_rad: a chunk is refused when its first usable row is further from the current motion, in any
            joint that is not compliant.
        rejections_max: so many refused chunks in a row lead to hold.
        state_age_max_s: an older joint state leads to hold.
        clock_back_max_s: a clock that goes back further stops the stream; less is taken for standing still.
        tracking_tolerance_rad: a joint that is measured further from its command leads to a stop. Compliant
            joints are exempt.
        tracking_lag_s: the measured position may be the commanded one of any moment within this time.
        tracking_patience_s: time for which a joint has to be away before that counts.
        start_tolerance_rad: a start goes on from the last command where the joint is measured so close to it;
            otherwise from the measured position.
        start_offset_rad: at a start the controller may hold a command that differs this much from the
            measured position (sag); the start waits for so long that the controller gets from the one to the
            other within the limits.
        compliant_controllers: controllers whose joints close on things, so that the measured position may
            stay away from the commanded one, and whose commands may jump. Names that the robot lacks mean
            nothing.
    """

    commit_lead_s: float = 0.1
    overlap_s: float = 0.1
    blend_s: float = 0.2
    window_s: float = 2.0
    smoothing_hz: float = 3.0
    expected_latency_s: float = 0.2
    prefix_max_s: float = 0.6
    chunk_age_max_s: float = 1.0
    chunk_ahead_max_s: float = 0.05
    jump_max_rad: float = 0.5
    rejections_max: int = 3
    state_age_max_s: float = 0.25
    clock_back_max_s: float = 0.05
    tracking_tolerance_rad: float = 0.2
    tracking_lag_s: float = 0.15
    tracking_patience_s: float = 0.1
    start_tolerance_rad: float = 0.05
    start_offset_rad: float = 0.02
    compliant_controllers: tuple[str, ...] = (
        "gripper_controller",
        "hand_controller",
        "left_gripper_controller",
        "right_gripper_controller",
    )

    def __post_init__(self) -> None:
        """Raises UserError: a value is outside its range."""
        for field in fields(self):
            if field.name not in RANGES:
                continue
            low, high, unit = RANGES[field.name]
            value = getattr(self, field.name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if not number or not low <= value <= high:
                raise UserError(
                    f"The streaming setting {field.name} is {value!r}; allowed is {low} to {high} {unit}: "
                    "correct it."
                )
