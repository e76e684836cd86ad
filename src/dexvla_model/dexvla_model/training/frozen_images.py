"""Where the vision tower does not learn, its tokens are made before training begins."""

from collections.abc import Sequence

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from dexvla_model.training.config import TrainingConfig
from dexvla_model.training.image_tokens import FOLDER, ImageTokenTable, WithTower, key_of, table_of_frames
from dexvla_model.training.robots import TrainedRobot


def image_tokens_of(
    model: nn.Module,
    robots: Sequence[TrainedRobot],
    config: TrainingConfig,
    accelerator: Accelerator,
    console: Console,
) -> dict[str, ImageTokenTable]:
    """Image tokens of all frames, by embodiment; none where the tower learns or the images change.

    One process makes them, and all read its file.
    """
    if not isinstance(model, WithTower) or config.train.get("vision") or config.augmentation is not None:
        return {}
    if not config.optimization.precompute_images:
        return {}
    dtype = torch.bfloat16 if config.optimization.mixed_precision == "bf16" else torch.float32
    tables = {}
    with accelerator.main_process_first():
        for robot in robots:
            name = robot.embodiment
            key = key_of(model, name, robot.choice.datasets, len(robot.frames), dtype)
            columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            with Progress(
                TextColumn(f"image tokens of {name}"), *columns, console=console, transient=True
            ) as progress:
                bar = progress.add_task("", total=len(robot.frames))
                tables[name] = table_of_frames(
                    model,
                    name,
                    robot.frames,
                    key,
                    config.output / FOLDER,
                    accelerator.device,
                    dtype,
                    lambda done, total: progress.update(bar, completed=done),
                )
    return tables
