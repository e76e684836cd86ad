"""Embedding of the diffusion time step."""

import math

import torch
from torch import nn


def sinusoidal_time_embedding(t: torch.Tensor, size: int, max_period: float = 10000.0) -> torch.Tensor:
    """Sinusoids of the time steps t (N,) -> (N, size), bfloat16: cosines first, then sines.

    The published checkpoints were trained with frequencies and output in bfloat16, with `arange` itself in
    bfloat16. Computing them more exactly gives another function, which those weights do not fit.
    """
    half = size // 2
    exponents = torch.arange(0, half, dtype=torch.bfloat16, device=t.device)
    frequencies = torch.exp(-math.log(max_period) * exponents / half)
    angles = t[:, None].float() * frequencies[None]
    return torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1).to(torch.bfloat16)


class TimeEmbedder(nn.Module):
    """Time steps (N,) -> (N, width): the sinusoid, Linear, SiLU, Linear (Peebles & Xie 2023, DiT)."""

    def __init__(self, width: int, frequency_size: int) -> None:
        super().__init__()
        self.frequency_size = frequency_size
        self.mlp = nn.Sequential(nn.Linear(frequency_size, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        sinusoid = sinusoidal_time_embedding(t, self.frequency_size)
        return self.mlp(sinusoid.to(self.mlp[0].weight.dtype))


def unet_time_embedding(t: torch.Tensor, size: int, max_period: float = 10000.0) -> torch.Tensor:
    """Sinusoids of the time steps t (N,) -> (N, size), bfloat16: sines first, then cosines.

    The published code's U-Net computes frequencies, angles and output in bfloat16, and spreads its
    frequencies up to and including the longest period.
    """
    half = size // 2
    exponents = torch.arange(0, half, dtype=torch.bfloat16, device=t.device)
    frequencies = torch.exp(exponents * -(math.log(max_period) / (half - 1)))
    angles = t[:, None].to(torch.bfloat16) * frequencies[None]
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class UNetTimeEmbedder(nn.Module):
    """Time steps (N,) -> (N, width): sinusoid, Linear, Mish, Linear (Chi et al. 2023, "Diffusion policy")."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.Mish(), nn.Linear(4 * width, width))

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        return self.mlp(unet_time_embedding(t, self.width).to(self.mlp[0].weight.dtype))
