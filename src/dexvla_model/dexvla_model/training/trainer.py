"""The training loop on Hugging Face Accelerate, resumable to the step, stopped safely by Ctrl-C."""

import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch.optim.swa_utils import AveragedModel

from dexvla_model.batch import Batch
from dexvla_model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dexvla_model.errors import UserError
from dexvla_model.memory import keep_freed_memory
from dexvla_model.training.batches import Shard
from dexvla_model.training.config import TrainingConfig
from dexvla_model.training.grounding import Grounded, GroundingHead
from dexvla_model.training.loss_log import LossLog
from dexvla_model.training.mixture import mixture_of
from dexvla_model.training.new_model import new_checkpoint
from dexvla_model.training.new_robot import with_robot
from dexvla_model.training.optimizers import build_optimizers
from dexvla_model.training.robots import objects_of, open_robots
from dexvla_model.training.run_folder import (
    CHECKPOINT_FOLDER,
    LOG_FILE,
    STATE_FILE,
    forget_lines_after,
    forget_run,
    lock_folder,
)
from dexvla_model.training.schedules import learning_rate_scale, moving_average

_LOGGED = ("loss", "action_loss", "language_loss", "grounding_loss", "language_accuracy")


class Trainer:
    """Fits DexVLA to demonstrations as a training file says. See `run`.

    Args:
        console: where progress is shown.
        restart: begin anew instead of going on with the state in the output folder.

    Raises:
        UserError: something in the training file does not fit: robot, datasets, presets, initial checkpoint.
    """

    def __init__(self, config: TrainingConfig, console: Console | None = None, restart: bool = False):
        self.config = config
        self._console = console or Console(stderr=True)
        optimization = config.optimization
        keep_freed_memory()
        if optimization.threads:
            torch.set_num_threads(optimization.threads)
        # A process may see no frame of some robot in a step, so not every weight has a gradient there.
        spread = DistributedDataParallelKwargs(find_unused_parameters=True)
        precision = optimization.mixed_precision
        self._accelerator = Accelerator(mixed_precision=precision, kwargs_handlers=[spread])
        self._console.quiet |= not self._accelerator.is_main_process
        loaded = None if config.initial_checkpoint is None else load_checkpoint(config.initial_checkpoint)
        self._robots = open_robots(config, loaded, self._console)
        torch.manual_seed(optimization.seed)
        self._initial = (
            new_checkpoint(config.model, self._robots) if loaded is None else self._known_to(loaded)
        )
        self._plain_model = self._initial.model
        self._prompts = {
            robot.embodiment: self._plain_model.prompt(self._initial.tokenizer, robot.embodiment)
            for robot in self._robots
        }
        shard = Shard(self._accelerator.process_index, self._accelerator.num_processes)
        self._batches = mixture_of(self._robots, self._prompts, self._initial.statistics, config, shard)
        objects = objects_of(self._robots)
        self._grounding = GroundingHead(self._plain_model.config.vlm.width, max(1, len(objects)))
        together = Grounded(self._plain_model, self._grounding)
        optimizers = build_optimizers(together, optimization)
        self._model, *self._optimizers = self._accelerator.prepare(together, *optimizers)
        self._average = None
        if optimization.ema_decay:
            average = moving_average(optimization.ema_decay)
            self._average = AveragedModel(self._plain_model, multi_avg_fn=average)
        self.step = 0
        config.output.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(config.output) if self._accelerator.is_main_process else None
        if restart and self._accelerator.is_main_process:
            forget_run(config.output)
        self._accelerator.wait_for_everyone()
        self._resume()

    def run(self) -> dict:
        """Train to the last step and write the checkpoint.

        Returns:
            a JSON-able summary: checkpoint folder, steps, losses of the last log line.

        Raises:
            UserError: the loss is no longer finite; the batch is in the output folder for inspection.
            KeyboardInterrupt: passed on after the state was saved.
        """
        optimization, logging = self.config.optimization, self.config.logging
        total = optimization.steps
        logged = {*_LOGGED, *self._embodiment_losses()}
        summary = {name: float("nan") for name in _LOGGED}
        columns = (
            TextColumn("step"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        self._model.train()
        try:
            with Progress(*columns, console=self._console) as progress:
                bar = progress.add_task("", total=total, completed=self.step)
                since, sums = time.monotonic(), LossLog()
                logged_step = self.step
                for batch in self._batches.batches(self.step, total, optimization.workers):
                    losses = self._train_step(batch)
                    sums.add({name: loss for name, loss in losses.items() if name in logged})
                    self.step += 1
                    progress.update(bar, completed=self.step)
                    if self.step % logging.log_every_steps == 0 or self.step == total:
                        elapsed_s = time.monotonic() - since
                        count = self.step - logged_step
                        summary = sums.take()
                        rate = count * optimization.batch_size / elapsed_s
                        self._log(summary | {"samples_per_s": rate})
                        progress.update(
                            bar,
                            description=f"action {summary['action_loss']:.4f}  "
                            f"language {summary['language_loss']:.4f}  "
                            f"accuracy {summary['language_accuracy']:.3f}  {rate:.0f} samples/s",
                        )
                        since, logged_step = time.monotonic(), self.step
                    if self.step % logging.checkpoint_every_steps == 0 and self.step < total:
                        self._save_state()
                        self._save_checkpoint()
        except KeyboardInterrupt:
            self._save_state()
            self._console.print(f"Stopped at step {self.step}; the same command goes on from there.")
            raise
        self._save_state()
        folder = self._save_checkpoint()
        return {"checkpoint": str(folder), "steps": self.step, **summary}

    def _embodiment_losses(self) -> list[str]:
        """Names of the losses of the embodiments; of one alone it is the action loss."""
        return [f"action_loss.{name}" for name in self._prompts] if len(self._prompts) > 1 else []

    def _train_step(self, batch: Sequence[Batch]) -> dict[str, torch.Tensor]:
        optimization = self.config.optimization
        scale = learning_rate_scale(optimization, self.step)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = scale * group["peak_lr"]
        batch = [part.to(self._accelerator.device) for part in batch]
        # Noise and time steps are a function of the step: a resumed run draws what it would have drawn.
        generator = torch.Generator(device=self._accelerator.device)
        process = self._accelerator.process_index * 1_000_000_007
        generator.manual_seed(optimization.seed * 1_000_003 + self.step + process)
        with self._accelerator.autocast():
            losses = self._model(
                batch,
                [self._prompts[part.embodiment] for part in batch],
                language_weight=optimization.language_weight,
                repeats=optimization.action_samples,
                generator=generator,
                grounding_weight=optimization.grounding_weight,
            )
        if not math.isfinite(losses["loss"].item()):
            path = self.config.output / "not_finite.pt"
            torch.save({"step": self.step, "batch": [_plain(part) for part in batch]}, path)
            raise UserError(
                f"{self.config.source}: the loss is no longer finite at step {self.step} (batch saved in "
                f"{path}); lower optimization.learning_rate and run again from the last state."
            )
        self._accelerator.backward(losses["loss"])
        self._accelerator.clip_grad_norm_(self._plain_model.parameters(), optimization.gradient_clip)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if self._average is not None:
            self._average.update_parameters(self._plain_model)
        return losses

    def _known_to(self, loaded: Checkpoint) -> Checkpoint:
        """The initial checkpoint, with a head for each robot that has none."""
        path = self.config.initial_checkpoint
        for robot in self._robots:
            loaded, added = with_robot(loaded, robot.description, robot.frames, path.name)
            if added:
                news = ' and '.join(added)
                self._console.print(f"{path} does not know {robot.embodiment}: it gets {news}.")
        return loaded

    def _resume(self) -> None:
        path = self.config.output / STATE_FILE
        if not path.is_file():
            return
        state = torch.load(path, map_location=self._accelerator.device, weights_only=True)
        try:
            self._plain_model.load_state_dict(state["model"])
            self._grounding.load_state_dict(state["grounding"])
            for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            if self._average is not None:
                self._average.load_state_dict(state["average"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise UserError(
                f"{path}: the state there is of another model than {self.config.source} describes; "
                "give --restart or another output folder."
            ) from error
        self.step = state["step"]
        if self._accelerator.is_main_process:
            forget_lines_after(self.config.output / LOG_FILE, self.step)
        self._console.print(f"Going on from step {self.step} of {path}.")

    def _save_state(self) -> None:
        if not self._accelerator.is_main_process:
            return
        state = {
            "step": self.step,
            "model": self._plain_model.state_dict(),
            "grounding": self._grounding.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "average": self._average.state_dict() if self._average is not None else None,
        }
        path = self.config.output / STATE_FILE
        temporary = path.with_suffix(".tmp")
        torch.save(state, temporary)
        os.replace(temporary, path)

    def _save_checkpoint(self) -> Path:
        model = self._plain_model if self._average is None else self._average.module
        folder = self.config.output / CHECKPOINT_FOLDER
        if not self._accelerator.is_main_process:
            return folder
        provenance = {
            "command": f"dexvla train --config {self.config.source}",
            "datasets": [str(choice.folder) for robot in self.config.robots for choice in robot.datasets],
            "frames": sum(len(robot.frames) for robot in self._robots),
            "steps": self.step,
            "batch_size": self.config.optimization.batch_size,
            "initial_checkpoint": str(self.config.initial_checkpoint or "none"),
        }
        save_checkpoint(folder, replace(self._initial, model=model, provenance=provenance))
        return folder

    def _log(self, values: dict[str, float]) -> None:
        if not self._accelerator.is_main_process:
            return
        with (self.config.output / LOG_FILE).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": self.step, **values}) + "\n")


def _plain(batch: Batch) -> dict:
    """A batch as tensors, texts and tables, which `torch.load` takes with weights only."""
    texts = [vars(text) for text in batch.texts]
    return vars(batch) | {"tokens": vars(batch.tokens), "texts": texts}
