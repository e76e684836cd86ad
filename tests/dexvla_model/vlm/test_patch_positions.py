"""Learned positions of patches."""

import pytest
import torch

from dexvla_model.errors import UserError
from dexvla_model.vlm.images import PatchGeometry, image_patches
from dexvla_model.vlm.patch_positions import PatchPositions


def test_positions_stand_in_the_order_of_the_patches():
    """An image whose pixels say their patch's row and column, cut into patches, against a table that says the
    same.
    """
    rows, columns = 8, 6
    image = torch.zeros(1, rows * 14, columns * 14, 3, dtype=torch.uint8)
    image[0, :, :, 0] = torch.arange(rows).repeat_interleave(14).unsqueeze(1)
    image[0, :, :, 1] = torch.arange(columns).repeat_interleave(14).unsqueeze(0)
    patches = image_patches(image, PatchGeometry())[0].view(rows * columns, 3, -1)[:, :2, 0]
    black = image_patches(torch.zeros_like(image), PatchGeometry())[0].view(rows * columns, 3, -1)[:, :2, 0]
    one = image_patches(torch.ones_like(image), PatchGeometry())[0].view(rows * columns, 3, -1)[:, :2, 0]
    of_patches = ((patches - black) / (one - black)).round()

    positions = PatchPositions(10, 4)
    with torch.no_grad():
        positions.table[..., 0] = torch.arange(10).unsqueeze(1)
        positions.table[..., 1] = torch.arange(10).unsqueeze(0)
        assert torch.equal(positions(0, (rows, columns), 2)[:, :2], of_patches)


@torch.no_grad()
def test_positions_start_distinct_and_cameras_equal():
    positions = PatchPositions(16, 32)
    table = positions(0, (16, 16), 2)
    distances = torch.cdist(table, table) + 10 * torch.eye(256)
    assert distances.min() > 0.1
    assert torch.equal(positions(1, (16, 16), 2), table)
    positions.cameras[1] += 1
    assert torch.equal(positions(1, (16, 16), 2), table + 1)


@pytest.mark.parametrize(("camera", "grid"), [(0, (18, 4)), (0, (4, 18)), (8, (4, 4))])
def test_what_does_not_fit_is_refused(camera, grid):
    with pytest.raises(UserError, match="raise vlm.patch_positions"):
        PatchPositions(16, 32)(camera, grid, 2)
