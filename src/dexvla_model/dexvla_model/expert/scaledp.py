"""ScaleDP: the diffusion transformer that turns a condition and a robot state into an action chunk.

Architecture of the DexVLA paper's expert (Zhu et al. 2024, "Scaling diffusion policy in transformer"; Wen et
al. 2025, "DexVLA"), with everything whose shape depends on the robot moved into a head per embodiment:

    trunk:  time embedder, combine MLP (but for its state columns), condition projection, blocks, final norm
    head:   action in, action out, state in, position embedding over its horizon

The published `combine.0` is one Linear over concat(condition, state). A Linear over a concatenation is the
sum of two Linears over its parts, so it splits exactly: the condition's columns and the bias are trunk
(`condition_in`), the state's columns are head (`state_in`, without bias).
"""

import re
from collections.abc import Mapping

import torch
from torch import nn

from dexvla_model.errors import UserError
from dexvla_model.expert.blocks import Block, FinalNorm
from dexvla_model.expert.config import EmbodimentConfig, ScaleDPConfig
from dexvla_model.expert.time_embedding import TimeEmbedder


class EmbodimentHead(nn.Module):
    """Everything of the expert whose shape depends on one embodiment."""

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


class Combine(nn.Module):
    """MLP over concat(condition, state), the state's columns of its first layer given by the head."""

    def __init__(self, condition_width: int, hidden_width: int) -> None:
        super().__init__()
        self.condition_in = nn.Linear(condition_width, hidden_width)
        self.hidden = nn.Linear(hidden_width, hidden_width)
        self.out = nn.Linear(hidden_width, condition_width)

    def forward(self, condition: torch.Tensor, state_features: torch.Tensor) -> torch.Tensor:
        """condition (B, C) and state features (B, K, hidden) -> (B, K, C)."""
        first = self.condition_in(condition).unsqueeze(1) + state_features
        return self.out(torch.relu(self.hidden(torch.relu(first))))


class ScaleDP(nn.Module):
    """Noise prediction for noisy action chunks, one head per embodiment.

    Shapes: B conditions, K (state, chunk) pairs for each of them, N = B K samples, T rows, A action size,
    S state size, C condition width, W width.
    """

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
        self.heads = nn.ModuleDict()
        self._initialise()
        for name, embodiment in embodiments.items():
            self.add_embodiment(name, embodiment)

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

    # ------------------------------------------------------------------ heads
    @property
    def embodiments(self) -> dict[str, EmbodimentConfig]:
        """The embodiments that have a head, by name."""
        return {name: head.config for name, head in self.heads.items()}

    def add_embodiment(self, name: str, embodiment: EmbodimentConfig) -> None:
        """Add a freshly initialised head; nothing else changes. Raises UserError for a bad or taken name."""
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise UserError(f"embodiment name {name!r} must be lower case letters, digits and underscores.")
        if name in self.heads:
            raise UserError(f"embodiment {name!r} has a head already: choose another name.")
        head = EmbodimentHead(embodiment, self.config.width, self.config.combine_width)
        self.heads[name] = head.to(self.cond_obs_emb.weight)

    def head(self, embodiment: str) -> EmbodimentHead:
        """The head of an embodiment. Raises UserError when there is none of that name."""
        if embodiment not in self.heads:
            known = ", ".join(sorted(self.heads)) or "none"
            raise UserError(f"the policy has no head for embodiment {embodiment!r}, it has: {known}.")
        return self.heads[embodiment]

    # ------------------------------------------------------------------ conditioning
    def embed_condition(self, condition: torch.Tensor, state: torch.Tensor, embodiment: str) -> torch.Tensor:
        """Condition (B, C) or (B, 1, C) and state (B, S) or (B, K, S) -> (B, W) or (B, K, W).

        With K states per condition, the condition's part of the MLP is computed once.
        """
        states = state if state.dim() == 3 else state.unsqueeze(1)
        condition = condition.reshape(states.shape[0], self.config.condition_width)
        combined = self.combine(condition, self.head(embodiment).state_in(states))
        embedded = self.cond_obs_emb(combined)
        return embedded if state.dim() == 3 else embedded.squeeze(1)

    def modulations(self, c: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Modulations of c (N, W), embedded time + embedded condition: (N, 6 W) per block, then (N, 2 W)."""
        return (*(block.modulation(c) for block in self.blocks), self.final_norm.modulation(c))

    # ------------------------------------------------------------------ noise prediction
    def denoise(
        self, x: torch.Tensor, modulations: tuple[torch.Tensor, ...], embodiment: str
    ) -> torch.Tensor:
        """Noisy rows x (N, T, A) under given modulations -> predicted noise (N, T, A).

        T may be less than the head's horizon: the first T positions are used.
        """
        head = self.head(embodiment)
        h = head.action_in(x.to(head.action_in.weight.dtype)) + head.pos_embed[:, : x.shape[1]]
        for block, modulation in zip(self.blocks, modulations[:-1], strict=True):
            h = block(h, modulation)
        return head.action_out(self.final_norm(h, modulations[-1]))

    def forward(
        self, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor, state: torch.Tensor, embodiment: str
    ) -> torch.Tensor:
        """Noise (B, T, A) predicted for x (B, T, A), t (B,), condition (B, C) or (B, 1, C), state (B, S)."""
        c = self.t_embedder(t) + self.embed_condition(condition, state, embodiment)
        return self.denoise(x, self.modulations(c), embodiment)
