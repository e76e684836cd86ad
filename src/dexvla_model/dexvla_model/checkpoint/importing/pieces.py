"""A tensor of a model that is to be, as (a part of) one on disk."""

from dataclasses import dataclass
from pathlib import Path

import torch

from dexvla_model.checkpoint.tensor_files import TensorEntry, TensorSource, is_finite
from dexvla_model.errors import UserError


@dataclass(frozen=True)
class Piece:
    """Where a tensor comes from.

    Attributes:
        name: in the source.
        columns: those of its second dimension that are taken; None for all of it.
    """

    source: TensorSource
    name: str
    columns: slice | None = None

    @property
    def entry(self) -> TensorEntry:
        return self.source.entries[self.name]

    @property
    def file(self) -> Path:
        return self.entry.file

    @property
    def shape(self) -> tuple[int, ...]:
        shape = self.entry.shape
        if self.columns is None or len(shape) != 2:
            return shape
        return shape[0], len(range(*self.columns.indices(shape[1])))

    def check(self, target: str, expected: tuple[int, ...]) -> None:
        """Raises UserError when the tensor has another shape than `target` needs, or holds no real
        numbers."""
        if self.shape != expected:
            part = (
                "" if self.columns is None else f" (columns {self.columns.start or 0} to {self.columns.stop})"
            )
            raise UserError(
                f"{self.file}: tensor {self.name!r}{part} has shape {self.shape}, expected is {expected} for "
                f"{target}: the file does not fit the configuration that stands beside it."
            )
        if not self.entry.dtype.is_floating_point:
            raise UserError(
                f"{self.file}: tensor {self.name!r} has the type {self.entry.dtype}, expected are "
                "floating-point "
                "numbers."
            )

    def read(self) -> torch.Tensor:
        """The tensor. Raises UserError when a value is not finite."""
        tensor = self.source.read(self.name)
        if self.columns is not None:
            tensor = tensor[:, self.columns]
        if not is_finite(tensor):
            raise UserError(
                f"{self.file}: tensor {self.name!r} holds values that are not finite, expected are finite "
                "ones: copy "
                "the file again, or use another checkpoint of that run."
            )
        return tensor
