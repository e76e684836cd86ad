"""Grounding of the vision tower: which object does each image token show?

A published Qwen2-VL has learned from the web to see and point at things. A backbone that is trained from
nothing has not, and from sub-step texts alone it takes long to find out that the pictures matter. The
simulator knows what each vision token shows; predicting that, beside language and actions, teaches the tower
in some hundred steps. The head is used in training only and is in no checkpoint.
"""

from collections.abc import Sequence

import torch
from torch import nn

from dexvla_model.batch import Batch
from dexvla_model.vlm.prompt import Prompt


class GroundingHead(nn.Module):
    """A linear reading of image tokens: (B, N, D) -> logits (B, O, N) of each token showing each object."""

    def __init__(self, width: int, objects: int):
        super().__init__()
        self.read_out = nn.Linear(width, objects)

    def forward(self, image_tokens: torch.Tensor) -> torch.Tensor:
        return self.read_out(image_tokens).transpose(1, 2)


class Grounded(nn.Module):
    """A model, and the grounding head that learns beside it, as one module to be spread over processes."""

    def __init__(self, model: nn.Module, head: GroundingHead):
        super().__init__()
        self.model = model
        self.head = head

    def forward(
        self, batches: Sequence[Batch], prompts: Sequence[Prompt], **options
    ) -> dict[str, torch.Tensor]:
        """The model's losses."""
        return self.model(batches, prompts, grounding_head=self.head, **options)
