"""Means of the losses between two log lines."""

from collections.abc import Mapping

import torch


class LossLog:
    """Adds up losses by name; a loss counts in the steps that have it, as an embodiment's may be missing."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._steps: dict[str, int] = {}

    def add(self, losses: Mapping[str, torch.Tensor]) -> None:
        """The losses of one step, scalars by name."""
        for name, loss in losses.items():
            value = loss.detach().float().cpu()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._steps[name] = self._steps.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """The means since the last time this was asked."""
        means = {name: float(total) / self._steps[name] for name, total in self._sums.items()}
        self._sums, self._steps = {}, {}
        return means
