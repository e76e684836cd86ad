"""From frames of demonstrations and datasets to batches of the model."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from dexvla_model.batch import Batch, TaskText
from dexvla_model.data.augmentation import Augmentation
from dexvla_model.data.order import FrameOrder, Order
from dexvla_model.data.source import FrameSource, later
from dexvla_model.normalization import Statistics
from dexvla_model.vlm.prompt import Prompt

# A token shows an object from this share (of 255) of its pixels on: a cube that its border just cuts does
# not count.
_SHOWN = 8
# Streams of random numbers of a step.
_DELAYS, _AUGMENTATION = 1, 4


@dataclass(frozen=True)
class Shard:
    """Which part of every batch is this process' own, of `count` processes."""

    index: int = 0
    count: int = 1

    def of(self, batch_size: int) -> slice:
        """Its samples of a batch; none twice, none left out."""
        return slice(batch_size * self.index // self.count, batch_size * (self.index + 1) // self.count)


class BatchBuilder(Dataset):
    """Makes the batch of a training step; a function of (frames, seed, step) alone. As a dataset: batch by
    step.

    The reasoning of a sample belongs to one frame, its chunks to frames up to `max_delay_frames` later: at
    run time,
    too, an action starts from a newer state than the images behind its condition.

    Args:
        statistics: of the robot's embodiment.
        prompt: the prompt builder of the robot's cameras; None for a model that reads no prompts.
        batch_size: samples per step over all processes.
        max_delay_frames: in action steps.
        order: which frames make up a step's batch; every frame once an epoch if None.
        augmentation: random changes to images; none if None.
        shard: this process' part of every batch.
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
    ):
        self._frames = frames
        self._embodiment = embodiment
        self._statistics = statistics
        self._prompt = prompt
        self._chunks_per_frame = chunks_per_frame
        self._max_delay_frames = max_delay_frames
        self._seed = seed
        self._order = order or FrameOrder(len(frames), batch_size, seed)
        self._augmentation = augmentation
        self._shard = shard

    def batch(self, step: int) -> Batch:
        """B observations with K = chunks_per_frame chunks each."""
        return self._batch_of(step, self._order.batch(step))

    def _batch_of(self, step: int, frames: np.ndarray) -> Batch:
        mine = self._shard.of(len(frames))
        rng = np.random.default_rng([self._seed, step, _DELAYS])
        delays = rng.integers(0, self._max_delay_frames, (len(frames), self._chunks_per_frame), endpoint=True)
        frames, delays = frames[mine], delays[mine]
        acting = later(self._frames, frames[:, None], delays)
        state = torch.from_numpy(self._frames.states_of(acting))
        chunks, is_pad = self._frames.chunks_of(acting)
        instructions, sub_steps = self._frames.instructions_of(frames), self._frames.sub_steps_of(frames)
        grounding = self._frames.grounding_of(frames)
        return Batch(
            self._embodiment,
            self._images(frames, step, mine.start),
            None if self._prompt is None else self._prompt.encode(instructions, sub_steps),
            self._statistics.normalise_state(state),
            self._statistics.normalise_actions(torch.from_numpy(chunks), state),
            is_pad=None if is_pad is None else torch.from_numpy(is_pad),
            grounding=None if grounding is None else (torch.from_numpy(grounding) > _SHOWN).float(),
            texts=[TaskText(*texts) for texts in zip(instructions, sub_steps)],
        )

    def _images(self, frames: np.ndarray, step: int, first: int) -> dict[str, torch.Tensor]:
        images = {role: torch.from_numpy(views) for role, views in self._frames.images_of(frames).items()}
        if self._augmentation is None:
            return images
        changed = {}
        for number, (role, views) in enumerate(images.items()):
            rngs = (
                np.random.default_rng([self._seed, step, _AUGMENTATION, first + sample, number])
                for sample in range(len(frames))
            )
            changed[role] = self._augmentation.apply_each(views, rngs)
        return changed

    def batches(self, first_step: int, steps: int, workers: int = 0) -> Iterator[Batch]:
        """The batches of steps first_step to steps - 1, in order.

        Args:
            workers: threads that make batches ahead; 0 makes each when it is asked for. Threads do: decoding
                and tensor
                operations leave the interpreter to others, and no frame has to travel between processes.
        """
        if not workers:
            yield from (self.batch(step) for step in range(first_step, steps))
            return
        pool = ThreadPoolExecutor(workers, "batches")
        ahead: deque[Future[Batch]] = deque()
        try:
            for step in range(first_step, steps):
                # The order remembers its last shuffle, so it is asked in this thread alone.
                ahead.append(pool.submit(self._batch_of, step, self._order.batch(step)))
                if len(ahead) > 2 * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def __getitem__(self, step: int) -> Batch:
        return self.batch(step)
