"""Images to features: a ResNet whose blocks a sentence modulates, pooled so that places are kept.

Sources. The DexVLA paper (Wen et al. 2025) draws a FiLM ResNet in the VLM's place for stage 1 (figure 3) and
names DistilBERT for the language; its code for that stage is not public, and where the FiLM layers stand is
left open. Here they stand as in MT-ACT (Bharadhwaj et al. 2023, "RoboAgent"): in every block of all stages
but the first, on the residual branch behind its last normalization. One encoder serves all cameras and
robots, so that each of them teaches it: Diffusion Policy (Chi et al. 2023) has one per camera, LeRobot's
version of it shares one by default. What tells cameras apart is the projection behind it.
"""

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import nn
from torch.nn import functional
from transformers import ResNetModel

from dexvla_model.conditioning.config import CHANNELS_PER_GROUP, ImageEncoderConfig

# Mean and standard deviation of ImageNet's images, by which ResNets are published.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class FrozenBatchNorm(nn.Module):
    """BatchNorm with constant statistics and scales (Carion et al. 2020), under BatchNorm's own names."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )


class StageFiLM(nn.Module):
    """Scale and shift (Perez et al. 2018) of every block of a stage from a sentence, zero-initialised."""

    def __init__(self, sentence_width: int, blocks: int, channels: int) -> None:
        super().__init__()
        self.blocks, self.channels = blocks, channels
        self.modulation = nn.Linear(sentence_width, blocks * 2 * channels)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, sentence: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Sentences (B, D) -> for each block its scale and shift, both (B, channels, 1, 1)."""
        values = self.modulation(sentence).view(-1, self.blocks, 2, self.channels, 1, 1)
        return [(values[:, i, 0], values[:, i, 1]) for i in range(self.blocks)]


class SpatialSoftmax(nn.Module):
    """Keypoints of a map: the mean place under a softmax over it (Finn et al. 2016), one per channel.

    A 1x1 convolution makes K channels first, as in Diffusion Policy. x goes right and y goes down, from -1 to
    1 between the map's edges.
    """

    def __init__(self, channels: int, keypoints: int) -> None:
        super().__init__()
        self.keypoint_maps = nn.Conv2d(channels, keypoints, kernel_size=1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, 2 K), the K x first, then the K y."""
        maps = self.keypoint_maps(features)
        height, width = maps.shape[-2:]
        # In float32: places differ by less than bfloat16 resolves.
        attention = maps.float().flatten(2).softmax(dim=-1).unflatten(2, (height, width))
        x = (attention.sum(dim=-2) * _pixel_centres(width, maps.device)).sum(dim=-1)
        y = (attention.sum(dim=-1) * _pixel_centres(height, maps.device)).sum(dim=-1)
        return torch.cat([x, y], dim=1).to(features.dtype)


def _pixel_centres(count: int, device: torch.device) -> torch.Tensor:
    return (torch.arange(count, device=device) + 0.5) * (2 / count) - 1


@lru_cache(maxsize=16)
def _normalisation(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift (3, 1, 1) of pixels from 0 to 255."""
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (_MEAN, _STD))
    return 1 / (255 * std), -mean / std


class ImageEncoder(nn.Module):
    """Images of several cameras and a sentence -> a feature vector per camera.

    Args:
        sentence_width: D, width of the sentences that modulate the blocks.
    """

    def __init__(self, config: ImageEncoderConfig, sentence_width: int) -> None:
        super().__init__()
        self.config = config
        self.resnet = ResNetModel(config.to_transformers())
        _replace_batch_norm(self.resnet, config.normalization)
        stages = zip(config.hidden_sizes, config.depths, strict=True)
        self.film = nn.ModuleDict(
            {
                str(stage): StageFiLM(sentence_width, depth, channels)
                for stage, (channels, depth) in enumerate(stages)
                if stage >= config.film_from_stage
            }
        )
        self.pool = (
            SpatialSoftmax(config.hidden_sizes[-1], config.keypoints)
            if config.pooling == "spatial_softmax"
            else nn.AdaptiveAvgPool2d(1)
        )

    def feature_maps(self, images: torch.Tensor, sentence: torch.Tensor) -> torch.Tensor:
        """Images (B, H, W, 3) uint8 RGB and sentences (B, D) -> maps (B, C, H', W')."""
        scale, shift = _normalisation(images.device)
        pixels = torch.addcmul(shift, images.permute(0, 3, 1, 2).float(), scale)
        x = self.resnet.embedder(pixels.to(self.resnet.embedder.embedder.convolution.weight.dtype))
        for index, stage in enumerate(self.resnet.encoder.stages):
            if str(index) not in self.film:
                x = stage(x)
                continue
            for block, (gain, offset) in zip(stage.layers, self.film[str(index)](sentence), strict=True):
                residual = torch.addcmul(offset, block.layer(x), 1 + gain)
                x = block.activation(residual + block.shortcut(x))
        return x

    def forward(self, images: Mapping[str, torch.Tensor], sentence: torch.Tensor) -> dict[str, torch.Tensor]:
        """Images (B, H, W, 3) uint8 RGB by role, of any sizes, and sentences (B, D) -> (B, F) by role.

        Cameras of the same size go through the network in one batch.
        """
        by_size: dict[torch.Size, list[str]] = {}
        for role, views in images.items():
            by_size.setdefault(views.shape, []).append(role)
        features = {}
        for roles in by_size.values():
            maps = self.feature_maps(
                torch.cat([images[role] for role in roles]), sentence.repeat(len(roles), 1)
            )
            features |= zip(roles, self.pool(maps).flatten(1).chunk(len(roles)), strict=True)
        return features


def _replace_batch_norm(module: nn.Module, normalization: str) -> None:
    for name, child in module.named_children():
        if not isinstance(child, nn.BatchNorm2d):
            _replace_batch_norm(child, normalization)
            continue
        channels = child.num_features
        norm = (
            nn.GroupNorm(channels // CHANNELS_PER_GROUP, channels)
            if normalization == "group"
            else FrozenBatchNorm(channels, child.eps)
        )
        setattr(module, name, norm)
