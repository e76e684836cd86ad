"""From a checkpoint folder to a policy that drives a robot."""

from pathlib import Path

import torch

from dexvla_model.checkpoint.folder import Checkpoint, load_checkpoint
from dexvla_model.checkpoint.kinds import EXPERT, kind_of, policy_class_of
from dexvla_model.errors import UserError
from dexvla_model.normalization import Statistics
from dexvla_model.policy import Policy
from dexvla_model.robot.description import RobotDescription
from dexvla_model.robot.layout import check_same_layout

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_policy(
    path: Path | str,
    robot: RobotDescription,
    device: str = "cpu",
    dtype: str = "float32",
    compile_network: bool = False,
) -> Policy:
    """The policy of a checkpoint for `robot`.

    Args:
        device: as torch names it, such as `cpu` or `cuda:0`.
        dtype: `float32` or `bfloat16`, of the computation.
        compile_network: compile the expert with torch.compile, see `dexvla_model.acting.ExpertActor`.

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
    checkpoint = load_checkpoint(path, _DTYPES[dtype], target)
    if kind_of(checkpoint.model.config) == EXPERT:
        raise UserError(
            f"{path} is an expert alone and cannot drive: join it with a backbone by "
            f"`dexvla checkpoint import QWEN_FOLDER --stage1 {path}`, and train that."
        )
    trained_robot, statistics = _trained_with(path, checkpoint, robot)
    check_same_layout(trained_robot, robot, f"the checkpoint {path.name}")
    # The weights are there already; this moves the buffers.
    model = checkpoint.model.to(device=target, dtype=_DTYPES[dtype])
    return policy_class_of(model.config)(
        model,
        checkpoint.tokenizer,
        statistics,
        robot,
        name=path.name,
        compile_network=compile_network,
        pack_weights=True,
    )


def _trained_with(
    path: Path, checkpoint: Checkpoint, robot: RobotDescription
) -> tuple[RobotDescription, Statistics]:
    """The robot file and the statistics that the head for `robot` was trained with."""
    name = robot.embodiment
    if name not in checkpoint.model.config.embodiments:
        known = ", ".join(sorted(checkpoint.model.config.embodiments)) or "none"
        raise UserError(f"{path} has no head for the embodiment {name!r} of {robot.path}, it has: {known}.")
    if name not in checkpoint.statistics:
        raise UserError(
            f"{path}: the head {name!r} was imported without statistics and cannot drive: import it again "
            "with "
            "--statistics FILE, or train it."
        )
    if name not in checkpoint.robots:
        raise UserError(
            f"{path}: the head {name!r} was imported without a robot file and cannot drive: give it one with "
            f"`dexvla checkpoint import {path} --out FOLDER --robot {robot.path}`."
        )
    return checkpoint.robots[name], checkpoint.statistics[name]
