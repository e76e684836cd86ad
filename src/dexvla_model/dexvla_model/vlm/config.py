"""What determines the shape of a vision-language backbone, as transformers' configuration."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedConfig

from dexvla_model.errors import UserError
from dexvla_model.vlm.families import FAMILIES, Family
from dexvla_model.vlm.images import PatchGeometry
from dexvla_model.vlm.presets import BACKBONE_PRESETS


@dataclass(frozen=True)
class BackboneConfig:
    """Everything that determines the shape of a backbone; JSON-serialisable.

    Attributes:
        vision: fields of the family's vision configuration in transformers.
        text: fields of the family's text configuration in transformers.
        special_tokens: ids of the tokenizer's special tokens by their text, and `vocab_size`; empty for those
            of the published tokenizer.
        patch_positions: side, in patches, of a table of learned positions that is added to the patches (as
            Qwen3-VL has it); 0 for none, as published. The rotary positions of Qwen2-VL are relative: to say
            *where* something is, a model has to learn absolute ones from them, for which a small one sees too
            few images.
        family: the generation, one of `FAMILIES`.
        tie_embeddings: the output layer shares the weights of the input embedding, as small sizes have it.
    """

    vision: dict[str, Any]
    text: dict[str, Any]
    special_tokens: dict[str, int] = field(default_factory=dict)
    patch_positions: int = 0
    family: str = "qwen2_vl"
    tie_embeddings: bool = True

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise UserError(f"vlm.family is {self.family!r}, allowed are {', '.join(FAMILIES)}.")

    @property
    def width(self) -> int:
        """Width of the language model's hidden states, and so of the expert's condition."""
        return self.text["hidden_size"]

    @property
    def vision_width(self) -> int:
        """Width of the vision tower's blocks."""
        return self.vision[self._family.vision_width]

    @property
    def context_length(self) -> int:
        """The most tokens that prompt and reasoning may have together."""
        return self.text["max_position_embeddings"]

    @property
    def _family(self) -> Family:
        return FAMILIES[self.family]

    def geometry(self) -> PatchGeometry:
        return self._family.geometry

    def to_transformers(self) -> PreTrainedConfig:
        """transformers' configuration. Raises UserError for fields that do not fit each other."""
        heads, width = self.text["num_attention_heads"], self.text["hidden_size"]
        head_size = self.text.get("head_dim", width // heads)
        sections = self.text["rope_parameters"]["mrope_section"]
        if ("head_dim" not in self.text and width % heads) or 2 * sum(sections) != head_size:
            raise UserError(
                f"vlm.text: mrope_section {sections} must add up to half of the width of a head, which is "
                f"{self.text.get('head_dim') or f'hidden_size / num_attention_heads = {width} / {heads}'}."
            )
        geometry = self.geometry()
        text = copy.deepcopy(self.text)
        vision = {
            **copy.deepcopy(self.vision),
            "patch_size": geometry.patch,
            "spatial_merge_size": geometry.merge,
            "temporal_patch_size": geometry.frames,
            "in_channels": 3,
            self._family.output_width: width,
        }
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
        return self._family.config(
            text_config=text, vision_config=vision, tie_word_embeddings=self.tie_embeddings, **top
        )


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
    preset = copy.deepcopy(BACKBONE_PRESETS[name])
    for section, changes in (("vision", vision or {}), ("text", text or {})):
        unknown = sorted(set(changes) - set(preset[section]))
        if unknown:
            allowed = ", ".join(sorted(preset[section]))
            raise UserError(f"vlm.{section}.{unknown[0]} is unknown, allowed are {allowed}.")
        preset[section].update(changes)
    return BackboneConfig(special_tokens=dict(special_tokens or {}), **preset)
