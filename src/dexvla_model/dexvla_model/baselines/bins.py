"""Actions as tokens: each number of a few rows of a chunk falls into a bin (Kim et al. 2024, "OpenVLA").

As in RT-2 (Brohan et al. 2023) and OpenVLA, a bin is one of 256 equal parts of the range of an action. The
range there is between the 1st and the 99th percentile of the data, so that outliers do not stretch the bins;
here it is that of the statistics by which every model's actions are normalised, [-1, 1] from smallest to
largest, for demonstrations in simulation have no outliers. An action outside falls into the last bin.

OpenVLA says one action at a time, seven tokens. To keep a robot moving while the next answer is made, here a
whole chunk is said, by its knots: every `stride`-th row and the last one, with straight lines between them.
"""

import numpy as np
import torch


def to_bins(actions: torch.Tensor, bins: int) -> torch.Tensor:
    """Normalised actions, of any shape, -> int64 bins from 0 to `bins` - 1."""
    return ((actions.float() + 1) * (bins / 2)).floor().long().clamp(0, bins - 1)


def from_bins(chosen: torch.Tensor, bins: int) -> torch.Tensor:
    """Bins -> normalised actions in the middle of them, float32; off by 1 / `bins` at most."""
    return (2 * chosen.float() + 1) / bins - 1


def knot_rows(horizon: int, stride: int) -> list[int]:
    """Indices of the rows that are said of a chunk of `horizon` rows."""
    return sorted({*range(0, horizon, stride), horizon - 1})


def between_knots(knots: np.ndarray, rows: list[int], at: np.ndarray) -> np.ndarray:
    """Knots (M, A) that stand at `rows`, on straight lines at rows `at` (T,); outside, the nearest knot.

    Returns:
        (T, A).
    """
    return np.stack([np.interp(at, rows, column) for column in knots.T], axis=1)
