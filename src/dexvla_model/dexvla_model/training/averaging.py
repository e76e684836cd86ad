"""The average of the weights over the steps (EMA), which is what a checkpoint keeps."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from dexvla_model.training.sharding import like, whole


class WeightAverage:
    """An exponential moving average of the weights that learn; it soon forgets those of the first steps.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), as in TensorFlow's ExponentialMovingAverage.
    Sharded weights have sharded averages.
    """

    def __init__(self, model: nn.Module, decay: float):
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._averages = [weight.detach().clone() for weight in self._weights]
        self._decay = decay
        self._updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights behind a step."""
        decay = min(self._decay, (1.0 + self._updates) / (10.0 + self._updates)) if self._updates else 0.0
        torch._foreach_lerp_(self._averages, [weight.detach() for weight in self._weights], 1.0 - decay)
        self._updates += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within this context the model has the averages as its weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, average in zip(self._weights, self._averages, strict=True):
            kept = weight.detach().clone()
            weight.copy_(average)
            average.copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        """Whole averages; every process has to ask."""
        return {"updates": self._updates, "averages": whole(self._averages)}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises ValueError for averages of another model."""
        for average, saved in zip(self._averages, state["averages"], strict=True):
            average.copy_(like(saved, average))
        self._updates = int(state["updates"])
