"""Training batches, of every model with an action expert."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from dexvla_model.expert import ChunkBatch
from dexvla_model.vlm.backbone import ImageTokens
from dexvla_model.vlm.prompt import PromptTokens


@dataclass(frozen=True)
class TaskText:
    """What a robot is told at one observation: the instruction, and its sub-step ("" when not known)."""

    instruction: str
    sub_step: str = ""


@dataclass(frozen=True)
class Batch:
    """A training batch of one embodiment; a batch that mixes embodiments is a sequence of these.

    B observations; K chunks may share one observation, which is how a chunk that starts after its observation
    was taken (inference takes time) trains cheaply.

    Attributes:
        embodiment: whose head.
        images: by camera role, (B, H, W, 3) uint8 RGB at the model's size.
        tokens: prompts and reasoning, (B, L); None where no language model reads them.
        state: (B, S) or (B, K, S), normalised: at each chunk's stamp.
        actions: (B, T, A) or (B, K, T, A), normalised.
        is_pad: (B, T) or (B, K, T) bool, rows behind the end of the episode; None when there are none.
        grounding: (B, O, N) in [0, 1], how much of each of the N image tokens shows each of O objects; None
            where it is not known.
        image_tokens: of all cameras, where they were made beforehand by a vision tower that does not learn;
            then `images` may be empty.
        texts: B texts, for a model that is conditioned on sentences; None where only tokens are needed.
    """

    embodiment: str
    images: Mapping[str, torch.Tensor]
    tokens: PromptTokens | None
    state: torch.Tensor
    actions: torch.Tensor
    is_pad: torch.Tensor | None = None
    grounding: torch.Tensor | None = None
    texts: Sequence[TaskText] | None = None
    image_tokens: ImageTokens | None = None

    def chunks(self, condition: torch.Tensor) -> ChunkBatch:
        """What the expert learns from, under conditions (B, C) or (B, 1, C) that a model made of the rest."""
        return ChunkBatch(self.embodiment, self.actions, condition, self.state, self.is_pad)

    def to(self, device: torch.device | str) -> "Batch":
        return Batch(
            self.embodiment,
            {role: batch.to(device) for role, batch in self.images.items()},
            None if self.tokens is None else self.tokens.to(device),
            self.state.to(device),
            self.actions.to(device),
            None if self.is_pad is None else self.is_pad.to(device),
            None if self.grounding is None else self.grounding.to(device),
            self.texts,
            None if self.image_tokens is None else self.image_tokens.to(device),
        )
