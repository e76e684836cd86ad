"""Statistics of features as LeRobot writes them: min, max, mean, std, count and the quantiles 1, 10, 50, 90,
99 %."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
# Larger images are thinned to about this side length before they are counted, as LeRobot does.
_THINNED_SIDE, _THIN_FROM_SIDE = 150, 300

FeatureStatistics = dict[str, np.ndarray]


def vector_statistics(values: np.ndarray) -> FeatureStatistics:
    """Statistics (D,) of values (N,) or (N, D), exact; `count` is (1,)."""
    values = np.asarray(values, dtype=np.float64)
    values = values.reshape(len(values), -1)
    found = {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "count": np.array([len(values)]),
    }
    levels = np.quantile(values, list(QUANTILES.values()), axis=0)
    return found | dict(zip(QUANTILES, levels))


class ImageStatistics:
    """Per-channel statistics of uint8 images over all pixels of the images that are added, exact by counting
    values."""

    def __init__(self) -> None:
        self._counts = np.zeros((3, 256), dtype=np.int64)
        self._images = 0

    def add(self, image: np.ndarray) -> None:
        """Count one (H, W, 3) uint8 image."""
        longest = max(image.shape[:2])
        step = max(1, longest // _THINNED_SIDE) if longest >= _THIN_FROM_SIDE else 1
        thinned = image[::step, ::step]
        for channel in range(3):
            self._counts[channel] += np.bincount(thinned[:, :, channel].ravel(), minlength=256)
        self._images += 1

    def result(self) -> FeatureStatistics:
        """Statistics of shape (3, 1, 1) in [0, 1]; `count` is the number of images."""
        values = np.arange(256) / 255.0
        weights = self._counts / self._counts.sum(axis=1, keepdims=True)
        mean = weights @ values
        variance = np.maximum(weights @ values**2 - mean**2, 0.0)
        shares = np.cumsum(weights, axis=1)
        found = {
            "min": values[np.argmax(self._counts > 0, axis=1)],
            "max": values[255 - np.argmax(self._counts[:, ::-1] > 0, axis=1)],
            "mean": mean,
            "std": np.sqrt(variance),
        }
        for name, share in QUANTILES.items():
            found[name] = values[np.argmax(shares >= share - 1e-12, axis=1)]
        shaped = {name: value.reshape(3, 1, 1) for name, value in found.items()}
        return shaped | {"count": np.array([self._images])}


def aggregate(parts: Sequence[Mapping[str, np.ndarray]]) -> FeatureStatistics:
    """Statistics of the union of parts that are given by their statistics.

    Mean and standard deviation are exact (parallel variance). Quantiles of a union do not follow from those
    of its parts: as in LeRobot, the lower ones and the median are the least, the upper ones the greatest of
    the parts'.
    """
    counts = np.array([float(np.ravel(part["count"])[0]) for part in parts])
    means = np.stack([part["mean"] for part in parts])
    spreads = np.stack([part["std"] for part in parts])
    shares = (counts / counts.sum()).reshape(-1, *([1] * (means.ndim - 1)))
    mean = (means * shares).sum(axis=0)
    variance = ((spreads**2 + (means - mean) ** 2) * shares).sum(axis=0)
    found = {
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": np.array([int(counts.sum())]),
    }
    for name, share in QUANTILES.items():
        if all(name in part for part in parts):
            extreme = np.min if share <= 0.5 else np.max
            found[name] = extreme([part[name] for part in parts], axis=0)
    return found


def statistics_to_json(statistics: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, Any]]:
    """Nested lists, as in `meta/stats.json`."""
    return {
        feature: {name: np.asarray(value).tolist() for name, value in values.items()}
        for feature, values in statistics.items()
    }


def statistics_from_json(content: Mapping[str, Mapping[str, Any]]) -> dict[str, FeatureStatistics]:
    """The inverse of `statistics_to_json`; missing (null) values are left out."""
    return {
        feature: {name: np.asarray(value) for name, value in values.items() if value is not None}
        for feature, values in content.items()
    }
