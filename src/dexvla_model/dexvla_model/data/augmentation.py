"""Random changes to images in training: crop and resize, rotation, colour; the published recipe.

DexVLA's code crops to 95 % of each side and resizes back, rotates by up to 5 degrees without making room for
the corners, and jitters brightness by 0.3, contrast by 0.4 and saturation by 0.5 (torchvision's ColorJitter,
in random order). Crop, resize and rotation are one resampling here.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

# Luminance of RGB, ITU-R BT.601, as torchvision's grayscale.
_LUMINANCE = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Augmentation:
    """How much images are changed, each in [1 - x, 1 + x] for the colours.

    Attributes:
        crop: share of each side that is kept. rotation_deg: largest angle to either side.
        brightness, contrast, saturation: largest change.
    """

    crop: float = 0.95
    rotation_deg: float = 5.0
    brightness: float = 0.3
    contrast: float = 0.4
    saturation: float = 0.5

    def apply_each(self, images: torch.Tensor, rngs: Iterable[np.random.Generator]) -> torch.Tensor:
        """Change images (B, H, W, 3) uint8, each as its own generator draws."""
        draws = torch.from_numpy(np.stack([rng.random(7) for rng in rngs]).astype(np.float32))
        pixels = images.permute(0, 3, 1, 2).float()
        height, width = pixels.shape[2:]
        grid = functional.affine_grid(
            self._affine(draws, height, width), list(pixels.shape), align_corners=False
        )
        pixels = functional.grid_sample(
            pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
        pixels = self._jitter(pixels, draws)
        return pixels.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def _affine(self, draws: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """(B, 2, 3) from output to input coordinates in [-1, 1]: rotate about the centre, then crop."""
        angle = (2 * draws[:, 0] - 1) * math.radians(self.rotation_deg)
        cosine, sine = torch.cos(angle) * self.crop, torch.sin(angle) * self.crop
        room = 1 - self.crop
        shift_x, shift_y = (2 * draws[:, 1] - 1) * room, (2 * draws[:, 2] - 1) * room
        # Angles are of pixels; the unit square is not square where the image is not.
        rows = [cosine, sine * height / width, shift_x, -sine * width / height, cosine, shift_y]
        return torch.stack(rows, dim=1).view(-1, 2, 3)

    def _jitter(self, pixels: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """Brightness, contrast and saturation in an order that is each image's own."""
        amounts = (self.brightness, self.contrast, self.saturation)
        factors = [1 + (2 * draws[:, 3 + index] - 1) * amount for index, amount in enumerate(amounts)]
        orders = (draws[:, 6] * 6).long().clamp(max=5)
        changed = torch.empty_like(pixels)
        for number, order in enumerate(((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))):
            chosen = orders == number
            if not chosen.any():
                continue
            part = pixels[chosen]
            for index in order:
                part = _blend(part, factors[index][chosen].view(-1, 1, 1, 1), index)
            changed[chosen] = part
        return changed


def _blend(pixels: torch.Tensor, factor: torch.Tensor, kind: int) -> torch.Tensor:
    """Move images away from, or towards, black (0), their mean grey (1) or their own grey (2), within [0,
    255]."""
    if kind == 0:
        return (pixels * factor).clamp_(0, 255)
    red, green, blue = _LUMINANCE
    grey = red * pixels[:, :1] + green * pixels[:, 1:2] + blue * pixels[:, 2:3]
    if kind == 1:
        grey = grey.mean(dim=(2, 3), keepdim=True)
    return torch.lerp(grey.expand_as(pixels), pixels, factor).clamp_(0, 255)
