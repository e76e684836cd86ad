"""How many frames of each embodiment a training step takes: a function of (seed, step) alone."""

from collections.abc import Sequence

import numpy as np

from dexvla_model.errors import UserError

# Steps whose counts are added up at once.
_BLOCK = 4096
_GOLDEN = (5**0.5 - 1) / 2
# The stream of random numbers that says where the sequence starts.
_START = 5


class BatchShares:
    """Parts every batch among E embodiments.

    Of a batch of B, an embodiment with the share w gets B w frames rounded down or up, so that the counts
    add up to B (systematic sampling, Madow 1949). What decides on the rounding runs through [0, 1) by golden
    sections (Weyl's sequence), which fill it evenly: after n steps the count of an embodiment differs from
    n B w by a few frames, however large n is, and one with less than a frame for each step has its turn
    regularly.

    Args:
        weights: of the embodiments; need not add up to 1.
        batch_size: B, frames of a step over all processes.

    Raises:
        UserError: a weight is no number above 0.
    """

    def __init__(self, weights: Sequence[float], batch_size: int, seed: int):
        weight = np.asarray(weights, dtype=np.float64)
        if not (np.isfinite(weight).all() and (weight > 0).all()):
            raise UserError(
                f"The robots' weights are {weight.tolist()}, but each has to be a number above 0."
            )
        self.batch_size = batch_size
        self._borders = batch_size * np.cumsum(weight / weight.sum())[:-1]
        self._start = np.random.default_rng([seed, _START]).random()
        # Frames before each block of steps: the sums so far, which a longer run goes on with.
        self._before = [np.zeros(len(weight), dtype=np.int64)]

    def counts(self, step: int) -> np.ndarray:
        """(E,) frames of each embodiment in that step's batch."""
        return self._counts(np.array([step]))[0]

    def before(self, step: int) -> np.ndarray:
        """(E,) frames of each embodiment in all batches before that step's."""
        block = step // _BLOCK
        for known in range(len(self._before) - 1, block):
            steps = np.arange(known * _BLOCK, (known + 1) * _BLOCK)
            self._before.append(self._before[known] + self._counts(steps).sum(axis=0))
        return self._before[block] + self._counts(np.arange(block * _BLOCK, step)).sum(axis=0)

    def _counts(self, steps: np.ndarray) -> np.ndarray:
        """Steps (N,) -> counts (N, E)."""
        offset = (self._start + steps * _GOLDEN) % 1.0
        borders = np.floor(offset[:, None] + self._borders).astype(np.int64)
        zero = np.zeros((len(steps), 1), dtype=np.int64)
        whole = np.full((len(steps), 1), self.batch_size)
        return np.diff(np.concatenate([zero, borders, whole], axis=1), axis=1)
