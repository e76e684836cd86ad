"""The training loop: one process on Hugging Face Accelerate, resumable to the step, stopped safely by Ctrl-C."""

import fcntl
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn
from torch.optim.swa_utils import AveragedModel

from dexvla_model.batch import Batch
from dexvla_model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dexvla_model.data.datasets import frame_order, joined, open_datasets
from dexvla_model.data.measure import measure_statistics
from dexvla_model.data.source import FrameSource
from dexvla_model.dexvla import DexVLA, DexVLAConfig
from dexvla_model.errors import UserError
from dexvla_model.expert import SamplingConfig, expert_preset
from dexvla_model.memory import keep_freed_memory
from dexvla_model.robot import load_robot
from dexvla_model.training.batches import BatchBuilder
from dexvla_model.training.config import OptimizationConfig, TrainingConfig
from dexvla_model.training.grounding import GroundingHead
from dexvla_model.training.new_robot import embodiment_of, with_robot
from dexvla_model.training.optimizers import build_optimizers
from dexvla_model.vlm import initialise_number_embeddings
from dexvla_model.vlm.config import backbone_preset
from dexvla_model.vlm.tokenizer import special_token_ids, train_tokenizer

STATE_FILE = "state.pt"
LOG_FILE = "log.jsonl"
LOCK_FILE = "lock"
CHECKPOINT_FOLDER = "checkpoint"
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
        self._robot = load_robot(config.robot)
        optimization = config.optimization
        keep_freed_memory()
        if optimization.threads:
            torch.set_num_threads(optimization.threads)
        loaded = None if config.initial_checkpoint is None else load_checkpoint(config.initial_checkpoint)
        sources = self._open_datasets(loaded)
        self._frames = joined(sources)
        torch.manual_seed(optimization.seed)
        initial = self._new_checkpoint() if loaded is None else self._known_to(loaded)
        self._tokenizer = initial.tokenizer
        self._statistics, self._robots = initial.statistics, initial.robots
        embodiment = self._robot.embodiment
        self._prompt = initial.model.prompt(self._tokenizer, embodiment)
        self._batches = BatchBuilder(
            self._frames,
            embodiment,
            self._statistics[embodiment],
            self._prompt,
            optimization.batch_size,
            optimization.chunks_per_frame,
            optimization.max_delay_frames,
            optimization.seed,
            order=frame_order(sources, config.datasets, optimization.batch_size, optimization.seed),
            augmentation=config.augmentation,
        )
        self._accelerator = Accelerator(mixed_precision=optimization.mixed_precision)
        self._plain_model = initial.model
        self._grounding = GroundingHead(initial.model.config.vlm.width, max(1, len(self._frames.objects)))
        optimizers = build_optimizers(nn.ModuleList([initial.model, self._grounding]), optimization)
        self._model, self._grounding, *self._optimizers = self._accelerator.prepare(
            initial.model, self._grounding, *optimizers
        )
        self._average = None
        if optimization.ema_decay:
            self._average = AveragedModel(self._plain_model, multi_avg_fn=moving_average(optimization.ema_decay))
        self.step = 0
        config.output.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(config.output)
        if restart:
            (config.output / STATE_FILE).unlink(missing_ok=True)
            (config.output / LOG_FILE).unlink(missing_ok=True)
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
        summary = {name: float("nan") for name in _LOGGED}
        columns = (
            TextColumn("step"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        self._model.train()
        try:
            with Progress(*columns, console=self._console) as progress:
                bar = progress.add_task("", total=total, completed=self.step)
                since, sums = time.monotonic(), torch.zeros(len(_LOGGED))
                logged_step = self.step
                for batch in self._batches.batches(self.step, total, optimization.workers):
                    losses = self._train_step(batch)
                    sums += torch.stack([losses[name].detach().float().cpu() for name in _LOGGED])
                    self.step += 1
                    progress.update(bar, completed=self.step)
                    if self.step % logging.log_every_steps == 0 or self.step == total:
                        elapsed_s = time.monotonic() - since
                        count = self.step - logged_step
                        summary = dict(zip(_LOGGED, (sums / count).tolist()))
                        rate = count * optimization.batch_size / elapsed_s
                        self._log(summary | {"samples_per_s": rate})
                        progress.update(
                            bar,
                            description=f"action {summary['action_loss']:.4f}  language {summary['language_loss']:.4f}  "
                            f"accuracy {summary['language_accuracy']:.3f}  {rate:.0f} samples/s",
                        )
                        since, sums, logged_step = time.monotonic(), torch.zeros(len(_LOGGED)), self.step
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

    def _train_step(self, batch: Batch) -> dict[str, torch.Tensor]:
        optimization = self.config.optimization
        scale = learning_rate_scale(optimization, self.step)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = scale * group["peak_lr"]
        batch = batch.to(self._accelerator.device)
        # Noise and time steps are a function of the step, so that a resumed run draws what it would have drawn.
        generator = torch.Generator(device=self._accelerator.device)
        generator.manual_seed(optimization.seed * 1_000_003 + self.step)
        with self._accelerator.autocast():
            losses = self._model(
                batch,
                self._prompt,
                language_weight=optimization.language_weight,
                repeats=optimization.action_samples,
                generator=generator,
                grounding_head=self._grounding,
                grounding_weight=optimization.grounding_weight,
            )
        if not math.isfinite(losses["loss"].item()):
            path = self.config.output / "not_finite.pt"
            plain = {"tokens": vars(batch.tokens), "texts": [vars(text) for text in batch.texts]}
            torch.save({"step": self.step, "batch": vars(batch) | plain}, path)
            raise UserError(
                f"{self.config.source}: the loss is no longer finite at step {self.step} (batch saved in {path}); "
                "lower optimization.learning_rate and run again from the last state."
            )
        self._accelerator.backward(losses["loss"])
        self._accelerator.clip_grad_norm_(self._model.parameters(), optimization.gradient_clip)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if self._average is not None:
            self._average.update_parameters(self._plain_model)
        return losses

    def _open_datasets(self, initial: Checkpoint | None) -> list[FrameSource]:
        horizon = self.config.model.horizon
        if initial is not None and self._robot.embodiment in initial.model.config.embodiments:
            horizon = initial.model.embodiment(self._robot.embodiment).head.horizon
        columns = (TextColumn("reading demonstrations"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            bar = progress.add_task("", total=None)
            return open_datasets(
                self.config.datasets,
                self._robot,
                horizon,
                progress=lambda done, total: progress.update(bar, completed=done, total=total),
            )

    def _known_to(self, loaded: Checkpoint) -> Checkpoint:
        """The initial checkpoint, with a head for the robot where it has none."""
        path = self.config.initial_checkpoint
        initial, added = with_robot(loaded, self._robot, self._frames, path.name)
        if added:
            self._console.print(f"{path} does not know {self._robot.embodiment}: it gets {' and '.join(added)}.")
        return initial

    def _new_checkpoint(self) -> Checkpoint:
        model_config, frames, robot = self.config.model, self._frames, self._robot
        tokenizer = train_tokenizer(frames.texts(), model_config.vocabulary_size)
        vlm = backbone_preset(
            model_config.vlm, special_token_ids(tokenizer), vision=model_config.vision, text=model_config.text
        )
        changes = {"condition_width": vlm.width} | model_config.expert_changes
        config = DexVLAConfig(
            vlm=vlm,
            expert=expert_preset(model_config.expert, **changes),
            embodiments={robot.embodiment: embodiment_of(robot, frames.horizon)},
            sampling=SamplingConfig(noise_scale=model_config.sampling_noise),
        )
        statistics = measure_statistics(frames, robot)
        model = DexVLA(config)
        initialise_number_embeddings(model.vlm, tokenizer)
        return Checkpoint(model, tokenizer, {robot.embodiment: statistics}, {robot.embodiment: robot}, {})

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
        self._console.print(f"Going on from step {self.step} of {path}.")

    def _save_state(self) -> None:
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
        provenance = {
            "command": f"dexvla train --config {self.config.source}",
            "datasets": [str(choice.folder) for choice in self.config.datasets],
            "frames": len(self._frames),
            "steps": self.step,
            "batch_size": self.config.optimization.batch_size,
            "initial_checkpoint": str(self.config.initial_checkpoint or "none"),
        }
        save_checkpoint(folder, Checkpoint(model, self._tokenizer, self._statistics, self._robots, provenance))
        return folder

    def _log(self, values: dict[str, float]) -> None:
        with (self.config.output / LOG_FILE).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": self.step, **values}) + "\n")


def _lock(output: Path) -> TextIO:
    """Hold the output folder for this process; the lock goes with the file object.

    Raises:
        UserError: another run writes there.
    """
    lock = (output / LOCK_FILE).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"{output}: another `dexvla train` is writing there; stop it or set output=FOLDER.") from error
    return lock


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
