"""The training loop on Hugging Face Accelerate, resumable to the step, stopped safely by Ctrl-C."""

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from rich.console import Console

from dexvla_model.batch import Batch
from dexvla_model.errors import UserError
from dexvla_model.memory import keep_freed_memory
from dexvla_model.training.averaging import WeightAverage
from dexvla_model.training.batches import Shard
from dexvla_model.training.config import TrainingConfig
from dexvla_model.training.failures import BatchFailed, explanation, keep_batch
from dexvla_model.training.frozen_images import image_tokens_of
from dexvla_model.training.held_out import Validation, held_out_frames
from dexvla_model.training.learner import learner_of
from dexvla_model.training.mixture import mixture_of
from dexvla_model.training.optimizers import build_optimizers
from dexvla_model.training.parts import said_of, set_trained, trained_sizes
from dexvla_model.training.repeated_blocks import checkpoint_gradients, compile_blocks
from dexvla_model.training.robots import objects_of, open_robots
from dexvla_model.training.run_checkpoints import RunCheckpoints
from dexvla_model.training.run_folder import (
    BEST_FOLDER,
    CARRIED_OVER_FILE,
    CHECKPOINT_FOLDER,
    LOG_FILE,
    STATE_FILE,
    forget_lines_after,
    forget_run,
    lock_folder,
)
from dexvla_model.training.run_log import RunLog
from dexvla_model.training.run_state import RunState
from dexvla_model.training.schedules import learning_rate_scale
from dexvla_model.training.start import load_initial, start_of
from dexvla_model.training.stopping import StopRequests


