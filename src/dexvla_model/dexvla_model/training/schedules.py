"""What changes over the steps of a training run: learning rates, and the average of the weights."""

import math
from collections.abc import Callable

import torch

from dexvla_model.training.config import OptimizationConfig


def learning_rate_scale(optimization: OptimizationConfig, step: int) -> float:
    """Share of the peak learning rates: linear warm-up, then constant or a cosine down to 2 %."""
    warmup = optimization.warmup_steps
    if step < warmup:
        return (step + 1) / warmup
    if optimization.schedule == "constant":
        return 1.0
    progress = (step - warmup) / max(1, optimization.steps - warmup)
    return 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * progress))


def moving_average(decay: float) -> Callable[[list[torch.Tensor], list[torch.Tensor], torch.Tensor], None]:
    """An exponential moving average for `AveragedModel` that soon forgets the weights of the first steps.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), as in TensorFlow's ExponentialMovingAverage.
    """

    @torch.no_grad()
    def average(averages: list[torch.Tensor], weights: list[torch.Tensor], updates: torch.Tensor) -> None:
        count = float(updates)
        torch._foreach_lerp_(averages, weights, 1.0 - min(decay, (1.0 + count) / (10.0 + count)))

    return average
