"""Backbones of real sizes with random weights, ready to reason, and transformers' own model on the same."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from dexvla_model.dexvla import DexVLA, DexVLAConfig, Embodiment
from dexvla_model.expert import EmbodimentConfig, expert_preset
from dexvla_model.reasoner import Reasoner
from dexvla_model.vlm import Backbone, ImageSize, backbone_preset, special_token_ids, train_tokenizer
from dexvla_model.vlm.families import FAMILIES

_EMBODIMENT = "arm"
# Random numbers that weights are filled with again and again: drawing billions would take minutes.
_POOL = 2**20 + 7


def random_reasoner(
    preset: str,
    dtype: torch.dtype,
    device: torch.device | str,
    tokens: Mapping[str, tuple[int, int]],
    longest: int,
) -> Reasoner:
    """A reasoner with random weights, built without ever holding them twice.

    Args:
        preset: of the backbone.
        tokens: columns and rows of vision tokens of each camera, by role.
        longest: most tokens of a sub-step.
    """
    tokenizer = train_tokenizer(["put the red cube in the tray", "close the gripper"], 512)
    geometry = FAMILIES[backbone_preset(preset).family].geometry
    special = special_token_ids(tokenizer)
    vlm = backbone_preset(preset, special | {"vocab_size": backbone_preset(preset).text["vocab_size"]})
    cameras = {
        role: ImageSize(columns * geometry.unit, rows * geometry.unit)
        for role, (columns, rows) in tokens.items()
    }
    head = EmbodimentConfig(state_size=7, action_size=7, horizon=16)
    expert = expert_preset("scaledp-nano", condition_width=vlm.width)
    config = DexVLAConfig(
        vlm,
        expert,
        {_EMBODIMENT: Embodiment(head, cameras)},
        reasoning_includes_end=False,
        max_reasoning_tokens=longest,
    )
    with torch.device("meta"):
        model = DexVLA(config).to(dtype)
    model = model.to_empty(device=device).requires_grad_(False).eval()
    # Tied weights part when memory is given to them.
    model.vlm.qwen.tie_weights()
    _fill(model)
    if model.vlm.patch_positions is not None:
        # transformers' own model has none.
        for weight in model.vlm.patch_positions.parameters():
            weight.zero_()
    prompt = model.prompt(tokenizer, _EMBODIMENT)
    # It may say anything but its end: the one token that the timing leaves out.
    model.vlm.qwen.model.language_model.embed_tokens.weight[prompt.end_id] = 0.0
    return Reasoner(model, prompt)


def _fill(model: nn.Module) -> None:
    """Norms of one, biases of zero, and weights that keep the size of what they are multiplied with."""
    pool = torch.randn(_POOL, generator=torch.Generator().manual_seed(0))
    for name, weight in model.named_parameters():
        if weight.dim() < 2:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)
            continue
        values = (pool * weight[0].numel() ** -0.5).to(weight)
        flat = weight.view(-1)
        for start in range(0, flat.numel(), _POOL):
            flat[start : start + _POOL] = values[: flat.numel() - start]


def as_transformers(vlm: Backbone) -> nn.Module:
    """transformers' own model with its own attention, on the same weights."""
    with torch.device("meta"):
        model = FAMILIES[vlm.config.family].model._from_config(
            vlm.config.to_transformers(), attn_implementation="sdpa"
        )
    model.load_state_dict(vlm.qwen.state_dict(), assign=True)
    rotaries = (model.model.visual.rotary_pos_emb, model.model.language_model.rotary_emb)
    for ours, theirs in zip(vlm._rotaries(), rotaries, strict=True):
        theirs.inv_freq = theirs.original_inv_freq = ours.inv_freq
    model.generation_config.eos_token_id = None
    return model.eval()


def with_longest(model: DexVLA, tokens: int) -> DexVLA:
    """The same weights with another limit of the sub-step."""
    with torch.device("meta"):
        other = DexVLA(model.config)
    other.vlm, other.fusion, other.expert = model.vlm, model.fusion, model.expert
    # 0 is no limit that a model may have, but the way to leave decoding out.
    object.__setattr__(other, "config", replace(model.config))
    object.__setattr__(other.config, "max_reasoning_tokens", tokens)
    return other
