"""Grounding of the vision tower: which object does each image token show?

A published Qwen2-VL has learned from the web to see and point at things. A backbone that is trained from nothing has
not, and from sub-step texts alone it takes long to find out that the pictures matter. The simulator knows what each
vision token shows; predicting that, beside language and actions, teaches the tower in some hundred steps. The head is
used in training only and is in no checkpoint.
"""

import torch
from torch import nn


class GroundingHead(nn.Module):
    """A linear reading of image tokens: (B, N, D) -> logits (B, O, N) of each token showing each object."""

    def __init__(self, width: int, objects: int):
        super().__init__()
        self.read_out = nn.Linear(width, objects)

    def forward(self, image_tokens: torch.Tensor) -> torch.Tensor:
        return self.read_out(image_tokens).transpose(1, 2)
