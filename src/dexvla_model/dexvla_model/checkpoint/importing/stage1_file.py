"""The published stage-1 file: a torch pickle with the expert, and the encoders that it was trained with.

{"nets": {"nets": {"policy.noise_pred_net.KEY": tensor, "policy.ENCODER...": tensor}, "ema": {the same} or
None}, ...}
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dexvla_model.checkpoint.tensor_files import TensorEntry
from dexvla_model.errors import UserError

EXPERT_PREFIX = "noise_pred_net."
_POLICY_PREFIX = "policy."


class Stage1File:
    """Tensors of a published stage-1 file under their names without `policy.`; see `TensorSource`.

    Nothing is unpickled but tensors, containers and plain numbers, and tensors stay in the mapped file.

    Attributes:
        averaged: whether these are the exponential moving averages of the weights.
    """

    def __init__(self, path: Path, averaged: bool = False) -> None:
        """Read the file's table.

        Args:
            averaged: take the averages (`ema`) where the file has them.

        Raises:
            UserError: the file is missing or damaged, would have to run code, or has another layout.
        """
        self.path = path
        self.averaged = averaged
        self._tensors: dict[str, torch.Tensor] | None = self._map()
        if not any(name.startswith(EXPERT_PREFIX) for name in self._tensors):
            raise UserError(
                f"{path}: no tensor below {_POLICY_PREFIX}{EXPERT_PREFIX} is in the file, it begins with "
                f"{next(iter(self._tensors))!r}: give a file of the published stage 1."
            )
        self.entries = {
            name: TensorEntry(name, path, tuple(tensor.shape), tensor.dtype)
            for name, tensor in self._tensors.items()
        }

    def _map(self) -> dict[str, torch.Tensor]:
        tables = _tables(_load(self.path), self.path)
        chosen = tables.get("ema") if self.averaged else tables.get("nets")
        if not chosen:
            key = "ema" if self.averaged else "nets"
            remedy = "import it without --ema" if self.averaged else "give a file of the published stage 1"
            raise UserError(
                f"{self.path}: nets.{key} is missing or empty, the file holds "
                f"{', '.join(sorted(tables)) or 'no tensors'}: {remedy}."
            )
        return {name.removeprefix(_POLICY_PREFIX): tensor for name, tensor in chosen.items()}

    def read(self, name: str) -> torch.Tensor:
        """See `TensorSource`."""
        if self._tensors is None:
            self._tensors = self._map()
        return self._tensors[name]

    def release(self) -> None:
        """See `TensorSource`."""
        self._tensors = None


def _load(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"there is no file {path}: check the path.")
    # Plain arrays may stand beside the weights (statistics of the data set); torch rebuilds them itself.
    arrays = [np.ndarray, np.dtype, np._core.multiarray._reconstruct, *_number_types()]
    try:
        with torch.serialization.safe_globals(arrays):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds more than tensors and would have to run code ({_first_line(error)}): nothing of "
            "it was "
            "run; give a file that holds weights only."
        ) from error
    except Exception as error:
        # Damage shows as RuntimeError, EOFError, ValueError and others.
        raise UserError(
            f"{path} cannot be read ({_first_line(error)}): it must be a file that torch.save wrote (1.6 or "
            "newer)."
        ) from error


def _number_types() -> list[type]:
    return [type(np.dtype(code)) for code in ("f4", "f8", "i4", "i8", "u1", "b1")]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _tables(content: Any, path: Path) -> dict[str, dict[str, torch.Tensor]]:
    """The tables of tensors in the file: `nets`, and `ema` when it has averages."""
    nets = content.get("nets") if isinstance(content, Mapping) else None
    if not isinstance(nets, Mapping):
        raise UserError(f"{path}: the table nets is missing: give a file of the published stage 1.")
    found = {}
    for key in ("nets", "ema"):
        table = nets.get(key) or (content.get(key) if key == "ema" else None)
        if isinstance(table, Mapping):
            tensors = {str(name): value for name, value in table.items() if isinstance(value, torch.Tensor)}
            if tensors:
                found[key] = tensors
    return found
