"""The resumable state of a run: one file, written at once or not at all."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from dexvla_model.errors import UserError
from dexvla_model.training.averaging import WeightAverage
from dexvla_model.training.learner import Learner
from dexvla_model.training.sharding import fill, fill_optimizer, whole, whole_weights


@dataclass(frozen=True)
class RunState:
    """What changes from step to step and goes into the file, whole however many processes share it.

    Args:
        learner: the module itself, not what Accelerate wrapped around it.
        optimizers: as Accelerate prepared them.
        average: of the weights, or None.
    """

    accelerator: Accelerator
    learner: Learner
    optimizers: Sequence[Any]
    average: WeightAverage | None

    def save(self, path: Path, progress: Mapping[str, Any]) -> None:
        """Write the file, with `progress` (numbers) beside the weights; every process has to ask.

        Raises:
            UserError: the disk is full, or the folder not to be written to.
        """
        state = {
            **progress,
            "model": whole_weights(self.learner.model),
            "extras": {name: whole_weights(extra) for name, extra in self.learner.extras().items()},
            "optimizers": [whole(optimizer.state_dict()) for optimizer in self.optimizers],
            "average": None if self.average is None else self.average.state_dict(),
        }
        if not self.accelerator.is_main_process:
            return
        temporary = path.with_suffix(".tmp")
        try:
            torch.save(state, temporary)
            os.replace(temporary, path)
        except (OSError, RuntimeError) as error:
            temporary.unlink(missing_ok=True)
            raise UserError(
                f"{path}: the state cannot be written ({error}); make room, or set output."
            ) from error

    def load(self, path: Path, source: Path) -> dict[str, Any]:
        """Restore everything; returns the rest.

        Raises:
            UserError: the state is of another model or other optimizers than the training file describes.
        """
        state = torch.load(path, map_location="cpu", weights_only=True)
        try:
            fill(self.learner.model, state.pop("model"))
            for name, extra in self.learner.extras().items():
                fill(extra, state["extras"][name])
            for optimizer, saved in zip(self.optimizers, state.pop("optimizers"), strict=True):
                fill_optimizer(optimizer, saved)
            if self.average is not None:
                self.average.load_state_dict(state["average"])
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise UserError(
                f"{path}: the state there is of another model than {source} describes; "
                "give --restart or another output folder."
            ) from error
        return state
