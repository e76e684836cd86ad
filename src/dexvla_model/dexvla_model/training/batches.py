"""From frames of demonstrations to batches of the model."""

import numpy as np
import torch

from dexvla_model.data.frames import FrameOrder, FrameTable
from dexvla_model.dexvla import Batch
from dexvla_model.normalization import Statistics
from dexvla_model.vlm.prompt import Prompt


# A token shows an object from this share (of 255) of its pixels on: a cube that its border just cuts does not count.
_SHOWN = 8


class BatchBuilder:
    """Makes the batch of a training step; a function of (frames, seed, step) alone.

    The reasoning of a sample belongs to one frame, its chunks to frames up to `max_delay_frames` later: at run time,
    too, an action starts from a newer state than the images behind its condition.

    Args:
        statistics: of the robot's embodiment.
        prompt: the prompt builder of the robot's cameras.
    """

    def __init__(
        self,
        frames: FrameTable,
        embodiment: str,
        statistics: Statistics,
        prompt: Prompt,
        batch_size: int,
        chunks_per_frame: int,
        max_delay_frames: int,
        seed: int,
    ):
        self._frames = frames
        self._embodiment = embodiment
        self._prompt = prompt
        self._chunks_per_frame = chunks_per_frame
        self._max_delay_frames = max_delay_frames
        self._seed = seed
        self._order = FrameOrder(len(frames), batch_size, seed)
        state = torch.from_numpy(frames.state)
        self._state = statistics.normalise_state(state)
        self._actions = statistics.normalise_actions(torch.from_numpy(frames.action_chunks), state)

    def batch(self, step: int) -> Batch:
        """B observations with K = chunks_per_frame chunks each."""
        frames = self._order.batch(step)
        rng = np.random.default_rng([self._seed, step, 1])
        delays = rng.integers(0, self._max_delay_frames, (len(frames), self._chunks_per_frame), endpoint=True)
        acting = torch.from_numpy(self._frames.later(frames[:, None], delays))
        tokens = self._prompt.encode(
            [self._frames.instructions[frame] for frame in frames], [self._frames.sub_steps[frame] for frame in frames]
        )
        images = {role: torch.from_numpy(views[frames]) for role, views in self._frames.images.items()}
        return Batch(
            self._embodiment,
            images,
            tokens,
            self._state[acting],
            self._actions[acting],
            grounding=(torch.from_numpy(self._frames.grounding[frames]) > _SHOWN).float(),
        )
