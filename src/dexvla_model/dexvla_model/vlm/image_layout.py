"""What the vision tower computes from an image's size alone: positions, windows, order of the patches."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers.vision_utils import (
    get_vision_interpolation_indices_and_weights,
    get_vision_position_ids,
    get_vision_window_index,
)

from dexvla_model.vlm.images import ImageSize, PatchGeometry

# Runs of equally long sequences along one image's patches that attend within themselves: (number, patches).
Runs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class ImageLayout:
    """One image size. A *unit* is a merge window of patches: it becomes one token.

    Attributes:
        patches: their number.
        rotary: cosines and sines (patches, head size) float32, in the order of computation.
        whole: runs of blocks in which all patches of an image attend to each other.
        windows: runs of blocks with window attention; None when the tower has none.
        order: (units,) which unit is computed at each place; None for the order of the image.
        restore: (units,) the inverse.
        table_indices, table_weights: (patches, 4) interpolation of the table of learned positions, in the
            order of the image; None when the tower has none.
    """

    patches: int
    rotary: tuple[torch.Tensor, torch.Tensor]
    whole: Runs
    windows: Runs | None = None
    order: torch.Tensor | None = None
    restore: torch.Tensor | None = None
    table_indices: torch.Tensor | None = None
    table_weights: torch.Tensor | None = None


@torch.no_grad()
def image_layout(
    visual: nn.Module, geometry: PatchGeometry, size: ImageSize, device: torch.device
) -> ImageLayout:
    """The layout of images of `size` in transformers' vision tower `visual`."""
    rows, columns = geometry.grid(size)
    grid = torch.tensor([[1, rows, columns]], device=device)
    patches = rows * columns
    positions = get_vision_position_ids(grid, geometry.merge)
    cos, sin = visual.rotary_pos_emb(torch.empty(0, device=device), positions)
    indices = weights = windows = order = restore = None
    if hasattr(visual, "num_grid_per_side"):
        indices, weights = get_vision_interpolation_indices_and_weights(
            grid,
            num_grid_per_side=visual.num_grid_per_side,
            mode=visual.interpolation_mode,
            align_corners=visual.interpolation_align_corners,
            spatial_merge_size=geometry.merge,
        )
    if hasattr(visual, "fullatt_block_indexes"):
        windows, order = _windows(visual, geometry, grid)
        order = order.to(device)
        restore = order.argsort()
        cos, sin = (
            x.view(-1, geometry.merge**2, x.shape[1])[order].reshape(patches, -1) for x in (cos, sin)
        )
    return ImageLayout(
        patches, (cos, sin), ((1, patches),), windows, order, restore, indices, weights
    )


def _windows(
    visual: nn.Module, geometry: PatchGeometry, grid: torch.Tensor
) -> tuple[Runs, torch.Tensor]:
    """Windows, those of equal size one after the other so that they make one batch, and the units' order."""
    unit = geometry.merge**2
    index, bounds = get_vision_window_index(grid, geometry.merge, visual.window_size, geometry.patch)
    sizes = (bounds.diff() // unit).tolist()
    by_size: dict[int, list[torch.Tensor]] = {}
    for size, members in zip(sizes, index.split(sizes), strict=True):
        by_size.setdefault(size, []).append(members)
    runs = tuple((len(windows), size * unit) for size, windows in by_size.items())
    return runs, torch.cat([members for windows in by_size.values() for members in windows])
