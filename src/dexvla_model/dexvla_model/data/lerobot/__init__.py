"""LeRobot datasets, version 3.0: writing them, and reading ours and others'."""

from dexvla_model.data.lerobot.episode_writer import EpisodeWriter, InvalidFrame
from dexvla_model.data.lerobot.language import SubStepMark, marks_of_texts
from dexvla_model.data.lerobot.layout import DatasetInfo, FileLimits
from dexvla_model.data.lerobot.specification import DatasetSpecification
from dexvla_model.data.lerobot.staging import EpisodeRecord
from dexvla_model.data.lerobot.video import VideoSettings
from dexvla_model.data.lerobot.writer import DatasetWriter

__all__ = [
    "DatasetInfo",
    "DatasetSpecification",
    "DatasetWriter",
    "EpisodeRecord",
    "EpisodeWriter",
    "FileLimits",
    "InvalidFrame",
    "SubStepMark",
    "VideoSettings",
    "marks_of_texts",
]
