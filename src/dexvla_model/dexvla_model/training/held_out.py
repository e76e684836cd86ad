"""Episodes that a run does not learn from, and the losses on them."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from dexvla_model.errors import UserError
from dexvla_model.training.averaging import WeightAverage
from dexvla_model.training.config import TrainingConfig
from dexvla_model.training.loss_log import LossLog
from dexvla_model.training.mixture import BatchMixture
from dexvla_model.training.robots import TrainedRobot


def held_out_frames(config: TrainingConfig, robots: Sequence[TrainedRobot]) -> dict[str, np.ndarray]:
    """By embodiment, (N,) bool: the frames of held-out episodes, of each dataset its share of them.

    A dataset with a single episode keeps it.

    Raises:
        UserError: a robot has no episode to spare.
    """
    held = {}
    for robot in robots:
        rng = np.random.default_rng([config.optimization.seed, 5])
        parts = []
        for source in robot.sources:
            ends = np.unique(source.last_frame)
            count = min(max(1, round(config.validation.share * len(ends))), len(ends) - 1)
            parts.append(np.isin(source.last_frame, rng.permutation(ends)[:count]))
        held[robot.embodiment] = np.concatenate(parts)
        if not held[robot.embodiment].any():
            raise UserError(
                f"{config.source}: validation holds out episodes, but {robot.choice.robot} has one in each "
                "dataset only: record more, or leave validation out."
            )
    return held


class Validation:
    """Measures a model by held-out frames: every time by the same batches, with the same noise.

    Args:
        batches: of held-out frames, this process' part of them.
        count: how many of them are taken.
    """

    def __init__(self, batches: BatchMixture, count: int, accelerator: Accelerator, seed: int):
        self._batches, self._count = batches, count
        self._accelerator, self._seed = accelerator, seed

    @torch.no_grad()
    def losses(self, model: nn.Module, average: WeightAverage | None) -> dict[str, float]:
        """Means of all losses, `validation_` before their names; every process has to ask."""
        found, device = LossLog(), self._accelerator.device
        model.eval()
        with nullcontext() if average is None else average.in_place():
            for number in range(self._count):
                generator = torch.Generator(device=device).manual_seed(self._seed * 1_000_003 + number)
                batch = [part.to(device) for part in self._batches.batch(number)]
                with self._accelerator.autocast():
                    found.add(model(batch, generator))
        model.train()
        means = found.take()
        if self._accelerator.num_processes > 1:
            means = self._over_processes(means)
        return {f"validation_{name}": value for name, value in means.items()}

    def _over_processes(self, means: Mapping[str, float]) -> dict[str, float]:
        """Over all processes, of losses that all have: one may have seen no frame of some robot."""
        names = sorted(name for name in means if "." not in name)
        values = torch.tensor([means[name] for name in names], device=self._accelerator.device)
        reduced = self._accelerator.reduce(values, "mean").tolist()
        return dict(zip(names, reduced, strict=True))
