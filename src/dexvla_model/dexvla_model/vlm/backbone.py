"""The vision-language backbone: transformers' Qwen2-VL, called so that a batch of robot observations is fast.

Weights, layers and numerics are those of `Qwen2VLForConditionalGeneration`. What differs from its own
`forward` is what it takes to be general: no per-image loop, no search for image tokens, no position ids made
token by token. All images of a camera have one size and all prompts one head, so these are known beforehand.
"""

from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional
from transformers import Qwen2VLForConditionalGeneration
from transformers.cache_utils import Cache
from transformers.vision_utils import get_vision_position_ids

from dexvla_model.vlm.attention import ATTENTION_NAME, register_attention
from dexvla_model.vlm.config import BackboneConfig
from dexvla_model.vlm.images import ImageSize, image_patches
from dexvla_model.vlm.patch_positions import PatchPositions


class Backbone(nn.Module):
    """Qwen2-VL for prompts with a fixed head of images.

    Shapes: B prompts, L tokens, D width of the language model, N image tokens of one prompt.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        register_attention()
        self.config = config
        self.qwen = Qwen2VLForConditionalGeneration._from_config(
            config.to_transformers(), attn_implementation=ATTENTION_NAME
        )
        self.geometry = config.geometry()
        self.patch_positions = None
        if config.patch_positions:
            self.patch_positions = PatchPositions(config.patch_positions, config.vision["embed_dim"])
        self._rotary_cache: dict[tuple, tuple[torch.Tensor, torch.Tensor]] = {}
        # Rotary frequencies stay float32 whatever the weights become: in bfloat16 an angle of 70 rad is 0.3
        # rad off.
        self._frequencies = [rotary.inv_freq.detach().clone() for rotary in self._rotaries()]

    def _rotaries(self) -> tuple[nn.Module, nn.Module]:
        return self.qwen.model.visual.rotary_pos_emb, self.qwen.model.language_model.rotary_emb

    def _apply(self, fn: Callable, recurse: bool = True) -> "Backbone":
        """What `to`, `half` and the like call."""
        super()._apply(fn, recurse)
        for rotary, exact in zip(self._rotaries(), self._frequencies, strict=True):
            if not exact.is_meta:
                rotary.inv_freq = exact.to(rotary.inv_freq.device)
        return self

    def encode_images(self, images: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Images (B, H, W, 3) uint8 RGB by camera role -> image tokens (B, N, D), in the given order."""
        visual = self.qwen.model.visual
        # The frames of a still image are equal, so that their weights add up.
        kernel = visual.patch_embed.proj.weight.sum(dim=2).flatten(1)
        patches = [image_patches(batch, self.geometry) for batch in images.values()]
        groups = tuple(p.shape[:2] for p in patches)
        embedded = [functional.linear(p.to(kernel.dtype), kernel) for p in patches]
        if self.patch_positions is not None:
            grids = [
                self.geometry.grid(ImageSize(batch.shape[2], batch.shape[1])) for batch in images.values()
            ]
            embedded = [
                e + self.patch_positions(camera, grid, self.geometry.merge)
                for camera, (e, grid) in enumerate(zip(embedded, grids, strict=True))
            ]
        hidden = torch.cat([e.flatten(0, 1) for e in embedded])
        rotary = self._vision_rotary(images, hidden)
        whole = torch.tensor([0, hidden.shape[0]])
        for block in visual.blocks:
            hidden = block(hidden, cu_seqlens=whole, position_embeddings=rotary, image_groups=groups)
        merged = visual.merger(hidden)
        window = self.geometry.merge**2
        counts = [images * tokens // window for images, tokens in groups]
        parts = [
            part.view(images, tokens // window, -1)
            for part, (images, tokens) in zip(merged.split(counts), groups, strict=True)
        ]
        return torch.cat(parts, dim=1)

    def _vision_rotary(
        self, images: Mapping[str, torch.Tensor], hidden: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines (all patches, head size) of the vision tower, in the patches' order."""
        key = (tuple(tuple(batch.shape[:3]) for batch in images.values()), hidden.device)
        if key not in self._rotary_cache:
            if len(self._rotary_cache) > 64:
                self._rotary_cache.clear()
            visual = self.qwen.model.visual
            grids = []
            for b, height, width in key[0]:
                rows, columns = self.geometry.grid(ImageSize(width, height))
                grids += [torch.tensor([[1, rows, columns]], device=hidden.device).expand(b, 3)]
            positions = get_vision_position_ids(torch.cat(grids), self.geometry.merge)
            self._rotary_cache[key] = visual.rotary_pos_emb(hidden, positions)
        return self._rotary_cache[key]

    def embed(
        self, input_ids: torch.Tensor, image_tokens: torch.Tensor, image_slots: torch.Tensor
    ) -> torch.Tensor:
        """Embeddings (B, L, D) of tokens (B, L), with image tokens (B, N, D) at `image_slots` (N,)."""
        embedded = self.qwen.model.language_model.embed_tokens(input_ids)
        return embedded.index_copy(1, image_slots, image_tokens.to(embedded.dtype))

    def hidden_states(
        self, embedded: torch.Tensor, position_ids: torch.Tensor, cache: Cache | None = None
    ) -> torch.Tensor:
        """Last hidden states (B, L, D), causal, for input embeddings (B, L, D) padded on the right only.

        Args:
            position_ids: (3, 1, L) or (3, B, L) M-RoPE positions.
            cache: keys and values of earlier tokens; extended by these.
        """
        output = self.qwen.model.language_model(
            inputs_embeds=embedded,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return output.last_hidden_state

    def logits(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Token logits (..., V) of hidden states (..., D)."""
        return self.qwen.lm_head(hidden_states)
