"""Samples with different numbers of rows as one tensor, and apart again."""

from collections.abc import Sequence

import torch
from torch.nn import functional


def pad_rows(parts: Sequence[torch.Tensor], axis: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Parts, each of some samples with rows along `axis`, stacked along axis 0 as one tensor.

    Returns:
        the samples of all parts, with zero rows behind the shorter ones, and the rows of each sample (N,), or
        None where all have the same number.
    """
    if len(parts) == 1:
        return parts[0], None
    counts = [part.shape[axis] for part in parts]
    longest = max(counts)
    if min(counts) == longest:
        return torch.cat(list(parts)), None
    padded = []
    for part, rows in zip(parts, counts, strict=True):
        # `pad` counts axes from the last one, two numbers each.
        behind = [0, 0] * (part.dim() - 1 - axis) + [0, longest - rows]
        padded.append(functional.pad(part, behind))
    lengths = [rows for part, rows in zip(parts, counts, strict=True) for _ in range(part.shape[0])]
    return torch.cat(padded), torch.tensor(lengths, device=parts[0].device)


def split_rows(stacked: torch.Tensor, parts: Sequence[torch.Tensor], axis: int) -> list[torch.Tensor]:
    """The inverse of `pad_rows` for something of the same samples and rows as `parts`."""
    if len(parts) == 1:
        return [stacked]
    of_parts = stacked.split([part.shape[0] for part in parts])
    return [each.narrow(axis, 0, part.shape[axis]) for each, part in zip(of_parts, parts, strict=True)]


def row_mask(lengths: torch.Tensor, rows: int) -> torch.Tensor:
    """Which of `rows` rows belong to samples of `lengths` (N,): (N, rows) bool."""
    return torch.arange(rows, device=lengths.device) < lengths.unsqueeze(1)
