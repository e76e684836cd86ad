"""Patches of images, against transformers' own image processor."""

import pytest
import torch
from transformers import Qwen2VLImageProcessorPil

from dexvla_model.errors import UserError
from dexvla_model.vlm.families import FAMILIES
from dexvla_model.vlm.images import ImageSize, PatchGeometry, image_patches, pixel_values


@pytest.mark.parametrize(
    ("family", "width", "height"),
    [("qwen2_vl", 140, 112), ("qwen2_5_vl", 84, 84), ("qwen2_vl", 28, 56), ("qwen3_vl", 160, 96)],
)
def test_pixel_values_equal_those_of_transformers(family, width, height):
    images = torch.randint(0, 256, (3, height, width, 3), dtype=torch.uint8)
    # Qwen3-VL is published with patches of 16 pixels and a mean and deviation of one half.
    published = {"patch_size": 16, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    processor = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 1280},
        **(published if family == "qwen3_vl" else {}),
    )
    theirs = processor(images=[image.numpy() for image in images], return_tensors="pt")
    values, grid = pixel_values(images, FAMILIES[family].geometry)
    torch.testing.assert_close(values, theirs["pixel_values"].float(), rtol=0, atol=1e-6)
    assert torch.equal(grid, theirs["image_grid_thw"])


def test_all_frames_of_a_patch_are_equal():
    images = torch.randint(0, 256, (2, 28, 28, 3), dtype=torch.uint8)
    values, _ = pixel_values(images, PatchGeometry())
    frames = values.view(2 * 4, 3, 2, 14 * 14)
    one = image_patches(images, PatchGeometry()).view(2 * 4, 3, 14 * 14)
    assert torch.equal(frames[:, :, 0], one)
    assert torch.equal(frames[:, :, 1], one)


def test_tokens_of_an_image():
    assert PatchGeometry().tokens(ImageSize(140, 112)) == 20
    assert PatchGeometry().tokens(ImageSize(84, 84)) == 9


@pytest.mark.parametrize(("width", "height"), [(100, 112), (140, 30), (0, 28)])
def test_a_size_that_windows_do_not_cover_is_refused(width, height):
    with pytest.raises(UserError, match=f"{width} x {height} pixels, both must be multiples of 28"):
        PatchGeometry().grid(ImageSize(width, height))
