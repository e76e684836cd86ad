"""The vision-language backbone: Qwen-VL, its tokenizer, its prompt and its images."""

from dexvla_model.vlm.backbone import Backbone, ImageTokens
from dexvla_model.vlm.config import BackboneConfig, backbone_preset
from dexvla_model.vlm.images import ImageSize, PatchGeometry
from dexvla_model.vlm.numbers import initialise_number_embeddings
from dexvla_model.vlm.presets import BACKBONE_PRESETS
from dexvla_model.vlm.prompt import Prompt, PromptTokens
from dexvla_model.vlm.tokenizer import load_tokenizer, special_token_ids, train_tokenizer

__all__ = [
    "BACKBONE_PRESETS",
    "Backbone",
    "ImageTokens",
    "BackboneConfig",
    "ImageSize",
    "PatchGeometry",
    "Prompt",
    "PromptTokens",
    "backbone_preset",
    "initialise_number_embeddings",
    "load_tokenizer",
    "special_token_ids",
    "train_tokenizer",
]
