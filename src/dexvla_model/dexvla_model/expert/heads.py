"""The heads: everything of an expert whose shape depends on one embodiment."""

import torch
from torch import nn

from dexvla_model.expert.config import EmbodimentConfig


class TransformerHead(nn.Module):
    """A head of ScaleDP: action in, action out, state in, and a position embedding over its horizon."""

    def __init__(self, embodiment: EmbodimentConfig, width: int, combine_width: int) -> None:
        super().__init__()
        self.config = embodiment
        self.action_in = nn.Linear(embodiment.action_size, width)
        self.state_in = nn.Linear(embodiment.state_size, combine_width, bias=False)
        self.pos_embed = nn.Parameter(torch.empty(1, embodiment.horizon, width))
        self.action_out = nn.Linear(width, embodiment.action_size)
        nn.init.xavier_uniform_(self.action_in.weight)
        nn.init.zeros_(self.action_in.bias)
        nn.init.normal_(self.pos_embed, std=0.02)
        nn.init.zeros_(self.action_out.weight)
        nn.init.zeros_(self.action_out.bias)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Rows (N, T, A) -> (N, T, W), with positions."""
        return self.action_in(x.to(self.pos_embed.dtype)) + self.pos_embed[:, : x.shape[1]]

    def decode(self, h: torch.Tensor) -> torch.Tensor:
        """The trunk's output (N, T, W) -> rows (N, T, A)."""
        return self.action_out(h)


class ConvolutionalHead(nn.Module):
    """A head of the U-Net: what reads actions in its first block, what writes them, and state in.

    The first residual block maps A channels to W by a convolution, and by another one of kernel 1 for its
    shortcut. Both read the actions, so both are the head's (`action_in`); the rest of that block is trunk.
    """

    def __init__(
        self, embodiment: EmbodimentConfig, width: int, kernel_size: int, condition_width: int
    ) -> None:
        super().__init__()
        self.config = embodiment
        size = embodiment.action_size
        self.action_in = nn.ModuleDict(
            {
                "convolution": nn.Conv1d(size, width, kernel_size, padding=kernel_size // 2),
                "shortcut": nn.Conv1d(size, width, 1),
            }
        )
        self.state_in = nn.Linear(embodiment.state_size, condition_width, bias=False)
        self.action_out = nn.Conv1d(width, size, 1)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Rows (N, T, A) -> (N, 2 W, T): the first convolution's output, then the shortcut's."""
        rows = x.to(self.action_out.weight.dtype).transpose(1, 2)
        return torch.cat([self.action_in["convolution"](rows), self.action_in["shortcut"](rows)], dim=1)

    def decode(self, h: torch.Tensor) -> torch.Tensor:
        """The trunk's output (N, W, T) -> rows (N, T, A)."""
        return self.action_out(h).transpose(1, 2)
