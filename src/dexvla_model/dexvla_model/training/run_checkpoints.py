"""The checkpoints of a run: the last one, and the best by held-out episodes."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from dexvla_model.checkpoint import Checkpoint, save_checkpoint
from dexvla_model.resources import checkpoint_name
from dexvla_model.training.averaging import WeightAverage
from dexvla_model.training.config import TrainingConfig
from dexvla_model.training.robots import TrainedRobot
from dexvla_model.training.sharding import whole_weights
from dexvla_model.training.stages import LORA


@dataclass(frozen=True)
class _KeptModel:
    """What `save_checkpoint` asks of a model: its configuration, and tensors that are no longer in it."""

    config: Any
    tensors: dict[str, torch.Tensor]

    def state_dict(self, keep_vars: bool = False) -> dict[str, torch.Tensor]:
        return self.tensors


@dataclass(frozen=True)
class RunCheckpoints:
    """Writes checkpoints: averaged weights where there are some, adapters merged, shards put together.

    Args:
        initial: tokenizer, statistics and robot files. model: that is trained.
    """

    config: TrainingConfig
    initial: Checkpoint
    model: nn.Module
    robots: Sequence[TrainedRobot]
    average: WeightAverage | None
    accelerator: Accelerator

    def save(self, folder: Path, step: int, measured: dict[str, float] | None = None) -> Path:
        """Write the folder; every process has to ask.

        Args:
            measured: losses that belong to it, for its provenance.
        """
        with nullcontext() if self.average is None else self.average.in_place():
            tensors = whole_weights(self.model)
            if self.config.train.get("language_model") == LORA:
                from dexvla_model.training.lora import merged

                tensors = merged(self.model, tensors)
            if self.accelerator.is_main_process:
                kept = _KeptModel(self.model.config, tensors)
                provenance = self._provenance(step) | (measured or {})
                save_checkpoint(folder, replace(self.initial, model=kept, provenance=provenance))
        return folder

    def _provenance(self, step: int) -> dict[str, Any]:
        return {
            "command": f"dexvla train --config {self.config.source}",
            "overrides": list(self.config.overrides),
            "stage": self.config.stage,
            "datasets": [str(choice.folder) for robot in self.config.robots for choice in robot.datasets],
            "frames": sum(len(robot.frames) for robot in self.robots),
            "steps": step,
            "batch_size": self.config.optimization.batch_size,
            "initial_checkpoint": _named(self.config.initial_checkpoint),
            "vlm_checkpoint": _named(self.config.model.vlm_checkpoint),
        }


def _named(folder: Path | None) -> str:
    return "none" if folder is None else checkpoint_name(folder)
