"""From a checkpoint folder to a policy that drives a robot."""

from pathlib import Path

import torch

from dexvla_model.checkpoint.folder import load_checkpoint
from dexvla_model.dexvla_policy import DexVLAPolicy
from dexvla_model.errors import UserError
from dexvla_model.robot.description import RobotDescription
from dexvla_model.robot.layout import check_same_layout

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_policy(
    path: Path | str, robot: RobotDescription, device: str = "cpu", dtype: str = "float32"
) -> DexVLAPolicy:
    """The policy of a checkpoint for `robot`.

    Args:
        device: as torch names it, such as `cpu` or `cuda:0`.
        dtype: `float32` or `bfloat16`, of the computation.

    Raises:
        UserError: the checkpoint is damaged, has no head for the robot's embodiment, was trained with another
            layout of states, actions or cameras, or the device or dtype is not there.
    """
    if dtype not in _DTYPES:
        raise UserError(f"dtype is {dtype!r}, allowed are {', '.join(_DTYPES)}.")
    try:
        target = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device {device!r} is not available here: use cpu or a device that torch reports."
        ) from error
    path = Path(path)
    checkpoint = load_checkpoint(path)
    if robot.embodiment not in checkpoint.robots:
        known = ", ".join(sorted(checkpoint.robots)) or "none"
        raise UserError(
            f"{path} has no head for the embodiment {robot.embodiment!r} of {robot.path}, it has: {known}."
        )
    check_same_layout(checkpoint.robots[robot.embodiment], robot, path.name)
    return DexVLAPolicy(
        checkpoint.model.to(device=target, dtype=_DTYPES[dtype]),
        checkpoint.tokenizer,
        checkpoint.statistics[robot.embodiment],
        robot,
        name=path.name,
    )
