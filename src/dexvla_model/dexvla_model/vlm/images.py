"""Camera images as the patches that the vision tower takes.

The layout is that of transformers' Qwen2VLImageProcessor, for images that already have the model's size:
patches of one merge window stand together, and channel, time, row and column make up a patch.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch

from dexvla_model.errors import UserError

# Mean and standard deviation of the training images of CLIP, by which Qwen2-VL normalises too, in [0, 1].
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class ImageSize:
    """Size in pixels at which the model sees one camera."""

    width: int
    height: int


@dataclass(frozen=True)
class PatchGeometry:
    """Pixels per patch side, patches per merge window side, frames per patch; normalisation of the pixels.

    `mean` and `std` are of red, green and blue in [0, 1].
    """

    patch: int = 14
    merge: int = 2
    frames: int = 2
    mean: tuple[float, float, float] = _MEAN
    std: tuple[float, float, float] = _STD

    @property
    def unit(self) -> int:
        """Side in pixels of what becomes one token of the language model."""
        return self.patch * self.merge

    def grid(self, size: ImageSize) -> tuple[int, int]:
        """Rows and columns of patches. Raises UserError for a size that whole merge windows do not cover."""
        if size.width % self.unit or size.height % self.unit or min(size.width, size.height) < self.unit:
            raise UserError(
                f"the model's image is {size.width} x {size.height} pixels, both must be multiples of "
                f"{self.unit}."
            )
        return size.height // self.patch, size.width // self.patch

    def tokens(self, size: ImageSize) -> int:
        """Tokens of the language model for one image."""
        rows, columns = self.grid(size)
        return rows * columns // self.merge**2


@lru_cache(maxsize=16)
def _normalisation(geometry: PatchGeometry, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    mean = torch.tensor(geometry.mean, device=device) * 255
    std = torch.tensor(geometry.std, device=device) * 255
    return 1 / std, -mean / std


def image_patches(images: torch.Tensor, geometry: PatchGeometry) -> torch.Tensor:
    """Images (B, H, W, 3) uint8 RGB -> (B, patches, 3 * patch * patch) float32, one frame of each patch.

    A still image fills all frames of its patches with the same pixels; see `pixel_values` for those copies.
    """
    b, height, width, channels = images.shape
    p, m = geometry.patch, geometry.merge
    rows, columns = geometry.grid(ImageSize(width, height))
    scale, shift = _normalisation(geometry, images.device)
    windows = images.view(b, rows // m, m, p, columns // m, m, p, channels)
    # (B, window row, window column, row in it, column in it, channel, pixel row, pixel column)
    ordered = windows.permute(0, 1, 4, 2, 5, 7, 3, 6).float()
    normalised = torch.addcmul(shift.view(-1, 1, 1), ordered, scale.view(-1, 1, 1))
    return normalised.reshape(b, rows * columns, channels * p * p)


def pixel_values(images: torch.Tensor, geometry: PatchGeometry) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (B, H, W, 3) uint8 RGB -> what transformers' image processor makes of them.

    Returns:
        `pixel_values` (B * patches, 3 * frames * patch * patch) float32 and `image_grid_thw` (B, 3) int64.
    """
    b, height, width, channels = images.shape
    rows, columns = geometry.grid(ImageSize(width, height))
    one = image_patches(images, geometry).view(b * rows * columns, channels, 1, -1)
    values = one.expand(-1, -1, geometry.frames, -1).reshape(b * rows * columns, -1)
    grid = torch.tensor([1, rows, columns], device=images.device).expand(b, 3).contiguous()
    return values, grid
