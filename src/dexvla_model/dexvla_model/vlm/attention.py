"""The attention that the backbone's layers run, registered with transformers under the name `dexvla`.

transformers' own path runs one attention per image, in a Python loop over a list of lengths. Here the images
of one camera all have the same size, so that they form one batch, and so do windows of one size.
"""

import torch
from torch.nn import functional
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from dexvla_model.attention import attend

ATTENTION_NAME = "dexvla"

# ((images, ((sequences, patches of each), ...)), ...): along the patches of all images.
ImageGroups = tuple[tuple[int, tuple[tuple[int, int], ...]], ...]


def dexvla_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    image_groups: ImageGroups | None = None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: query (N, H, L, d), key and value (N, H', L', d) -> (N, L, H, d).

    `image_groups`, of the vision tower only: which patches attend to each other.
    """
    if image_groups is not None:
        return _attend_in_images(query, key, value, image_groups, scaling), None
    causal = attention_mask is None and getattr(module, "is_causal", True) if is_causal is None else is_causal
    groups = getattr(module, "num_key_value_groups", 1)
    if attention_mask is None and dropout == 0.0 and query.shape[2] == key.shape[2]:
        key, value = repeat_kv(key, groups), repeat_kv(value, groups)
        return attend(query, key, value, scaling=scaling, is_causal=causal).transpose(1, 2), None
    if not query.requires_grad and dropout == 0.0 and (attention_mask is not None or query.shape[2] == 1):
        return _attend_to_cache(query, key, value, attention_mask, groups, scaling), None
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


def _attend_in_images(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    groups: ImageGroups,
    scaling: float | None,
) -> torch.Tensor:
    heads, size = query.shape[1], query.shape[3]
    parts, start = [], 0
    for images, runs in groups:
        total = sum(count * patches for count, patches in runs)
        of_group = [
            x[0, :, start : start + images * total].reshape(heads, images, total, size)
            for x in (query, key, value)
        ]
        done, first = [], 0
        for count, patches in runs:
            q, k, v = (
                x[:, :, first : first + count * patches].reshape(heads, images * count, patches, size)
                for x in of_group
            )
            attended = attend(q, k, v, scaling=scaling)
            done.append(attended.reshape(heads, images, count * patches, size))
            first += count * patches
        together = done[0] if len(done) == 1 else torch.cat(done, dim=2)
        parts.append(together.reshape(heads, images * total, size))
        start += images * total
    return torch.cat(parts, dim=1).transpose(0, 1).unsqueeze(0)


def _attend_to_cache(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    groups: int,
    scaling: float | None,
) -> torch.Tensor:
    """Queries of the heads that share a key stand one below the other, so that no key is copied."""
    batch, heads, length, size = query.shape
    stacked = query.reshape(batch, heads // groups, groups * length, size)
    if mask is not None and groups > 1:
        mask = mask.repeat(1, 1, groups, 1)
    attended = functional.scaled_dot_product_attention(stacked, key, value, attn_mask=mask, scale=scaling)
    return attended.reshape(batch, heads, length, size).transpose(1, 2)


def register_attention() -> None:
    """Make `dexvla` known to transformers, with the masks of its SDPA path. Idempotent."""
    AttentionInterface.register(ATTENTION_NAME, dexvla_attention)
    AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)
