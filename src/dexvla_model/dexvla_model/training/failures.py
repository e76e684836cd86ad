"""What goes wrong in a run without being a mistake in its file, in words that say what to do."""

from collections.abc import Sequence
from pathlib import Path

import torch
from pyarrow import ArrowException

from dexvla_model.batch import Batch
from dexvla_model.errors import UserError


class BatchFailed(Exception):
    """A batch could not be made; the cause says why."""


# What a damaged or vanished dataset raises, and a thread that ran out of something.
_OF_DATA = (UserError, OSError, EOFError, RuntimeError, MemoryError, ArrowException)
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "cannot allocate memory")
_OTHER_PROCESS = ("connection closed by peer", "connection reset by peer", "nccl", "gloo")


def out_of_memory(error: BaseException | None) -> bool:
    """Whether this says that there was not enough memory, of the machine or of an accelerator."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def explanation(error: Exception, step: int) -> str | None:
    """The failure of a step as the beginning of a sentence; None for a bug, whose traceback is wanted."""
    cause = error.__cause__ if isinstance(error, BatchFailed) else error
    if out_of_memory(cause):
        return (
            f"out of memory at step {step}; set optimization.gradient_checkpointing, a larger "
            "optimization.accumulation, or a smaller optimization.batch_size"
        )
    if isinstance(error, BatchFailed) and isinstance(cause, _OF_DATA):
        return f"the batch of step {step} could not be made ({str(cause).rstrip('.')}); mend the dataset"
    if isinstance(cause, RuntimeError) and any(words in str(cause).lower() for words in _OTHER_PROCESS):
        return f"another process of this run ended at step {step}; see what it said"
    return None


def keep_batch(path: Path, step: int, batch: Sequence[Batch]) -> None:
    """Keep the batch of a step for inspection, as what `torch.load` takes with weights only."""
    torch.save({"step": step, "batch": [_plain(part) for part in batch]}, path)


def _plain(batch: Batch) -> dict:
    tables = {name: getattr(batch, name) for name in ("tokens", "image_tokens")}
    tables = {name: None if table is None else vars(table) for name, table in tables.items()}
    return vars(batch) | tables | {"texts": [vars(text) for text in batch.texts]}
