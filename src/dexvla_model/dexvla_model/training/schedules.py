"""What changes over the steps of a training run: the learning rates."""

import math

from dexvla_model.training.optimization_config import OptimizationConfig


def learning_rate_scale(optimization: OptimizationConfig, step: int) -> float:
    """Share of the peak learning rates: linear warm-up, then constant or a cosine down to 2 %."""
    warmup = optimization.warmup_steps
    if step < warmup:
        return (step + 1) / warmup
    if optimization.schedule == "constant":
        return 1.0
    progress = (step - warmup) / max(1, optimization.steps - warmup)
    return 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * progress))
