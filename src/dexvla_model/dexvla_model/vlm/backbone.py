"""The vision-language backbone: transformers' Qwen-VL, called so that a batch of robot observations is fast.

Weights, layers and numerics are those of `Qwen2VLForConditionalGeneration` and its successors. What differs
from their own `forward` is what it takes to be general: no per-image loop, no search for image tokens, no
position ids made token by token. All images of a camera have one size and all prompts one head, so these are
known beforehand.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from dexvla_model.vlm.attention import ATTENTION_NAME, register_attention
from dexvla_model.vlm.config import BackboneConfig
from dexvla_model.vlm.families import FAMILIES
from dexvla_model.vlm.image_layout import ImageLayout, image_layout
from dexvla_model.vlm.images import ImageSize, image_patches
from dexvla_model.vlm.kv_cache import KeyValueCache
from dexvla_model.vlm.patch_positions import PatchPositions

# Cosines and sines of rotary positions, (1 or B, L, head size) each.
Rotary = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class ImageTokens:
    """What the language model gets of images.

    Attributes:
        tokens: (B, N, D) in the place of the prompt's image tokens.
        deepstack: (B, N, D) each, added to the hidden states at these places behind the first layers; empty
            for families without it.
    """

    tokens: torch.Tensor
    deepstack: tuple[torch.Tensor, ...] = ()

    def to(self, device: torch.device | str) -> "ImageTokens":
        return ImageTokens(self.tokens.to(device), tuple(each.to(device) for each in self.deepstack))

    @staticmethod
    def join(parts: "list[ImageTokens]") -> "ImageTokens":
        """Tokens of several cameras, one behind the other."""
        deepstack = zip(*(part.deepstack for part in parts), strict=True)
        return ImageTokens(
            torch.cat([part.tokens for part in parts], dim=1), tuple(torch.cat(x, dim=1) for x in deepstack)
        )


class Backbone(nn.Module):
    """A Qwen-VL for prompts with a fixed head of images.

    Shapes: B prompts, L tokens, D width of the language model, N image tokens of one prompt.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        register_attention()
        self.config = config
        self.qwen = FAMILIES[config.family].model._from_config(
            config.to_transformers(), attn_implementation=ATTENTION_NAME
        )
        self.geometry = config.geometry()
        self.patch_positions = None
        if config.patch_positions:
            self.patch_positions = PatchPositions(config.patch_positions, config.vision_width)
        self._layouts: dict[tuple, ImageLayout] = {}
        # Rotary frequencies stay float32 whatever the weights become: in bfloat16 an angle of 70 rad is 0.3
        # rad off. Made anew on the CPU, because the model may have been built without memory.
        with torch.device("cpu"):
            self._frequencies = [type(rotary)(rotary.config).inv_freq for rotary in self._rotaries()]

    def _rotaries(self) -> tuple[nn.Module, nn.Module]:
        return self.qwen.model.visual.rotary_pos_emb, self.qwen.model.language_model.rotary_emb

    def _apply(self, fn: Callable, recurse: bool = True) -> "Backbone":
        """What `to`, `half` and the like call."""
        super()._apply(fn, recurse)
        for rotary, exact in zip(self._rotaries(), self._frequencies, strict=True):
            if not rotary.inv_freq.is_meta:
                rotary.inv_freq = exact.to(rotary.inv_freq.device)
        self._layouts.clear()
        return self

    def encode_images(self, images: Mapping[str, torch.Tensor], first_camera: int = 0) -> ImageTokens:
        """Images (B, H, W, 3) uint8 RGB by camera role -> their tokens, in the given order.

        `first_camera`: the place of the first of them among the prompt's cameras.
        """
        visual = self.qwen.model.visual
        unit = self.geometry.merge**2
        layouts = [self._layout(batch) for batch in images.values()]
        hidden = torch.cat(
            [
                self._embed_patches(batch, layout, first_camera + i).flatten(0, 1)
                for i, (batch, layout) in enumerate(zip(images.values(), layouts, strict=True))
            ]
        )
        counts = [len(batch) for batch in images.values()]
        rotary = tuple(
            torch.cat([layout.rotary[i].repeat(count, 1) for layout, count in zip(layouts, counts)])
            for i in range(2)
        )
        whole = tuple((count, layout.whole) for layout, count in zip(layouts, counts, strict=True))
        windows = tuple((count, layout.windows) for layout, count in zip(layouts, counts, strict=True))
        length = torch.tensor([0, hidden.shape[0]])
        everywhere = getattr(visual, "fullatt_block_indexes", range(len(visual.blocks)))
        tapped = list(getattr(visual, "deepstack_visual_indexes", ()))

        def by_image(merged: torch.Tensor) -> torch.Tensor:
            """Units of all images (U, D), in the order of computation -> (B, N, D)."""
            sizes = [count * layout.patches // unit for layout, count in zip(layouts, counts, strict=True)]
            parts = [
                part.view(count, layout.patches // unit, -1)
                for part, layout, count in zip(merged.split(sizes), layouts, counts, strict=True)
            ]
            restored = [
                part if layout.restore is None else part[:, layout.restore]
                for part, layout in zip(parts, layouts, strict=True)
            ]
            return torch.cat(restored, dim=1)

        deepstack = []
        for i, block in enumerate(visual.blocks):
            groups = whole if i in everywhere else windows
            hidden = block(hidden, cu_seqlens=length, position_embeddings=rotary, image_groups=groups)
            if i in tapped:
                merger = visual.deepstack_merger_list[tapped.index(i)]
                deepstack.append(by_image(merger(hidden)))
        return ImageTokens(by_image(visual.merger(hidden)), tuple(deepstack))

    def _embed_patches(self, batch: torch.Tensor, layout: ImageLayout, camera: int) -> torch.Tensor:
        """Images (B, H, W, 3) of one camera -> embedded patches (B, patches, width) in computing order."""
        visual = self.qwen.model.visual
        projection = visual.patch_embed.proj
        # The frames of a still image are equal, so that their weights add up.
        kernel = projection.weight.sum(dim=2).flatten(1)
        patches = image_patches(batch, self.geometry).to(kernel.dtype)
        embedded = functional.linear(patches, kernel, projection.bias)
        if layout.table_indices is not None:
            table = visual.pos_embed(layout.table_indices) * layout.table_weights.unsqueeze(2)
            embedded = embedded + table.sum(1).to(embedded.dtype)
        if self.patch_positions is not None:
            grid = self.geometry.grid(ImageSize(batch.shape[2], batch.shape[1]))
            embedded = embedded + self.patch_positions(camera, grid, self.geometry.merge)
        if layout.order is not None:
            units = embedded.unflatten(1, (-1, self.geometry.merge**2))
            embedded = units[:, layout.order].flatten(1, 2)
        return embedded

    def _layout(self, batch: torch.Tensor) -> ImageLayout:
        size = ImageSize(batch.shape[2], batch.shape[1])
        key = (size, batch.device)
        if key not in self._layouts:
            self._layouts[key] = image_layout(self.qwen.model.visual, self.geometry, size, batch.device)
        return self._layouts[key]

    def embed(
        self,
        input_ids: torch.Tensor,
        image_tokens: ImageTokens | None = None,
        image_slots: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Embeddings (B, L, D) of tokens (B, L), with image tokens at `image_slots`, (N,) or (B, N)."""
        embedded = self.qwen.model.language_model.embed_tokens(input_ids)
        if image_tokens is None:
            return embedded
        tokens = image_tokens.tokens.to(embedded.dtype)
        if image_slots.dim() == 1:
            return embedded.index_copy(1, image_slots, tokens)
        return embedded.scatter(1, image_slots.unsqueeze(2).expand_as(tokens), tokens)

    def rotary(self, position_ids: torch.Tensor) -> Rotary:
        """The language model's rotary tables for M-RoPE positions (3, 1 or B, L)."""
        language = self.qwen.model.language_model
        return language.rotary_emb(language.embed_tokens.weight[:0], position_ids)

    def hidden_states(
        self,
        embedded: torch.Tensor,
        rotary: Rotary,
        cache: KeyValueCache | None = None,
        *,
        mask: torch.Tensor | None = None,
        image_tokens: ImageTokens | None = None,
        image_slots: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Last hidden states (B, L, D) for input embeddings (B, L, D).

        Args:
            rotary: of the tokens' positions.
            cache: keys and values of earlier tokens; the caller decides how many of these stay.
            mask: (1 or B, 1, L, keys), what each token attends to: bool, or added to the scores; None for all
                tokens before it, which needs an empty cache or a single token.
            image_tokens, image_slots: of the images among these tokens, as `embed` got them.
        """
        language = self.qwen.model.language_model
        deepstack = () if image_tokens is None else image_tokens.deepstack
        hidden = embedded
        for i, layer in enumerate(language.layers):
            hidden = layer(
                hidden,
                attention_mask=mask,
                position_embeddings=rotary,
                past_key_values=cache,
                use_cache=cache is not None,
            )
            if i < len(deepstack):
                added = deepstack[i].to(hidden.dtype)
                if image_slots.dim() == 1:
                    hidden = hidden.index_add(1, image_slots, added)
                else:
                    hidden = hidden.scatter_add(1, image_slots.unsqueeze(2).expand_as(added), added)
        return language.norm(hidden)

    def read(
        self,
        input_ids: torch.Tensor,
        image_tokens: ImageTokens,
        image_slots: torch.Tensor,
        position_ids: torch.Tensor,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Last hidden states (B, L, D) of tokens (B, L) with images; see `embed` and `hidden_states`."""
        return self.hidden_states(
            self.embed(input_ids, image_tokens, image_slots),
            self.rotary(position_ids),
            mask=mask,
            image_tokens=image_tokens,
            image_slots=image_slots,
        )

    def logits(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Token logits (..., V) of hidden states (..., D)."""
        return self.qwen.lm_head(hidden_states)
