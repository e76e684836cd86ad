"""The generations of Qwen-VL that a backbone may be: which classes of transformers, which image geometry."""

from dataclasses import dataclass

from transformers import (
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from dexvla_model.vlm.images import PatchGeometry


@dataclass(frozen=True)
class Family:
    """One generation.

    Attributes:
        config, model: classes of transformers.
        geometry: of its patches, and the normalisation of its pixels.
        vision_width: field of the vision configuration that holds the width of its blocks.
        output_width: field of the vision configuration that holds the width of the language model.
    """

    config: type[PreTrainedConfig]
    model: type[PreTrainedModel]
    geometry: PatchGeometry
    vision_width: str
    output_width: str


_HALF = (0.5, 0.5, 0.5)

FAMILIES: dict[str, Family] = {
    "qwen2_vl": Family(
        Qwen2VLConfig, Qwen2VLForConditionalGeneration, PatchGeometry(), "embed_dim", "hidden_size"
    ),
    # Window attention in most blocks of its vision tower.
    "qwen2_5_vl": Family(
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        PatchGeometry(),
        "hidden_size",
        "out_hidden_size",
    ),
    # Interpolated learned positions, features of several vision layers fed to the first language layers
    # (DeepStack, Meng et al. 2024), interleaved M-RoPE.
    "qwen3_vl": Family(
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        PatchGeometry(patch=16, mean=_HALF, std=_HALF),
        "hidden_size",
        "out_hidden_size",
    ),
}
