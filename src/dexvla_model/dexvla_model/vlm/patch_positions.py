"""Learned absolute positions of image patches, for backbones that start without pretraining."""

import math

import torch
from torch import nn

from dexvla_model.errors import UserError

# Of the sinusoids that the table starts from: as strong as a patch's content is at the start.
_AMPLITUDE = 0.5
_CAMERAS = 8


class PatchPositions(nn.Module):
    """A table of positions by row and column, and one vector for each camera; both are added to a patch.

    The table starts as two-dimensional sinusoids (Vaswani et al. 2017, one half of the width for each axis),
    the cameras at zero.
    """

    def __init__(self, side: int, width: int) -> None:
        super().__init__()
        self.side = side
        axis = _sinusoids(side, width // 2)
        by_row = axis.unsqueeze(1).expand(side, side, -1)
        by_column = axis.unsqueeze(0).expand(side, side, -1)
        self.table = nn.Parameter(_AMPLITUDE * torch.cat([by_row, by_column], dim=-1))
        self.cameras = nn.Parameter(torch.zeros(_CAMERAS, width))

    def forward(self, camera: int, grid: tuple[int, int], merge: int) -> torch.Tensor:
        """Positions (rows * columns, width) of a camera's patches, in the order of merge windows.

        Raises:
            UserError: more rows, columns or cameras than the tables have.
        """
        rows, columns = grid
        if max(rows, columns) > self.side or camera >= _CAMERAS:
            raise UserError(
                f"an image of {rows} x {columns} patches from camera {camera} does not fit into the model's "
                f"{self.side} x {self.side} positions of {_CAMERAS} cameras: raise vlm.patch_positions."
            )
        used = (
            self.table[:rows, :columns]
            .unflatten(1, (columns // merge, merge))
            .unflatten(0, (rows // merge, merge))
        )
        return used.transpose(1, 2).reshape(rows * columns, -1) + self.cameras[camera]


def _sinusoids(count: int, width: int) -> torch.Tensor:
    """Sine and cosine of positions 0 to count - 1, (count, width), periods from 4 to 4 * count."""
    half = width // 2
    periods = 4.0 * count ** (torch.arange(half) / max(1, half - 1))
    angles = 2 * math.pi * torch.arange(count).unsqueeze(1) / periods
    return torch.cat([angles.sin(), angles.cos()], dim=1)
