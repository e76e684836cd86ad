"""The robots that a training run learns from, with their frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dexvla_model.checkpoint import Checkpoint
from dexvla_model.data.datasets import frame_order, joined, open_datasets
from dexvla_model.data.order import Order, SomeFrames
from dexvla_model.data.shares import BatchShares
from dexvla_model.data.source import FrameSource, united_objects
from dexvla_model.data.without_sub_steps import FramesWithoutSubSteps
from dexvla_model.errors import UserError
from dexvla_model.robot import RobotDescription, load_robot
from dexvla_model.training.config import INSTRUCTION, TrainingConfig
from dexvla_model.training.data_config import RobotChoice


@dataclass(frozen=True)
class TrainedRobot:
    """A robot, and the frames that a run learns from.

    Attributes:
        choice: what the training file says of it.
        sources: of its datasets. frames: all of them, behind one another.
    """

    choice: RobotChoice
    description: RobotDescription
    sources: Sequence[FrameSource]
    frames: FrameSource

    @property
    def embodiment(self) -> str:
        """Which head of the policy learns."""
        return self.description.embodiment

    def order(self, batch_size: int, seed: int, taken: np.ndarray | None = None) -> Order:
        """In which order its frames are taken; with `taken` (N,) bool only those frames."""
        if taken is None:
            return frame_order(self.sources, self.choice.datasets, batch_size, seed)
        kept = np.flatnonzero(taken)
        ends = np.searchsorted(kept, np.cumsum([0, *map(len, self.sources)]))
        filled = [number for number, count in enumerate(np.diff(ends)) if count]
        choices = [self.choice.datasets[number] for number in filled]
        counts = [range(np.diff(ends)[number]) for number in filled]
        return SomeFrames(frame_order(counts, choices, batch_size, seed), kept)


def open_robots(
    config: TrainingConfig, initial: Checkpoint | None, console: Console
) -> tuple[TrainedRobot, ...]:
    """Open every robot's file and datasets.

    Args:
        initial: the checkpoint to start from; where it knows a robot, its head says the horizon.

    Raises:
        UserError: a robot file or dataset does not fit, or two robots do not go together.
    """
    descriptions = [load_robot(choice.robot) for choice in config.robots]
    for key in ("embodiment", "name"):
        # The model keeps its heads by embodiment, a checkpoint its robot files by name.
        _check_distinct(config, key, [getattr(robot, key) for robot in descriptions])
    if initial is not None:
        _check_names(config, descriptions, initial)
    robots = tuple(
        _opened(config, choice, robot, initial, console)
        for choice, robot in zip(config.robots, descriptions, strict=True)
    )
    objects = objects_of(robots)
    for robot in robots:
        robot.frames.name_objects(objects)
    return robots


def batch_shares(robots: Sequence[TrainedRobot], batch_size: int, seed: int) -> BatchShares:
    """How many frames of a batch each robot gets: by their weights, or every frame of all alike."""
    weights = [
        len(robot.frames) if robot.choice.weight is None else robot.choice.weight for robot in robots
    ]
    return BatchShares(weights, batch_size, seed)


def objects_of(robots: Sequence[TrainedRobot]) -> tuple[str, ...]:
    """Names of all objects that the grounding of some robot's frames knows of; empty without grounding."""
    return united_objects([robot.frames for robot in robots])


def _check_distinct(config: TrainingConfig, key: str, values: Sequence[str]) -> None:
    for index, value in enumerate(values):
        if value in values[:index]:
            first = config.robots[values.index(value)].robot
            raise UserError(
                f"{config.source}: robots[{index}].robot is {config.robots[index].robot!r}, whose {key} "
                f"{value!r} is that of {first!r} too; give one of them another {key}, or join their datasets "
                "in one entry."
            )


def _check_names(
    config: TrainingConfig, descriptions: Sequence[RobotDescription], initial: Checkpoint
) -> None:
    for robot in descriptions:
        for embodiment, known in initial.robots.items():
            if known.name == robot.name and embodiment != robot.embodiment:
                raise UserError(
                    f"{robot.path}: name is {robot.name!r}, but {config.initial_checkpoint} keeps the robot "
                    f"file of its embodiment {embodiment!r} under that name; give this robot another name."
                )


def _horizon(
    config: TrainingConfig, choice: RobotChoice, robot: RobotDescription, initial: Checkpoint | None
) -> int | None:
    """Rows of the robot's chunks: what its head has, if there is one, or what the training file says."""
    if initial is None or robot.embodiment not in initial.model.config.embodiments:
        return config.model.horizon if choice.horizon is None else choice.horizon
    known = initial.model.embodiment(robot.embodiment).head.horizon
    if choice.horizon not in (None, known):
        raise UserError(
            f"{config.source}: the horizon of {choice.robot} is {choice.horizon}, but its head in "
            f"{config.initial_checkpoint} has {known} rows; leave the horizon out or set {known}."
        )
    return known


def _opened(
    config: TrainingConfig,
    choice: RobotChoice,
    robot: RobotDescription,
    initial: Checkpoint | None,
    console: Console,
) -> TrainedRobot:
    horizon = _horizon(config, choice, robot, initial)
    text = TextColumn(f"reading datasets of {robot.name}")
    with Progress(
        text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console, transient=True
    ) as progress:
        bar = progress.add_task("", total=None)
        sources = open_datasets(
            choice.datasets,
            robot,
            horizon,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    frames = FramesWithoutSubSteps(sources) if config.sub_steps == INSTRUCTION else joined(sources)
    return TrainedRobot(choice, robot, sources, frames)
