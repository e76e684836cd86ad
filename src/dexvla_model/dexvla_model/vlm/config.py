"""Sizes of the vision-language backbone, as transformers configurations."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import Qwen2VLConfig

from dexvla_model.errors import UserError
from dexvla_model.vlm.images import PatchGeometry

# Shared by all of Qwen2-VL: patches of 14 pixels, merged two by two, two frames each.
_PATCHES = {"patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "in_channels": 3}

# The published Qwen2-VL-2B-Instruct.
_QWEN2_VL_2B = {
    "vision": {"depth": 32, "embed_dim": 1280, "num_heads": 16, "mlp_ratio": 4},
    "text": {
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "vocab_size": 151936,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [16, 24, 24]},
    },
}

# Small enough to train from nothing on two CPU cores.
_TINY = {
    "patch_positions": 16,
    "vision": {"depth": 4, "embed_dim": 128, "num_heads": 4, "mlp_ratio": 3, "initializer_range": 0.05},
    "text": {
        "hidden_size": 160,
        "intermediate_size": 384,
        "initializer_range": 0.05,
        "num_hidden_layers": 4,
        "num_attention_heads": 5,
        "num_key_value_heads": 5,
        "max_position_embeddings": 2048,
        "vocab_size": 1024,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
    },
}

# For tests: everything of the architecture, nothing of the size.
_NANO = {
    "patch_positions": 10,
    "vision": {"depth": 2, "embed_dim": 32, "num_heads": 2, "mlp_ratio": 2},
    "text": {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "vocab_size": 512,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
    },
}

BACKBONE_PRESETS: dict[str, dict] = {"qwen2-vl-2b": _QWEN2_VL_2B, "tiny": _TINY, "nano": _NANO}


@dataclass(frozen=True)
class BackboneConfig:
    """Everything that determines the shape of a backbone; JSON-serialisable.

    Attributes:
        vision: fields of transformers' Qwen2VLVisionConfig.
        text: fields of transformers' Qwen2VLTextConfig.
        special_tokens: ids of the tokenizer's special tokens by their text, and `vocab_size`; empty for those
            of the published tokenizer.
        patch_positions: side, in patches, of a table of learned positions that is added to the patches (as
            Qwen3-VL has it); 0 for none, as published for Qwen2-VL. Its rotary positions are relative: to say
            *where* something is, a model has to learn absolute ones from them, for which a small one sees too
            few images.
    """

    vision: dict[str, Any]
    text: dict[str, Any]
    special_tokens: dict[str, int] = field(default_factory=dict)
    patch_positions: int = 0

    @property
    def width(self) -> int:
        """Width of the language model's hidden states, and so of the expert's condition."""
        return self.text["hidden_size"]

    @property
    def context_length(self) -> int:
        """The most tokens that prompt and reasoning may have together."""
        return self.text["max_position_embeddings"]

    def geometry(self) -> PatchGeometry:
        return PatchGeometry(
            _PATCHES["patch_size"], _PATCHES["spatial_merge_size"], _PATCHES["temporal_patch_size"]
        )

    def to_transformers(self) -> Qwen2VLConfig:
        """transformers' configuration. Raises UserError for fields that do not fit each other."""
        heads, width = self.text["num_attention_heads"], self.text["hidden_size"]
        sections = self.text["rope_parameters"]["mrope_section"]
        if width % heads or 2 * sum(sections) != width // heads:
            raise UserError(
                f"vlm.text: mrope_section {sections} must add up to half of "
                f"hidden_size / num_attention_heads, which is {width} / {heads}."
            )
        text = dict(self.text)
        vision = dict(self.vision) | _PATCHES | {"hidden_size": width}
        top = {}
        if self.special_tokens:
            ids = self.special_tokens
            text["vocab_size"] = ids["vocab_size"]
            text["bos_token_id"] = text["pad_token_id"] = ids["<|endoftext|>"]
            text["eos_token_id"] = ids["<|im_end|>"]
            top = {
                "image_token_id": ids["<|image_pad|>"],
                "video_token_id": ids["<|video_pad|>"],
                "vision_start_token_id": ids["<|vision_start|>"],
                "vision_end_token_id": ids["<|vision_end|>"],
            }
        return Qwen2VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **top)


def backbone_preset(
    name: str,
    special_tokens: Mapping[str, int] | None = None,
    vision: Mapping[str, Any] | None = None,
    text: Mapping[str, Any] | None = None,
) -> BackboneConfig:
    """The preset `name`, with fields of its sections replaced.

    Args:
        special_tokens: see `BackboneConfig`.
        vision, text: fields to replace, such as text={"num_hidden_layers": 2}.

    Raises:
        UserError: an unknown preset or field.
    """
    if name not in BACKBONE_PRESETS:
        raise UserError(f"VLM preset {name!r} is unknown, allowed are {', '.join(sorted(BACKBONE_PRESETS))}.")
    sections = {}
    for section, changes in (("vision", vision or {}), ("text", text or {})):
        fields = dict(BACKBONE_PRESETS[name][section])
        unknown = sorted(set(changes) - set(fields))
        if unknown:
            allowed = ", ".join(sorted(fields))
            raise UserError(f"vlm.{section}.{unknown[0]} is unknown, allowed are {allowed}.")
        sections[section] = fields | dict(changes)
    positions = BACKBONE_PRESETS[name].get("patch_positions", 0)
    return BackboneConfig(sections["vision"], sections["text"], dict(special_tokens or {}), positions)
