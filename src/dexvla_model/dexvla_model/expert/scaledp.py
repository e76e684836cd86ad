"""ScaleDP: the diffusion transformer that turns a condition and a robot state into an action chunk.

Architecture of the DexVLA paper's expert (Zhu et al. 2024, "Scaling diffusion policy in transformer"; Wen et
al. 2025, "DexVLA"), with everything whose shape depends on the robot moved into a head per embodiment:

    trunk:  time embedder, combine MLP (but for its state columns), condition projection, blocks, final norm
    head:   action in, action out, state in, position embedding over its horizon

The published `combine.0` is one Linear over concat(condition, state). A Linear over a concatenation is the
sum of two Linears over its parts, so it splits exactly: the condition's columns and the bias are trunk
(`condition_in`), the state's columns are head (`state_in`, without bias).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from dexvla_model.expert.blocks import Block, FinalNorm
from dexvla_model.expert.config import EmbodimentConfig, ScaleDPConfig
from dexvla_model.expert.heads import TransformerHead
from dexvla_model.expert.interface import ActionExpert
from dexvla_model.expert.row_padding import row_mask
from dexvla_model.expert.time_embedding import TimeEmbedder


class Combine(nn.Module):
    """MLP over concat(condition, state), the state's columns of its first layer given by the head."""

    def __init__(self, condition_width: int, hidden_width: int) -> None:
        super().__init__()
        self.condition_in = nn.Linear(condition_width, hidden_width)
        self.hidden = nn.Linear(hidden_width, hidden_width)
        self.out = nn.Linear(hidden_width, condition_width)

    def forward(self, first: torch.Tensor) -> torch.Tensor:
        """What the first layer gives, (..., hidden), both parts added -> (..., C)."""
        return self.out(torch.relu(self.hidden(torch.relu(first))))


class ScaleDP(ActionExpert):
    """Diffusion transformer with adaLN-Zero blocks. See `ActionExpert`; W is the width, E = E' = F = W."""

    config: ScaleDPConfig
    _row_axis = 1

    def __init__(self, config: ScaleDPConfig, embodiments: Mapping[str, EmbodimentConfig]) -> None:
        super().__init__()
        self.config = config
        self.t_embedder = TimeEmbedder(config.width, config.time_frequency_size)
        self.combine = Combine(config.condition_width, config.combine_width)
        self.cond_obs_emb = nn.Linear(config.condition_width, config.width)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_ratio) for _ in range(config.depth)
        )
        self.final_norm = FinalNorm(config.width)
        self._initialise()
        self._add_heads(embodiments)

    def _initialise(self) -> None:
        """As DiT: Xavier for linear layers, zero for modulations, so that each block starts as identity."""
        for block in self.blocks:
            for linear in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2):
                nn.init.xavier_uniform_(linear.weight)
                nn.init.zeros_(linear.bias)
        for layer in (*self.blocks, self.final_norm):
            nn.init.zeros_(layer.adaLN_modulation[1].weight)
            nn.init.zeros_(layer.adaLN_modulation[1].bias)
        for linear in (self.t_embedder.mlp[0], self.t_embedder.mlp[2]):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def _new_head(self, embodiment: EmbodimentConfig) -> TransformerHead:
        return TransformerHead(embodiment, self.config.width, self.config.combine_width)

    def _condition_features(self, condition: torch.Tensor) -> torch.Tensor:
        return self.combine.condition_in(condition)

    def _embed(self, features: torch.Tensor) -> torch.Tensor:
        return self.cond_obs_emb(self.combine(features))

    def embed_time(self, t: torch.Tensor) -> torch.Tensor:
        """Time steps (N,) -> (N, W)."""
        return self.t_embedder(t)

    def combine_time(self, time: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        """The sum of both, (..., W)."""
        return time + embedded

    def modulations(self, c: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Modulations of c (N, W), embedded time + embedded condition: (N, 6 W) per block, then (N, 2 W)."""
        return (*(block.modulation(c) for block in self.blocks), self.final_norm.modulation(c))

    def _trunk(
        self, h: torch.Tensor, modulations: Sequence[torch.Tensor], lengths: torch.Tensor | None
    ) -> torch.Tensor:
        keys = None if lengths is None else row_mask(lengths, h.shape[1])[:, None, None, :]
        for block, modulation in zip(self.blocks, modulations[:-1], strict=True):
            h = block(h, modulation, keys)
        return self.final_norm(h, modulations[-1])
