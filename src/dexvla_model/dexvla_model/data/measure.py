"""The statistics of a source's frames, block by block: no matter how long it is, memory stays small."""

import numpy as np
import torch

from dexvla_model.data.source import FrameSource
from dexvla_model.normalization import Statistics, relative_to_state
from dexvla_model.robot.description import RobotDescription

# Numbers in a block of action chunks.
_BLOCK_SIZE = 2**24


def measure_statistics(source: FrameSource, robot: RobotDescription) -> Statistics:
    """Statistics of all frames' states and action chunks; rows behind an episode's end do not count.

    Raises:
        UserError: a value is not finite, or a relative action has no state.
    """
    relative_to = relative_to_state(robot)
    block = max(1, _BLOCK_SIZE // (source.horizon * len(robot.action)))
    whole, count = None, 0
    for first in range(0, len(source), block):
        frames = np.arange(first, min(first + block, len(source)))
        chunks, is_pad = source.chunks_of(frames)
        part = Statistics.measure(
            torch.from_numpy(source.states_of(frames)),
            torch.from_numpy(chunks),
            None if is_pad is None else torch.from_numpy(is_pad),
            relative_to,
        )
        whole = part if whole is None else combine_statistics(whole, count, part, len(frames))
        count += len(frames)
    return whole


def combine_statistics(one: Statistics, one_count: int, other: Statistics, other_count: int) -> Statistics:
    """Statistics of the union of two sets of frames (parallel variance, Chan et al. 1979)."""
    share = other_count / (one_count + other_count)
    difference = other.state_mean - one.state_mean
    variance = (
        (1 - share) * one.state_std**2 + share * other.state_std**2 + share * (1 - share) * difference**2
    )
    return Statistics(
        one.state_mean + share * difference,
        variance.sqrt(),
        torch.minimum(one.action_min, other.action_min),
        torch.maximum(one.action_max, other.action_max),
        one.relative_to,
    )
