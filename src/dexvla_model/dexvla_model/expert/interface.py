"""What every action expert is: the one interface that losses, samplers and policies use.

An expert predicts what is noise in action chunks under a condition and a robot state: the noise itself, or
the velocity of a flow (`dexvla_model.expert.objectives`). Everything whose shape
depends on the robot is a head per embodiment; the trunk is shared by all of them, and samples of several
embodiments can go through it together.

Shapes: B conditions, K (state, chunk) pairs for each of them, N samples, T rows, A action size, S state size,
C condition width, E width of the embedded condition, F width of the embedded time.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from dexvla_model.errors import UserError
from dexvla_model.expert.checks import require_shape
from dexvla_model.expert.config import EmbodimentConfig
from dexvla_model.expert.row_padding import pad_rows, split_rows


class ActionExpert(nn.Module, ABC):
    """Noise prediction for noisy action chunks, one head per embodiment.

    The network is cut where its inputs part ways, so that a sampler computes nothing more often than it must:

        embed_condition   condition and state: once per chunk
        embed_time        time steps: once per schedule
        modulations       of `combine_time` of both, all that does not depend on the sample: all steps at once
        denoise           the rest: once per step

    A large expert whose weights come from a file is built without drawing random ones:

        with torch.device("meta"):
            expert = expert_from_config(config, embodiments)
        expert.load_state_dict(weights, assign=True)   # or expert.to_empty(device=...), then copy into it

    Nothing is lost by that: an expert has parameters only, no buffers.

    Attributes:
        config: sizes of the trunk; every kind has `condition_width` and `objective`.
        heads: by embodiment; every head has `config`, its EmbodimentConfig.
    """

    config: Any
    heads: nn.ModuleDict
    # The axis of rows in what a head's `encode` gives and the trunk maps.
    _row_axis: int

    @property
    def objective(self) -> str:
        """What `denoise` predicts: one of `dexvla_model.expert.objectives.OBJECTIVES`."""
        return self.config.objective

    # ------------------------------------------------------------------ heads
    @property
    def embodiments(self) -> dict[str, EmbodimentConfig]:
        """The embodiments that have a head, by name."""
        return {name: head.config for name, head in self.heads.items()}

    def head(self, embodiment: str) -> nn.Module:
        """The head of an embodiment. Raises UserError when there is none of that name."""
        if embodiment not in self.heads:
            known = ", ".join(sorted(self.heads)) or "none"
            raise UserError(f"the policy has no head for embodiment {embodiment!r}, it has: {known}.")
        return self.heads[embodiment]

    def add_embodiment(self, name: str, embodiment: EmbodimentConfig) -> None:
        """Add a freshly initialised head; nothing else changes. Raises UserError for a bad or taken name."""
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise UserError(f"embodiment name {name!r} must be lower case letters, digits and underscores.")
        if name in self.heads:
            raise UserError(f"embodiment {name!r} has a head already: choose another name.")
        like = next(self.parameters())
        self.heads[name] = self._new_head(embodiment).to(device=like.device, dtype=like.dtype)

    def _add_heads(self, embodiments: Mapping[str, EmbodimentConfig]) -> None:
        """The last step of building an expert: heads stand behind the trunk among its parameters."""
        self.heads = nn.ModuleDict()
        for name, embodiment in embodiments.items():
            self.add_embodiment(name, embodiment)

    # ------------------------------------------------------------------ what a kind of expert is made of
    @abstractmethod
    def _new_head(self, embodiment: EmbodimentConfig) -> nn.Module:
        """A freshly initialised head with `config`, `state_in`, `encode` and `decode`."""

    @abstractmethod
    def _condition_features(self, condition: torch.Tensor) -> torch.Tensor:
        """Condition (B, C) -> (B, H), to which a head's `state_in` (..., H) is added."""

    @abstractmethod
    def _embed(self, features: torch.Tensor) -> torch.Tensor:
        """Features (..., H) of condition and state -> (..., E)."""

    @abstractmethod
    def _trunk(
        self, h: torch.Tensor, modulations: Sequence[torch.Tensor], lengths: torch.Tensor | None
    ) -> torch.Tensor:
        """What heads encoded, N samples, -> what heads decode.

        `lengths` (N,): rows of each sample, those behind them must not count; None where all rows count.
        """

    # ------------------------------------------------------------------ conditioning
    def embed_condition(self, condition: torch.Tensor, state: torch.Tensor, embodiment: str) -> torch.Tensor:
        """Condition (B, C) or (B, 1, C) and state (B, S) or (B, K, S) -> (B, E) or (B, K, E).

        With K states per condition, the condition's part is computed once.

        Raises:
            UserError: unknown embodiment, or a width that is not the head's or the expert's.
        """
        return self.embed_mixed([(embodiment, condition, state)])[0]

    def embed_mixed(self, parts: Sequence[tuple[str, torch.Tensor, torch.Tensor]]) -> list[torch.Tensor]:
        """`embed_condition` of parts (embodiment, condition, state), with one pass through the trunk."""
        conditions, states = [], []
        for embodiment, condition, state in parts:
            conditions.append(self._checked_condition(condition))
            states.append(self._checked_state(state, embodiment, len(conditions[-1])))
        of_conditions = self._condition_features(_joined(conditions)).split([len(c) for c in conditions])
        features = []
        for (embodiment, _, _), state, of_condition in zip(parts, states, of_conditions, strict=True):
            of_state = self.head(embodiment).state_in(state)
            of_condition = of_condition if state.dim() == 2 else of_condition.unsqueeze(1)
            features.append(of_condition + of_state)
        if len(parts) == 1:
            return [self._embed(features[0])]
        embedded = self._embed(torch.cat([part.flatten(0, -2) for part in features]))
        sizes = [part.shape[:-1] for part in features]
        return [
            part.unflatten(0, size)
            for part, size in zip(embedded.split([size.numel() for size in sizes]), sizes, strict=True)
        ]

    @abstractmethod
    def embed_time(self, t: torch.Tensor) -> torch.Tensor:
        """Time steps (N,) -> (N, F)."""

    @abstractmethod
    def combine_time(self, time: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        """Embedded time (..., F) and condition (..., E) -> c (..., E'); leading dimensions broadcast."""

    @abstractmethod
    def modulations(self, c: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """c (N, E') of `combine_time` -> tensors (N, m): all that does not depend on the sample."""

    # ------------------------------------------------------------------ noise prediction
    def denoise(self, x: torch.Tensor, modulations: Sequence[torch.Tensor], embodiment: str) -> torch.Tensor:
        """Noisy rows x (N, T, A) under given modulations -> predicted noise or velocity (N, T, A).

        T may be less than the head's horizon: the first T rows are meant.

        Raises:
            UserError: unknown embodiment, another action size, or more rows than the head's horizon.
        """
        head = self.head(embodiment)
        _check_rows(x, embodiment, head.config)
        return head.decode(self._trunk(head.encode(x), modulations, None))

    def denoise_mixed(
        self, parts: Sequence[tuple[str, torch.Tensor]], modulations: Sequence[torch.Tensor]
    ) -> list[torch.Tensor]:
        """`denoise` of parts (embodiment, x), with one pass through the trunk.

        Parts may differ in action size and rows; each comes out as it would on its own.

        Args:
            modulations: each (N, m) over the samples of all parts, one part behind the other.
        """
        heads = [self.head(embodiment) for embodiment, _ in parts]
        for (embodiment, x), head in zip(parts, heads, strict=True):
            _check_rows(x, embodiment, head.config)
        encoded = [head.encode(x) for head, (_, x) in zip(heads, parts, strict=True)]
        h, lengths = pad_rows(encoded, self._row_axis)
        h = self._trunk(h, modulations, lengths)
        of_parts = split_rows(h, encoded, self._row_axis)
        return [head.decode(part) for head, part in zip(heads, of_parts, strict=True)]

    def forward(
        self, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor, state: torch.Tensor, embodiment: str
    ) -> torch.Tensor:
        """Noise or velocity (N, T, A) for x (N, T, A), t (N,), condition (N, C) or (N, 1, C), state (N, S).

        Raises:
            UserError: unknown embodiment, or a tensor that does not fit it or the others.
        """
        require_shape("t", t, x.shape[:1])
        require_shape("state", state, (len(x), self.head(embodiment).config.state_size))
        c = self.combine_time(self.embed_time(t), self.embed_condition(condition, state, embodiment))
        return self.denoise(x, self.modulations(c), embodiment)

    # ------------------------------------------------------------------ checks
    def _checked_condition(self, condition: torch.Tensor) -> torch.Tensor:
        """The condition as (B, C)."""
        width = self.config.condition_width
        single = condition.dim() == 2 or (condition.dim() == 3 and condition.shape[1] == 1)
        if not single or condition.shape[-1] != width:
            raise UserError(
                f"condition has shape {tuple(condition.shape)}, expected is (B, {width}) or (B, 1, {width}): "
                "give what the fusion of the same model makes."
            )
        return condition.reshape(condition.shape[0], width)

    def _checked_state(self, state: torch.Tensor, embodiment: str, count: int) -> torch.Tensor:
        size = self.head(embodiment).config.state_size
        if state.dim() not in (2, 3) or state.shape[0] != count or state.shape[-1] != size:
            raise UserError(
                f"state of embodiment {embodiment!r} has shape {tuple(state.shape)}, expected is "
                f"({count}, {size}) or ({count}, K, {size}): give states of the robot that the head is for."
            )
        return state


def _check_rows(x: torch.Tensor, embodiment: str, head: EmbodimentConfig) -> None:
    if x.dim() != 3 or x.shape[2] != head.action_size or not 1 <= x.shape[1] <= head.horizon:
        raise UserError(
            f"actions of embodiment {embodiment!r} have shape {tuple(x.shape)}, expected is "
            f"(N, T, {head.action_size}) with T from 1 to the head's horizon {head.horizon}: "
            "give chunks of that robot."
        )


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