class Trainer:
    """Fits a model to demonstrations as a training file says. See `run`.

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
        initial = load_initial(config)
        self._robots = open_robots(config, initial, self._console)
        torch.manual_seed(optimization.seed)
        start = start_of(config, initial, self._robots)
        self._plain_model = start.checkpoint.model
        set_trained(self._plain_model, config.train, optimization.lora)
        config.output.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(config.output) if self._accelerator.is_main_process else None
        if restart and self._accelerator.is_main_process:
            forget_run(config.output)
        self._tell(start.report)
        embodiments = [robot.embodiment for robot in self._robots]
        learner = learner_of(start.checkpoint, embodiments, len(objects_of(self._robots)), optimization)
        self._plain_model.to(self._accelerator.device)
        tokens = image_tokens_of(self._plain_model, self._robots, config, self._accelerator, self._console)
        if optimization.gradient_checkpointing:
            checkpoint_gradients(self._plain_model)
        if optimization.compile_blocks:
            compile_blocks(self._plain_model)
        self._model, *self._optimizers = self._accelerator.prepare(
            learner, *build_optimizers(learner, optimization)
        )
        self._weights = [weight for weight in learner.parameters() if weight.requires_grad]
        held = None if config.validation is None else held_out_frames(config, self._robots)
        taken = None if held is None else {name: ~mask for name, mask in held.items()}
        every = (self._robots, learner.prompts, start.checkpoint.statistics, config)
        self._shards = self._own_shards()
        self._mixtures = [mixture_of(*every, shard, tokens, taken) for shard in self._shards]
        self._validation = None
        if held is not None:
            shard = Shard(self._accelerator.process_index, self._accelerator.num_processes)
            mixture = mixture_of(*every, shard, tokens, held)
            batches, seed = config.validation.batches, optimization.seed
            self._validation = Validation(mixture, batches, self._accelerator, seed)
        self._average = None
        if optimization.ema_decay:
            self._average = WeightAverage(self._plain_model, optimization.ema_decay)
        self._state = RunState(self._accelerator, learner, self._optimizers, self._average)
        self._checkpoints = RunCheckpoints(
            config, start.checkpoint, self._plain_model, self._robots, self._average, self._accelerator
        )
        self.step, self._best, self._between_steps = 0, math.inf, True
        self._accelerator.wait_for_everyone()
        self._resume()

    def run(self) -> dict:
        """Train to the last step and write the checkpoint.

        Returns:
            a JSON-able summary: checkpoint folder, steps, losses of the last log line.

        Raises:
            UserError: the loss is no longer finite (the batch is in the output folder for inspection), memory
                or disk are full, or a batch could not be made; the state was saved where it could.
            KeyboardInterrupt: passed on after the state was saved.
        """
        config, total = self.config, self.config.optimization.steps
        log = RunLog(
            self._console,
            config.output,
            total,
            config.optimization.batch_size,
            config.logging.log_every_steps,
            config.logging.tensorboard,
            self._accelerator.is_main_process,
        )
        self._model.train()
        log.begin(self.step)
        try:
            with StopRequests(self._accelerator) as stops:
                for batch in self._batches():
                    losses = self._train_step(batch)
                    self.step += 1
                    log.step(self.step, losses, self._scale * config.optimization.learning_rate)
                    self._validate(log)
                    if self.step % config.logging.checkpoint_every_steps == 0 and self.step < total:
                        self._save_state()
                        self._checkpoints.save(config.output / CHECKPOINT_FOLDER, self.step)
                    if stops.requested():
                        raise KeyboardInterrupt
        except KeyboardInterrupt:
            log.end()
            saved = self._save_state_if_whole()
            self._console.print(f"Stopped at step {self.step}; the same command goes on {saved}.")
            raise
        except Exception as error:
            log.end()
            words = explanation(error, self.step)
            if words is None:
                raise error.__cause__ if isinstance(error, BatchFailed) else error
            saved = self._save_state_if_whole()
            raise UserError(
                f"{config.source}: {words}, and give the same command again: it goes on {saved}."
            ) from error
        finally:
            log.end()
        self._save_state()
        folder = self._checkpoints.save(config.output / CHECKPOINT_FOLDER, self.step)
        return {"checkpoint": str(folder), "steps": self.step, **log.summary}

    def _batches(self) -> Iterator[Sequence[Sequence[Batch]]]:
        """The batches of all steps that are left. Raises BatchFailed where one cannot be made."""
        optimization = self.config.optimization
        streams = zip(
            *(each.batches(self.step, optimization.steps, optimization.workers) for each in self._mixtures)
        )
        while True:
            try:
                batch = next(streams)
            except StopIteration:
                return
            except Exception as error:
                raise BatchFailed(self.step) from error
            yield batch

    def _train_step(self, parts: Sequence[Sequence[Batch]]) -> dict[str, torch.Tensor]:
        """A step on the parts of a batch, one after the other; returns the means of their losses."""
        self._scale = learning_rate_scale(self.config.optimization, self.step)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._scale * group["peak_lr"]
            # What a failed step left behind.
            optimizer.zero_grad(set_to_none=True)
        found: dict[str, list[torch.Tensor]] = {}
        for number, (shard, batch) in enumerate(zip(self._shards, parts, strict=True)):
            last = number == len(parts) - 1
            with nullcontext() if last else self._accelerator.no_sync(self._model):
                losses = self._losses(shard, batch)
                self._accelerator.backward(losses["loss"] / len(parts))
            for name, loss in losses.items():
                found.setdefault(name, []).append(loss.detach())
        self._accelerator.clip_grad_norm_(self._weights, self.config.optimization.gradient_clip)
        self._between_steps = False
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if self._average is not None:
            self._average.update()
        self._between_steps = True
        return {name: torch.stack(losses).mean() for name, losses in found.items()}

    def _losses(self, shard: Shard, batch: Sequence[Batch]) -> dict[str, torch.Tensor]:
        """Losses of a part of a batch. Raises UserError when they are not finite."""
        batch = [part.to(self._accelerator.device) for part in batch]
        # Noise and time steps are a function of the step: a resumed run draws what it would have drawn. The
        # global source serves dropout.
        seed = self.config.optimization.seed * 1_000_003 + self.step + shard.index * 1_000_000_007
        generator = torch.Generator(device=self._accelerator.device).manual_seed(seed)
        torch.manual_seed(seed)
        with self._accelerator.autocast():
            losses = self._model(batch, generator)
        if not math.isfinite(losses["loss"].item()):
            path = self.config.output / "not_finite.pt"
            keep_batch(path, self.step, batch)
            raise UserError(
                f"{self.config.source}: the loss is no longer finite at step {self.step} (batch saved in "
                f"{path}); lower optimization.learning_rate and run again from the last state."
            )
        return losses

    def _own_shards(self) -> list[Shard]:
        """This process' parts of every batch, which go through the model one after the other."""
        parts = self.config.optimization.accumulation
        first, count = self._accelerator.process_index * parts, self._accelerator.num_processes * parts
        return [Shard(first + part, count) for part in range(parts)]

    def _validate(self, log: RunLog) -> None:
        """Measure by held-out episodes where it is time, and keep the best model."""
        if self._validation is None or self.step % self.config.validation.every_steps:
            return
        measured = self._validation.losses(self._model, self._average)
        log.write(self.step, measured)
        if measured["validation_loss"] < self._best:
            self._best = measured["validation_loss"]
            self._checkpoints.save(self.config.output / BEST_FOLDER, self.step, measured)

    def _tell(self, report: Sequence[str]) -> None:
        """Say what the model starts from, and what of it learns; keep it in the run's folder."""
        lines = [*report, f"Parameters that learn: {said_of(trained_sizes(self._plain_model))}."]
        for line in lines:
            self._console.print(line)
        if self._accelerator.is_main_process:
            (self.config.output / CARRIED_OVER_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _resume(self) -> None:
        path = self.config.output / STATE_FILE
        if not path.is_file():
            return
        rest = self._state.load(path, self.config.source)
        self.step, self._best = rest["step"], rest.get("best", math.inf)
        if self._accelerator.is_main_process:
            forget_lines_after(self.config.output / LOG_FILE, self.step)
        self._console.print(f"Going on from step {self.step} of {path}.")

    def _save_state(self) -> None:
        self._state.save(self.config.output / STATE_FILE, {"step": self.step, "best": self._best})

    def _save_state_if_whole(self) -> str:
        """Save it, unless a step was broken off while it changed the weights; says where a run goes on."""
        if not self._between_steps:
            return "from the last state that was saved"
        self._save_state()
        return "from there"
