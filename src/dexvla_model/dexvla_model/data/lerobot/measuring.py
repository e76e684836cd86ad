"""A dataset's statistics anew, from its frames."""

from collections.abc import Callable

import numpy as np

from dexvla_model.data.lerobot.layout import STATS_FILE, write_json
from dexvla_model.data.lerobot.pictures import Pictures
from dexvla_model.data.lerobot.reader import DatasetReader
from dexvla_model.data.lerobot.statistics import (
    FeatureStatistics,
    ImageStatistics,
    statistics_to_json,
    vector_statistics,
)
from dexvla_model.data.lerobot.storage import writing_to

# Pictures per camera that are looked at.
_SAMPLED_IMAGES = 1000


def measure_dataset(
    reader: DatasetReader, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, FeatureStatistics]:
    """Statistics of every vector and camera: numbers over all frames, quantiles exact; pictures over evenly
    spaced ones.

    Args:
        progress: called with the number of features measured and their total.
    """
    pictures, measured = Pictures(reader), {}
    names = [*reader.info.measured_keys, *reader.info.camera_keys]
    for done, name in enumerate(names):
        progress(done, len(names))
        if name in reader.info.measured_keys:
            measured[name] = vector_statistics(reader.columns([name])[name])
            continue
        counted = ImageStatistics()
        frames = np.unique(np.linspace(0, reader.total_frames - 1, _SAMPLED_IMAGES).astype(int))
        for part in np.array_split(frames, max(1, len(frames) // 32)):
            for image in pictures.get(name, part):
                counted.add(image)
        measured[name] = counted.result()
    progress(len(names), len(names))
    return measured


def write_statistics(reader: DatasetReader, statistics: dict[str, FeatureStatistics]) -> None:
    """Replace `meta/stats.json`."""
    with writing_to(reader.folder):
        write_json(reader.folder / STATS_FILE, statistics_to_json(statistics))
