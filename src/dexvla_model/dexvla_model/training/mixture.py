"""Batches that mix embodiments."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from dexvla_model.batch import Batch
from dexvla_model.data.shares import BatchShares
from dexvla_model.errors import UserError
from dexvla_model.normalization import Statistics
from dexvla_model.training.ahead import made_ahead
from dexvla_model.training.batches import BatchBuilder, Shard
from dexvla_model.training.config import TrainingConfig
from dexvla_model.training.image_tokens import ImageTokenTable
from dexvla_model.training.robots import TrainedRobot, batch_shares
from dexvla_model.vlm.prompt import Prompt

# Which frames of a builder, and the position of the first of them in the batch.
_Part = tuple[BatchBuilder, np.ndarray, int]


class BatchMixture:
    """Makes the batch of a training step of several embodiments; a function of (frames, seed, step) alone.

    Args:
        builders: one for each embodiment, all with the batch size of `shares`.
        shares: how many frames each gets.
    """

    def __init__(self, builders: Sequence[BatchBuilder], shares: BatchShares):
        self._builders = list(builders)
        self._shares = shares

    def batch(self, step: int) -> tuple[Batch, ...]:
        """One batch for each embodiment that has samples of this process in that step."""
        return self._made((step, self._plan(step)))

    def batches(self, first_step: int, steps: int, workers: int = 0) -> Iterator[tuple[Batch, ...]]:
        """The batches of steps first_step to steps - 1, in order; `workers` as in `made_ahead`."""
        plans = ((step, self._plan(step)) for step in range(first_step, steps))
        return made_ahead(self._made, plans, workers)

    def _plan(self, step: int) -> list[_Part]:
        parts, first = [], 0
        counts, before = self._shares.counts(step).tolist(), self._shares.before(step).tolist()
        for builder, count, taken in zip(self._builders, counts, before, strict=True):
            if count:
                parts.append((builder, builder.order.taken(taken, count), first))
            first += count
        return parts

    def _made(self, plan: tuple[int, list[_Part]]) -> tuple[Batch, ...]:
        step, parts = plan
        made = [builder.part(step, frames, first) for builder, frames, first in parts]
        return tuple(batch for batch in made if batch is not None)


def mixture_of(
    robots: Sequence[TrainedRobot],
    prompts: Mapping[str, Prompt | None],
    statistics: Mapping[str, Statistics],
    config: TrainingConfig,
    shard: Shard = Shard(),
    image_tokens: Mapping[str, ImageTokenTable] | None = None,
    taken: Mapping[str, np.ndarray] | None = None,
) -> BatchMixture:
    """The batches of all robots of a training file, as far as they are one process' own.

    Args:
        prompts, statistics, image_tokens: by embodiment; tokens only where they were made beforehand.
        taken: by embodiment, (N,) bool, which frames; all of them without it.

    Raises:
        UserError: a batch has fewer frames than there are processes.
    """
    optimization = config.optimization
    size, seed = optimization.batch_size, optimization.seed
    if size < shard.count:
        raise UserError(
            f"{config.source}: optimization.batch_size is {size}, but {shard.count} processes share a batch; "
            "give each at least one frame."
        )
    builders = [
        BatchBuilder(
            robot.frames,
            robot.embodiment,
            statistics[robot.embodiment],
            prompts[robot.embodiment],
            size,
            optimization.chunks_per_frame,
            optimization.max_delay_frames,
            seed,
            order=robot.order(size, seed, None if taken is None else taken[robot.embodiment]),
            augmentation=config.augmentation,
            shard=shard,
            image_tokens=(image_tokens or {}).get(robot.embodiment),
        )
        for robot in robots
    ]
    return BatchMixture(builders, batch_shares(robots, size, seed))
