"""Opening what a training file names as its datasets: demonstrations or LeRobot datasets, through one
interface."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dexvla_model.data.frames import load_frames
from dexvla_model.data.lerobot.reader import is_lerobot_dataset
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
        folder: made by `dexvla demonstrate`, or a LeRobot dataset of version 3.0.
        weight: share of the frames of every batch relative to the other entries'; None where each frame of
            all counts
            alike. Either every entry has one, or none.
        only_success: leave out episodes that are known to have failed (LeRobot datasets).
        cameras: feature by camera role, where a LeRobot dataset names them otherwise.
    """

    folder: Path
    weight: float | None = None
    only_success: bool = False
    cameras: dict[str, str] = field(default_factory=dict)


def open_datasets(
    choices: Sequence[DatasetChoice],
    robot: RobotDescription,
    horizon: int | None = None,
    progress: Progress = lambda done, total: None,
) -> list[FrameSource]:
    """Open the datasets of one robot: a source for each, or one for all demonstrations where no weights part
    them.

    Args:
        horizon: rows of an action chunk. Demonstrations bring their own, which LeRobot datasets beside them
            take over.
        progress: called with the number of demonstrations read and their total.

    Raises:
        UserError: a dataset is missing, damaged, or does not fit the robot, the horizon or the others.
    """
    weighted = [choice.weight is not None for choice in choices]
    if any(weighted) and not all(weighted):
        without = choices[weighted.index(False)].folder
        raise UserError(
            f"datasets: {without} has no weight, but others do; give every dataset a weight, or none."
        )
    recorded = [choice for choice in choices if is_lerobot_dataset(choice.folder)]
    demonstrated = [choice for choice in choices if choice not in recorded]
    for choice in demonstrated:
        if choice.cameras or choice.only_success:
            raise UserError(
                f"datasets: {choice.folder} holds demonstrations, which take neither cameras nor "
                f"only_success."
            )
    tables: dict[Path, FrameSource] = {}
    groups = (
        [[choice] for choice in demonstrated] if any(weighted) else [demonstrated] if demonstrated else []
    )
    for group in groups:
        tables[group[0].folder] = load_frames([choice.folder for choice in group], robot, progress)
    horizons = {table.horizon: folder for folder, table in tables.items()}
    if len(horizons) > 1:
        raise UserError(
            f"The datasets have different horizons ({sorted(horizons)}); make them with one --horizon."
        )
    if horizons and horizon is not None and horizon not in horizons:
        folder, found = next(iter(horizons.values())), next(iter(horizons))
        raise UserError(
            f"{folder}: action chunks have {found} rows there, but the model has {horizon}; set that horizon."
        )
    horizon = next(iter(horizons), horizon)
    if horizon is None:
        raise UserError(
            f"{recorded[0].folder}: a LeRobot dataset does not say how many rows an action chunk has; give "
            f"model.horizon."
        )
    sources: list[FrameSource] = []
    for choice in choices:
        if choice.folder in tables:
            sources.append(tables[choice.folder])
        elif choice in recorded:
            sources.append(RecordedFrames(choice.folder, robot, horizon, choice.only_success, choice.cameras))
    objects = {source.objects: source for source in sources if source.objects}
    if len(objects) > 1:
        raise UserError(
            f"The datasets name different objects ({sorted(objects)}); train on datasets of one task."
        )
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
    sources: Sequence[FrameSource], choices: Sequence[DatasetChoice], batch_size: int, seed: int
) -> Order:
    """Every frame once an epoch, or in the shares that the datasets' weights say."""
    counts = [len(source) for source in sources]
    weights = [choice.weight for choice in choices]
    if any(weight is None for weight in weights):
        return FrameOrder(int(np.sum(counts)), batch_size, seed)
    return MixtureOrder(counts, weights, batch_size, seed)
