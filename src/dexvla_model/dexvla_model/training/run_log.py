"""What a run shows and writes down of its losses: a progress line, a JSON line, TensorBoard."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dexvla_model.training.loss_log import LossLog
from dexvla_model.training.run_folder import LOG_FILE, TENSORBOARD_FOLDER

# Losses of the progress line, by what it calls them.
_SHOWN = {
    "action_loss": "action",
    "language_loss": "language",
    "language_accuracy": "accuracy",
    "loss": "loss",
}


class RunLog:
    """The log of a run; a context manager around its steps.

    Args:
        output: the run's folder. total: steps. batch_size: frames of a step.
        every: steps between two lines.
        tensorboard: write for TensorBoard, too.
        writes: whether this process writes files; one of several does.
    """

    def __init__(
        self,
        console: Console,
        output: Path,
        total: int,
        batch_size: int,
        every: int,
        tensorboard: bool = False,
        writes: bool = True,
    ):
        self._output, self._total, self._batch_size, self._every = output, total, batch_size, every
        self._writes = writes
        self._boards, self._board = tensorboard and writes, None
        self._progress = Progress(
            TextColumn("step"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
            TextColumn("{task.description}"), console=console,
        )
        self._sums = LossLog()
        self.summary: dict[str, float] = {}

    def begin(self, step: int) -> None:
        """Show the line, from this step on; what TensorBoard has of later ones, of a killed run, goes."""
        if self._boards:
            self._board = _tensorboard(self._output / TENSORBOARD_FOLDER, step + 1)
        self._progress.start()
        self._bar = self._progress.add_task("", total=self._total, completed=step)
        self._since, self._logged_step = time.monotonic(), step

    def end(self) -> None:
        """Take the line away and close the files; called again, it does nothing."""
        self._progress.stop()
        if self._board is not None:
            self._board.close()

    def step(self, step: int, losses: Mapping[str, torch.Tensor], learning_rate: float) -> None:
        """A step is done, the one that makes `step` of them."""
        self._sums.add(losses)
        self._progress.update(self._bar, completed=step)
        if step % self._every and step != self._total:
            return
        elapsed_s = time.monotonic() - self._since
        self.summary = self._sums.take()
        rate = (step - self._logged_step) * self._batch_size / elapsed_s
        self.write(step, self.summary | {"learning_rate": learning_rate, "samples_per_s": rate})
        shown = [f"{word} {self.summary[name]:.4f}" for name, word in _SHOWN.items() if name in self.summary]
        self._progress.update(self._bar, description="  ".join([*shown[:3], f"{rate:.0f} samples/s"]))
        self._since, self._logged_step = time.monotonic(), step

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """A line of the log."""
        if not self._writes:
            return
        with (self._output / LOG_FILE).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, **values}) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)


def _tensorboard(folder: Path, first_step: int):
    # It takes a second to import.
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(folder), purge_step=first_step)
