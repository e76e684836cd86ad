"""Opening what a training file names as its datasets."""

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dexvla_model.data.demonstrator_labels import labelled_horizon
from dexvla_model.data.lerobot.reader import read_info
from dexvla_model.data.order import FrameOrder, MixtureOrder, Order
from dexvla_model.data.recorded_frames import RecordedFrames
from dexvla_model.data.source import ConcatenatedFrames, FrameSource
from dexvla_model.errors import UserError
from dexvla_model.robot.description import RobotDescription

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DatasetChoice:
    """One entry of `datasets` in a training file.

    Attributes:
        folder: a LeRobot dataset of version 3.0, such as `dexvla demonstrate` makes.
        weight: share of the frames of every batch relative to the other entries'; None where each frame of
            all counts alike. Either every entry has one, or none.
        only_success: leave out episodes that are known to have failed.
        cameras: feature by camera role, where the dataset names them otherwise.
        in_memory: decode all pictures at the start and hold them; None where they take no more than a quarter
            of the free memory.
    """

    folder: Path
    weight: float | None = None
    only_success: bool = False
    cameras: dict[str, str] = field(default_factory=dict)
    in_memory: bool | None = None


def open_datasets(
    choices: Sequence[DatasetChoice],
    robot: RobotDescription,
    horizon: int | None = None,
    progress: Progress = lambda done, total: None,
) -> list[FrameSource]:
    """Open the datasets of one robot.

    Args:
        horizon: rows of an action chunk; None for as many as all demonstrations among the datasets have.
        progress: called with the number of pictures decoded and their total, for each dataset that is held in
            memory.

    Raises:
        UserError: a dataset is missing, damaged, or does not fit the robot, the horizon or the others.
    """
    weighted = [choice.weight is not None for choice in choices]
    if any(weighted) and not all(weighted):
        without = choices[weighted.index(False)].folder
        raise UserError(
            f"datasets: {without} has no weight, but others do; give every dataset a weight, or none."
        )
    if horizon is None:
        labelled = [labelled_horizon(read_info(choice.folder), robot) for choice in choices]
        horizon = min((rows for rows in labelled if rows is not None), default=None)
    sources = [
        RecordedFrames(
            choice.folder, robot, horizon, choice.only_success, choice.cameras, choice.in_memory, progress
        )
        for choice in choices
    ]
    strides = {source.stride for source in sources}
    if len(strides) > 1:
        raise UserError(
            "The datasets' rates differ; bring them to one with `dexvla dataset from-lerobot --fps`."
        )
    return sources


def joined(sources: Sequence[FrameSource]) -> FrameSource:
    """All frames behind one another, as `frame_order` counts them."""
    return sources[0] if len(sources) == 1 else ConcatenatedFrames(sources)


def frame_order(
    sources: Sequence[Sized], choices: Sequence[DatasetChoice], batch_size: int, seed: int
) -> Order:
    """Every frame once an epoch, or in the shares that the datasets' weights say."""
    counts = [len(source) for source in sources]
    weights = [choice.weight for choice in choices]
    if any(weight is None for weight in weights):
        return FrameOrder(int(np.sum(counts)), batch_size, seed)
    return MixtureOrder(counts, weights, batch_size, seed)
