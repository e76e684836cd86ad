"""From frames of demonstrations and datasets to batches of the model."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from dexvla_model.batch import Batch, TaskText
from dexvla_model.data.augmentation import Augmentation
from dexvla_model.data.order import FrameOrder, Order
from dexvla_model.data.source import FrameSource, later
from dexvla_model.normalization import Statistics
from dexvla_model.training.ahead import made_ahead
from dexvla_model.training.image_tokens import ImageTokenTable
from dexvla_model.vlm.prompt import Prompt

# A token shows an object from this share (of 255) of its pixels on: a cube that its border just cuts does
# not count.
_SHOWN = 8
# Streams of random numbers of a step.
_DELAYS, _AUGMENTATION = 1, 4


@dataclass(frozen=True)
class Shard:
    """Which samples of every batch are this process' own, of `count` processes: every `count`-th one.

    So each process has as many samples as the others, up to one, and of each embodiment of a mixture as well.
    """

    index: int = 0
    count: int = 1

    def of(self, samples: int, first: int = 0) -> slice:
        """Its own among `samples` that stand from `first` on in a batch; none twice, none left out."""
        return slice((self.index - first) % self.count, samples, self.count)


class BatchBuilder(Dataset):
    """Makes one embodiment's batch of a training step; a function of (frames, seed, step) alone. As a
    dataset: batch by step.

    The reasoning of a sample belongs to one frame, its chunks to frames up to `max_delay_frames` later: at
    run time, too, an action starts from a newer state than the images behind its condition.

    Args:
        statistics: of the robot's embodiment.
        prompt: the prompt builder of the robot's cameras; None for a model that reads no prompts.
        batch_size: samples per step over all processes.
        max_delay_frames: in action steps.
        order: which frames make up a step's batch; every frame once an epoch if None.
        augmentation: random changes to images; none if None.
        shard: this process' part of every batch.
        image_tokens: of all frames, made beforehand; images are not read then.
    """

    def __init__(
        self,
        frames: FrameSource,
        embodiment: str,
        statistics: Statistics,
        prompt: Prompt | None,
        batch_size: int,
        chunks_per_frame: int,
        max_delay_frames: int,
        seed: int,
        order: Order | None = None,
        augmentation: Augmentation | None = None,
        shard: Shard = Shard(),
        image_tokens: ImageTokenTable | None = None,
    ):
        self._frames = frames
        self._embodiment = embodiment
        self._statistics = statistics
        self._prompt = prompt
        self._batch_size = batch_size
        self._chunks_per_frame = chunks_per_frame
        self._max_delay_frames = max_delay_frames
        self._seed = seed
        self.order = order or FrameOrder(len(frames), batch_size, seed)
        self._augmentation = augmentation
        self._shard = shard
        self._image_tokens = image_tokens

    def batch(self, step: int) -> Batch | None:
        """B observations with K = chunks_per_frame chunks each; None where this process has no sample."""
        return self.part(step, self.order.batch(step))

    def part(self, step: int, frames: np.ndarray, first: int = 0) -> Batch | None:
        """The samples of given frames, which stand from position `first` on in the batch of that step.

        Returns:
            those of this process, or None if there are none.
        """
        mine = np.arange(len(frames))[self._shard.of(len(frames), first)]
        if not len(mine):
            return None
        places, frames = first + mine, frames[mine]
        acting = later(self._frames, frames[:, None], self._delays(step)[places])
        state = torch.from_numpy(self._frames.states_of(acting))
        chunks, is_pad = self._frames.chunks_of(acting)
        instructions, sub_steps = self._frames.instructions_of(frames), self._frames.sub_steps_of(frames)
        grounding = self._frames.grounding_of(frames)
        return Batch(
            self._embodiment,
            {} if self._image_tokens is not None else self._images(frames, step, places),
            None if self._prompt is None else self._prompt.encode(instructions, sub_steps),
            self._statistics.normalise_state(state),
            self._statistics.normalise_actions(torch.from_numpy(chunks), state),
            is_pad=None if is_pad is None else torch.from_numpy(is_pad),
            grounding=None if grounding is None else (torch.from_numpy(grounding) > _SHOWN).float(),
            texts=[TaskText(*texts) for texts in zip(instructions, sub_steps)],
            image_tokens=None if self._image_tokens is None else self._image_tokens.of(frames),
        )

    def _delays(self, step: int) -> np.ndarray:
        """(B, K) delays of the whole batch's chunks, in action steps."""
        rng = np.random.default_rng([self._seed, step, _DELAYS])
        shape = (self._batch_size, self._chunks_per_frame)
        return rng.integers(0, self._max_delay_frames, shape, endpoint=True)

    def _images(self, frames: np.ndarray, step: int, places: np.ndarray) -> dict[str, torch.Tensor]:
        images = {role: torch.from_numpy(views) for role, views in self._frames.images_of(frames).items()}
        if self._augmentation is None:
            return images
        changed = {}
        for number, (role, views) in enumerate(images.items()):
            rngs = (
                np.random.default_rng([self._seed, step, _AUGMENTATION, place, number]) for place in places
            )
            changed[role] = self._augmentation.apply_each(views, rngs)
        return changed

    def batches(self, first_step: int, steps: int, workers: int = 0) -> Iterator[Batch | None]:
        """The batches of steps first_step to steps - 1, in order; `workers` as in `made_ahead`."""
        # The order remembers its last shuffle, so it is asked in one thread alone.
        plans = ((step, self.order.batch(step)) for step in range(first_step, steps))
        return made_ahead(lambda plan: self.part(*plan), plans, workers)

    def __getitem__(self, step: int) -> Batch | None:
        return self.batch(step)
