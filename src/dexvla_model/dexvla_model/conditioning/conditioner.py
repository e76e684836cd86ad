"""The condition of the expert from camera images and a sentence, in a vision-language model's place.

Image features of all cameras and the sentence are concatenated and go through an MLP, as in DROID's diffusion
policy (Khazatsky et al. 2024: ResNet-50 and DistilBERT). A Linear over a concatenation is the sum of Linears
over its parts; written so, each camera role has a part of its own, a robot without that camera just leaves it
out, and a robot with another one adds a part and changes nothing else.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from dexvla_model.conditioning.config import ImageEncoderConfig, SentenceEncoderConfig
from dexvla_model.conditioning.image_encoder import ImageEncoder
from dexvla_model.conditioning.sentence_encoder import SentenceEncoder


class Conditioner(nn.Module):
    """Images and sentences -> conditions (B, 1, C).

    Args:
        roles: of all cameras that any robot has.
        hidden_width: of the MLP.
        condition_width: C.
    """

    def __init__(
        self,
        image: ImageEncoderConfig,
        text: SentenceEncoderConfig,
        roles: Iterable[str],
        hidden_width: int,
        condition_width: int,
    ) -> None:
        super().__init__()
        self.sentence_encoder = SentenceEncoder(text)
        self.image_encoder = ImageEncoder(image, text.width)
        self.sentence_in = nn.Linear(text.width, hidden_width)
        self.camera_in = nn.ModuleDict()
        # The norm at the end: the expert meets conditions of the scale that the hidden states of a language
        # model have, in which stage 2 gives them, and a text is heard from the first step on.
        self.mlp = nn.Sequential(
            nn.GELU(),
            nn.Linear(hidden_width, hidden_width),
            nn.GELU(),
            nn.Linear(hidden_width, condition_width),
            nn.LayerNorm(condition_width),
        )
        for role in roles:
            self.add_camera(role)

    def add_camera(self, role: str) -> None:
        """Add a camera role's part of the MLP; nothing happens when there is one."""
        if _key(role) in self.camera_in:
            return
        part = nn.Linear(self.image_encoder.config.feature_width, self.sentence_in.out_features)
        self.camera_in[_key(role)] = part.to(self.sentence_in.weight)

    def forward(self, images: Mapping[str, torch.Tensor], sentence: torch.Tensor) -> torch.Tensor:
        """Images (B, H, W, 3) uint8 RGB by role and sentence vectors (B, D) -> conditions (B, 1, C)."""
        hidden = self.sentence_in(sentence)
        for role, features in self.image_encoder(images, sentence).items():
            hidden = hidden + self.camera_in[_key(role)](features)
        return self.mlp(hidden).unsqueeze(1)


def _key(role: str) -> str:
    """A module's name for a camera role; `forward` alone would clash with PyTorch's own names."""
    return f"{role}_camera"
