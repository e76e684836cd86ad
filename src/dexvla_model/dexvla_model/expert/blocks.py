"""Transformer blocks with adaLN-Zero (Peebles & Xie 2023, "Scalable diffusion models with transformers").

The modulations are arguments of the blocks rather than computed inside: they depend on the time step and the
condition only, so a sampler computes those of all its steps in one batch.
"""

import torch
from torch import nn
from torch.nn import functional

from dexvla_model.attention import attend


def modulate(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """x (N, T, W) scaled by 1 + scale and shifted, both (N, W)."""
    return torch.addcmul(shift.unsqueeze(1), x, 1 + scale.unsqueeze(1))


class Attention(nn.Module):
    """Full self-attention over the rows of a chunk, (N, T, W) -> (N, T, W).

    `keys` (N, 1, 1, T) bool: rows that may be attended to; None for all.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, keys: torch.Tensor | None = None) -> torch.Tensor:
        n, t, w = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        y = attend(q, k, v, scaling=(w // self.heads) ** -0.5, keys=keys)
        return self.proj(y.transpose(1, 2).reshape(n, t, w))


class Mlp(nn.Module):
    """Linear, GELU (tanh form), Linear."""

    def __init__(self, width: int, hidden_width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden_width)
        self.fc2 = nn.Linear(hidden_width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(functional.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    """One adaLN-Zero block; `modulation` gives its six vectors from c (N, W) -> (N, 6 W)."""

    def __init__(self, width: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.mlp = Mlp(width, mlp_ratio * width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def modulation(self, c: torch.Tensor) -> torch.Tensor:
        return self.adaLN_modulation(c)

    def forward(
        self, x: torch.Tensor, modulation: torch.Tensor, keys: torch.Tensor | None = None
    ) -> torch.Tensor:
        """x (N, T, W), modulation (N, 6 W), keys as in `Attention` -> (N, T, W)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=1)
        x = torch.addcmul(x, gate1.unsqueeze(1), self.attn(modulate(self.norm1(x), shift1, scale1), keys))
        return torch.addcmul(x, gate2.unsqueeze(1), self.mlp(modulate(self.norm2(x), shift2, scale2)))


class FinalNorm(nn.Module):
    """The last adaptive norm before the embodiment's output; its modulation is two vectors, (N, 2 W)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def modulation(self, c: torch.Tensor) -> torch.Tensor:
        return self.adaLN_modulation(c)

    def forward(self, x: torch.Tensor, modulation: torch.Tensor) -> torch.Tensor:
        shift, scale = modulation.chunk(2, dim=1)
        return modulate(self.norm_final(x), shift, scale)
