"""What a training file says about its data: robots, their datasets, and random changes to images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dexvla_model.data.augmentation import Augmentation
from dexvla_model.data.datasets import DatasetChoice
from dexvla_model.yaml_reader import MappingReader


@dataclass(frozen=True)
class RobotChoice:
    """One entry of `robots` in a training file; `robot` and `datasets` at its top stand for a single one.

    Attributes:
        robot: name or path of the robot file.
        datasets: LeRobot datasets, such as `dexvla demonstrate` makes, all of this robot.
        weight: share of the frames of every batch relative to the other robots'; None where each frame of all
            counts alike. Either every robot has one, or none.
        horizon: rows of this robot's action chunks; None for `model.horizon`, or to take it from
            demonstrations.
    """

    robot: str
    datasets: tuple[DatasetChoice, ...]
    weight: float | None = None
    horizon: int | None = None


def read_robots(reader: MappingReader) -> tuple[RobotChoice, ...]:
    """One robot with its datasets at the top of the file, or a list of several under `robots`."""
    if not reader.has("robots"):
        return (RobotChoice(reader.text("robot"), read_datasets(reader)),)
    for key in ("robot", "datasets"):
        if reader.has(key):
            allowed = "each entry of robots names its own: move it there"
            raise reader.error(key, "given beside robots", allowed)
    choices = []
    for entry in reader.mappings("robots"):
        choice = RobotChoice(
            robot=entry.text("robot"),
            datasets=read_datasets(entry),
            weight=entry.number("weight", 1e-9) if entry.has("weight") else None,
            horizon=entry.integer("horizon", 1, 1000) if entry.has("horizon") else None,
        )
        entry.finish()
        if choice.robot in [other.robot for other in choices]:
            raise entry.error("robot", repr(choice.robot), "a robot has one entry only: join their datasets")
        choices.append(choice)
    _check_weights(reader, choices)
    return tuple(choices)


def _check_weights(reader: MappingReader, choices: Sequence[RobotChoice]) -> None:
    weighted = [choice.weight is not None for choice in choices]
    if any(weighted) and not all(weighted):
        key = f"robots[{weighted.index(False)}].weight"
        raise reader.error(key, "missing", "other robots have one: give every robot a weight, or none")


def read_datasets(reader: MappingReader) -> tuple[DatasetChoice, ...]:
    """Each entry a folder, or a mapping with the folder and how to take it."""
    choices = []
    for entry in reader.entries("datasets", "folder"):
        cameras = entry.mapping("cameras", optional=True).all()
        choice = DatasetChoice(
            folder=Path(entry.text("folder")),
            weight=entry.number("weight", 1e-9) if entry.has("weight") else None,
            only_success=entry.boolean("only_success", default=False),
            cameras={str(role): str(feature) for role, feature in cameras.items()},
            in_memory=entry.boolean("in_memory", default=False) if entry.has("in_memory") else None,
        )
        entry.finish()
        choices.append(choice)
    return tuple(choices)


def read_augmentation(reader: MappingReader) -> Augmentation | None:
    """`none`, `published` for the published recipe, or a mapping that changes some of its values."""
    if not reader.has("augmentation"):
        return None
    if not isinstance(reader.take("augmentation"), dict):
        name = reader.text("augmentation", allowed=("none", "published"))
        return Augmentation() if name == "published" else None
    entry, published = reader.mapping("augmentation"), Augmentation()
    augmentation = Augmentation(
        crop=entry.number("crop", 0.1, 1.0, default=published.crop),
        rotation_deg=entry.number("rotation_deg", 0.0, 180.0, default=published.rotation_deg),
        brightness=entry.number("brightness", 0.0, 1.0, default=published.brightness),
        contrast=entry.number("contrast", 0.0, 1.0, default=published.contrast),
        saturation=entry.number("saturation", 0.0, 1.0, default=published.saturation),
    )
    entry.finish()
    return augmentation
