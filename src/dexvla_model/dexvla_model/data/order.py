"""The order in which training takes frames: a function of (seed, step) alone.

So a run that was stopped goes on with exactly the batches that it would have taken, and every process of
many knows its
share without asking the others.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from dexvla_model.errors import UserError

# Positions over which a mixture keeps its weights exactly.
_BLOCK = 10_000


class Order(Protocol):
    """Which frames make up the batch of a training step."""

    def batch(self, step: int) -> np.ndarray:
        """(B,) frame indices of that step."""

    def taken(self, first: int, count: int) -> np.ndarray:
        """(count,) frame indices from the first-th frame on that is taken, counted from 0 over all steps."""


class FrameOrder:
    """Every frame once an epoch, in a fresh shuffle every epoch."""

    def __init__(self, frame_count: int, batch_size: int, seed: int):
        self._shuffle = _Shuffle(frame_count, [seed])
        self._batch_size = batch_size

    def batch(self, step: int) -> np.ndarray:
        """(B,) frame indices of that step."""
        return self.taken(step * self._batch_size, self._batch_size)

    def taken(self, first: int, count: int) -> np.ndarray:
        """(count,) frame indices from the first-th frame on."""
        return self._shuffle.at(np.arange(first, first + count))


class MixtureOrder:
    """Frames of several sources in given shares; each source's frames are shuffled anew when all had their
    turn.

    Args:
        frame_counts: frames of each source; an index counts through all of them.
        weights: share of each source in every batch, up to rounding over 10,000 frames; need not add up to 1.
    """

    def __init__(self, frame_counts: Sequence[int], weights: Sequence[float], batch_size: int, seed: int):
        self._batch_size = batch_size
        self._seed = seed
        self._first = np.cumsum([0, *frame_counts])
        self._quota = _largest_remainders(np.asarray(weights, dtype=np.float64), _BLOCK)
        self._shuffles = [_Shuffle(count, [seed, 2, number]) for number, count in enumerate(frame_counts)]

    def batch(self, step: int) -> np.ndarray:
        """(B,) frame indices of that step."""
        return self.taken(step * self._batch_size, self._batch_size)

    def taken(self, first: int, count: int) -> np.ndarray:
        """(count,) frame indices from the first-th frame on."""
        positions = np.arange(first, first + count)
        frames = np.empty(count, dtype=np.int64)
        for block in np.unique(positions // _BLOCK):
            here = positions // _BLOCK == block
            sources, turns = self._block(int(block))
            within = positions[here] % _BLOCK
            for number, shuffle in enumerate(self._shuffles):
                chosen = np.flatnonzero(here)[sources[within] == number]
                if len(chosen):
                    frames[chosen] = self._first[number] + shuffle.at(turns[positions[chosen] % _BLOCK])
        return frames

    def _block(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """For each position of a block its source, and the how-manieth frame of that source it is."""
        sources = np.repeat(np.arange(len(self._quota)), self._quota)
        np.random.default_rng([self._seed, 3, block]).shuffle(sources)
        turns = np.empty(_BLOCK, dtype=np.int64)
        for number, quota in enumerate(self._quota):
            turns[sources == number] = block * quota + np.arange(quota)
        return sources, turns


class SomeFrames:
    """An order of some of the frames only.

    Args:
        order: of their places among these.
        frames: (M,) their indices, one for each place.
    """

    def __init__(self, order: Order, frames: np.ndarray):
        self._order, self._frames = order, frames

    def batch(self, step: int) -> np.ndarray:
        """(B,) frame indices of that step."""
        return self._frames[self._order.batch(step)]

    def taken(self, first: int, count: int) -> np.ndarray:
        """(count,) frame indices from the first-th frame on."""
        return self._frames[self._order.taken(first, count)]


class _Shuffle:
    """An endless sequence of permutations of `count` indices."""

    def __init__(self, count: int, seed: Sequence[int]):
        self._count = count
        self._seed = list(seed)
        self._epoch = -1
        self._permutation = np.empty(0, dtype=np.int64)

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Indices at those positions of the sequence."""
        found = np.empty(len(positions), dtype=np.int64)
        for epoch in np.unique(positions // self._count):
            here = positions // self._count == epoch
            found[here] = self._of_epoch(int(epoch))[positions[here] % self._count]
        return found

    def _of_epoch(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            self._permutation = np.random.default_rng([*self._seed, epoch]).permutation(self._count)
            self._epoch = epoch
        return self._permutation


def _largest_remainders(weights: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers that add up to `total`, as near to the weights as possible, none of them 0."""
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        raise UserError(f"The datasets' weights are {weights.tolist()}, but each has to be a number above 0.")
    exact = weights / weights.sum() * total
    quota = np.maximum(np.floor(exact), 1).astype(np.int64)
    for number in np.argsort(quota - exact, kind="stable")[: max(0, total - quota.sum())]:
        quota[number] += 1
    quota[np.argmax(quota)] -= quota.sum() - total
    return quota
