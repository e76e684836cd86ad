"""The folder of a training run: its files, who may write there, and its log."""

import fcntl
import json
import shutil
from pathlib import Path
from typing import TextIO

from dexvla_model.errors import UserError

STATE_FILE = "state.pt"
LOG_FILE = "log.jsonl"
LOCK_FILE = "lock"
CHECKPOINT_FOLDER = "checkpoint"
BEST_FOLDER = "best"
TENSORBOARD_FOLDER = "tensorboard"
CARRIED_OVER_FILE = "carried_over.txt"


def lock_folder(output: Path) -> TextIO:
    """Hold the output folder for this process; the lock goes with the file object.

    Raises:
        UserError: another run writes there.
    """
    lock = (output / LOCK_FILE).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(
            f"{output}: another `dexvla train` is writing there; stop it or set output=FOLDER."
        ) from error
    return lock


def forget_lines_after(path: Path, step: int) -> None:
    """Drop the log lines of steps that are trained again, after a run that was killed."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    if kept != lines:
        path.write_text("".join(kept), encoding="utf-8")


def forget_run(output: Path) -> None:
    """Begin anew: drop state, logs and the best checkpoint."""
    for name in (STATE_FILE, LOG_FILE):
        (output / name).unlink(missing_ok=True)
    for name in (TENSORBOARD_FOLDER, BEST_FOLDER):
        shutil.rmtree(output / name, ignore_errors=True)
