"""Fusion of what the language model read and what it reasoned into the condition of the expert.

As published (Wen et al. 2025, DexVLA): the mean prompt state and the mean reasoning state each go through a
small MLP; FiLM (Perez et al. 2018) modulates the first by the second; the mean prompt state is added.
"""

import torch
from torch import nn


def masked_mean(hidden_states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the tokens where `mask` (B, L) is true of hidden states (B, L, D) -> (B, D); zero where none
    is.
    """
    weights = mask.to(hidden_states.dtype)
    weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.bmm(weights.unsqueeze(1), hidden_states).squeeze(1)


class TokenProjection(nn.Module):
    """A pooled state (B, D) -> (B, D): Linear, GELU, Linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlps = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.mlps(pooled)


class FiLM(nn.Module):
    """Feature-wise linear modulation, zero-initialised: it starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale_fc = nn.Linear(width, width)
        self.shift_fc = nn.Linear(width, width)
        for linear in (self.scale_fc, self.shift_fc):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return x * (1 + self.scale_fc(condition)) + self.shift_fc(condition)


class Fusion(nn.Module):
    """Hidden states of the language model -> condition of the expert.

    Padding may stand on either side or in between: the two masks alone say which tokens count.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.input_action_proj = TokenProjection(width)
        self.reasoning_action_proj = TokenProjection(width)
        self.reasoning_film = FiLM(width)

    def forward(
        self, hidden_states: torch.Tensor, prompt_mask: torch.Tensor, reasoning_mask: torch.Tensor
    ) -> torch.Tensor:
        """Hidden states (B, L, D), masks (B, L) bool of prompt and reasoning -> condition (B, 1, D)."""
        prompt = masked_mean(hidden_states, prompt_mask)
        reasoning = masked_mean(hidden_states, reasoning_mask)
        modulated = self.reasoning_film(self.input_action_proj(prompt), self.reasoning_action_proj(reasoning))
        return (modulated + prompt).unsqueeze(1)
