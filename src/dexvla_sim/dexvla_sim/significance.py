"""How sure a measured rate, mean or difference is: 95 % intervals and paired tests."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

CONFIDENCE = 0.95
_RESAMPLES = 10_000


def success_interval(successes: int, episodes: int) -> tuple[float, float]:
    """Wilson's score interval of a success rate at 95 % (Wilson 1927)."""
    interval = binomtest(successes, episodes).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean at 95 % (Efron 1979); a function of the values alone.

    Values that are all alike give an interval of no width: the bootstrap knows no others.
    """
    sample = np.asarray(values, dtype=float)
    # A fixed seed: the same episodes always give the same table.
    draws = np.random.default_rng(0).integers(len(sample), size=(_RESAMPLES, len(sample)))
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(sample[draws].mean(axis=1), [tail, 100.0 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class PairedDifference:
    """Two policies on the same seeds, first minus second.

    Attributes:
        seeds: how many seeds both have.
        only_first, only_second: on how many of them one alone succeeded.
        p_value: of McNemar's exact test of equal success rates (McNemar 1947): how likely so lopsided a count
            of those is if the two were equally good.
        success, score: difference of success rate and of mean score; the intervals are the paired bootstrap's
            at 95 %.
    """

    seeds: int
    only_first: int
    only_second: int
    p_value: float
    success: float
    success_interval: tuple[float, float]
    score: float
    score_interval: tuple[float, float]


def paired_difference(
    first: Sequence[tuple[bool, float]], second: Sequence[tuple[bool, float]]
) -> PairedDifference:
    """Compare (success, score) of two policies, seed by seed in the same order.

    Raises:
        ValueError: the two are not of the same length, or empty.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"cannot pair {len(first)} with {len(second)} episodes")
    one, other = np.array(first, dtype=float), np.array(second, dtype=float)
    difference = one - other
    only_first, only_second = int((difference[:, 0] > 0).sum()), int((difference[:, 0] < 0).sum())
    discordant = only_first + only_second
    p_value = float(binomtest(only_first, discordant).pvalue) if discordant else 1.0
    return PairedDifference(
        seeds=len(first),
        only_first=only_first,
        only_second=only_second,
        p_value=p_value,
        success=float(difference[:, 0].mean()),
        success_interval=mean_interval(difference[:, 0]),
        score=float(difference[:, 1].mean()),
        score_interval=mean_interval(difference[:, 1]),
    )
