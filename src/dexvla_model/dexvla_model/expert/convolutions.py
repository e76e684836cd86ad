"""Residual convolution blocks over the rows of a chunk, with FiLM (Chi et al. 2023, "Diffusion policy").

As in the transformer's blocks, the modulations are arguments: they do not depend on the sample.

Where samples of different lengths go through together, a mask (N, 1, T) says which rows of a sample count.
The others are zero whenever a convolution reads them, like the zeros with which it pads any sample, and they
are no part of a group norm's statistics: so a sample comes out as it would alone.
"""

import torch
from torch import nn
from torch.nn import functional


def keep_rows(x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """x (N, W, T) with zeros where the mask is false."""
    return x if mask is None else x * mask


class RowGroupNorm(nn.GroupNorm):
    """Group norm of x (N, W, T) over the rows that count."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        if mask is None:
            return super().forward(x)
        # In float32, as the fused norm computes for lower precisions, too.
        grouped = x.float().unflatten(1, (self.num_groups, -1))
        counts = mask.unsqueeze(1)
        size = counts.sum(dim=(2, 3), keepdim=True) * grouped.shape[2]
        mean = (grouped * counts).sum(dim=(2, 3), keepdim=True) / size
        centred = (grouped - mean) * counts
        variance = centred.square().sum(dim=(2, 3), keepdim=True) / size
        normed = (centred * torch.rsqrt(variance + self.eps)).flatten(1, 2)
        return (normed * self.weight[:, None] + self.bias[:, None]).to(x.dtype)


class ConvolutionBlock(nn.Module):
    """Convolution, group norm, Mish: (N, W, T) -> (N, W', T)."""

    def __init__(self, width: int, out_width: int, kernel_size: int, groups: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width, out_width, kernel_size, padding=kernel_size // 2)
        self.norm = RowGroupNorm(groups, out_width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        return functional.mish(self.norm(self.convolution(keep_rows(x, mask)), mask))


class ModulatedBlock(nn.Module):
    """The part of a residual block behind its first convolution, and the Linear that gives its modulation."""

    def __init__(self, width: int, kernel_size: int, groups: int, c_width: int) -> None:
        super().__init__()
        self.norm = RowGroupNorm(groups, width)
        self.film = nn.Linear(c_width, 2 * width)
        self.second = ConvolutionBlock(width, width, kernel_size, groups)

    def forward(
        self, first: torch.Tensor, shortcut: torch.Tensor, modulation: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """The first convolution's output and the shortcut (N, W, T), modulation (N, 2 W) -> (N, W, T)."""
        scale, shift = modulation.unsqueeze(-1).chunk(2, dim=1)
        h = torch.addcmul(shift, scale, functional.mish(self.norm(first, mask)))
        return self.second(h, mask) + shortcut


class ResidualBlock(ModulatedBlock):
    """Two convolutions with FiLM between them, and a shortcut: (N, W, T) -> (N, W', T)."""

    def __init__(self, width: int, out_width: int, kernel_size: int, groups: int, c_width: int) -> None:
        super().__init__(out_width, kernel_size, groups, c_width)
        self.first = nn.Conv1d(width, out_width, kernel_size, padding=kernel_size // 2)
        self.shortcut = nn.Identity() if width == out_width else nn.Conv1d(width, out_width, 1)

    def forward(self, x: torch.Tensor, modulation: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """x (N, W, T), modulation (N, 2 W') -> (N, W', T)."""
        return super().forward(self.first(keep_rows(x, mask)), self.shortcut(x), modulation, mask)
