"""The attention that the backbone's layers run, registered with transformers under the name `dexvla`.

transformers' own path runs one attention per image, in a Python loop over a list of lengths. Here the images
of one camera all have the same size, so that they form one batch: `image_groups` says how many images of how
many tokens stand one after the other.
"""

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from dexvla_model.attention import attend

ATTENTION_NAME = "dexvla"


def dexvla_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    image_groups: tuple[tuple[int, int], ...] | None = None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: query (N, H, L, d), key and value (N, H', L, d) -> (N, L, H, d).

    `image_groups`, of the vision tower only: ((images, tokens of each), ...) along L.
    """
    if image_groups is not None:
        heads, size = query.shape[1], query.shape[3]
        parts, start = [], 0
        for images, tokens in image_groups:
            q, k, v = (
                x[0, :, start : start + images * tokens].reshape(heads, images, tokens, size)
                for x in (query, key, value)
            )
            parts.append(attend(q, k, v, scaling=scaling).reshape(heads, images * tokens, size))
            start += images * tokens
        return torch.cat(parts, dim=1).transpose(0, 1).unsqueeze(0), None
    causal = attention_mask is None and getattr(module, "is_causal", True) if is_causal is None else is_causal
    if attention_mask is None and dropout == 0.0 and query.shape[2] == key.shape[2]:
        groups = getattr(module, "num_key_value_groups", 1)
        key, value = repeat_kv(key, groups), repeat_kv(value, groups)
        return attend(query, key, value, scaling=scaling, is_causal=causal).transpose(1, 2), None
    return sdpa_attention_forward(
        module,
        query,
        key,
        value,
        attention_mask,
        scaling=scaling,
        dropout=dropout,
        is_causal=is_causal,
        **kwargs,
    )


def register_attention() -> None:
    """Make `dexvla` known to transformers, with the masks of its SDPA path. Idempotent."""
    AttentionInterface.register(ATTENTION_NAME, dexvla_attention)
    AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)
