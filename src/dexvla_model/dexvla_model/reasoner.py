"""The reasoning half of a DexVLA: images and an instruction in, a sub-step out, cycle after cycle.

What a cycle shares with the one before is not computed again: the tokenised instruction, positions and rotary
tables, keys and values of the text in front of the first image, the memory of the cache, and the tokens of an
image that has not changed.
"""

from collections.abc import Mapping, Sequence

import torch

from dexvla_model.dexvla import DexVLA
from dexvla_model.errors import UserError
from dexvla_model.reasoning import DraftedDecoder, ReadablePrompt, Reasoning
from dexvla_model.vlm.backbone import ImageTokens, Rotary
from dexvla_model.vlm.inference import pack_backbone
from dexvla_model.vlm.kv_cache import KeyValueCache
from dexvla_model.vlm.prompt import Prompt

_REMEMBERED_INSTRUCTIONS = 32
# Below this width a vision tower spends its time on the calls, not on the arithmetic.
_WIDE_TOWER = 512


class Reasoner:
    """Decodes the sub-steps of one robot. Not thread-safe.

    The answer to a cycle depends on its images and instruction alone. Weights must not change between two
    calls of `forget`.

    Args:
        pack_weights: bring the backbone's weights, at the first cycle, into the order in which a CPU
            multiplies them fastest; it can be neither trained nor saved from then on.
    """

    def __init__(self, model: DexVLA, prompt: Prompt, pack_weights: bool = False) -> None:
        self.model = model
        self._must_pack = pack_weights
        self.prompt = prompt
        self._device = next(model.parameters()).device
        self._decoder = DraftedDecoder(
            model.vlm,
            end_id=prompt.end_id,
            max_tokens=model.config.max_reasoning_tokens,
            includes_end=prompt.reasoning_includes_end,
        )
        slots = prompt.image_slots.to(self._device)
        # Tokens in front of the first image.
        self._fixed = int(prompt.image_slots[0]) if len(slots) else 0
        self._slots = slots - self._fixed
        self.forget()

    def get_ready(self) -> None:
        """Pack the weights, if that is wanted; otherwise the first cycle does."""
        if self._must_pack:
            pack_backbone(self.model.vlm)
            self._must_pack = False

    def forget(self) -> None:
        """Forget everything that was computed with the weights."""
        self._cache: KeyValueCache | None = None
        self._head_states: torch.Tensor | None = None
        self._rotary: Rotary | None = None
        self._instructions: dict[str, torch.Tensor] = {}
        self._images: dict[tuple[str, ...], tuple[list[torch.Tensor], ImageTokens]] = {}

    @torch.no_grad()
    def decode(
        self, images: Mapping[str, torch.Tensor], instruction: str, draft: Sequence[int] = ()
    ) -> Reasoning:
        """Tokens and hidden states of the sub-step.

        Args:
            images: (1, H, W, 3) uint8 by role, on the CPU, in the prompt's order.
            draft: tokens that are likely to come out; they never change what comes out.

        Raises:
            UserError: the instruction is too long for the model's context or holds a special token.
        """
        self.get_ready()
        ids = self._tokens(instruction)
        length = self._fixed + ids.shape[1]
        self._make_room(length)
        seen = self.see(images)
        slots = self._slots if seen is not None else None
        prompt = ReadablePrompt(
            self.model.vlm.embed(ids, seen, slots), self._rotary, seen, slots, self._head_states
        )
        return self._decoder.decode(prompt, self._cache, draft)

    def see(self, images: Mapping[str, torch.Tensor]) -> ImageTokens | None:
        """Tokens of the images; of those that are the same as in the last cycle, the tokens from there.

        What goes through the tower together is always the same: each camera for itself, or, where the tower
        is small, all of them. So the rounding, too, does not depend on what was kept.
        """
        if not images:
            return None
        if self.model.config.vlm.vision_width < _WIDE_TOWER:
            return self._see_together(images, 0)
        return ImageTokens.join(
            [self._see_together({role: image}, i) for i, (role, image) in enumerate(images.items())]
        )

    def _see_together(self, images: Mapping[str, torch.Tensor], first_camera: int) -> ImageTokens:
        roles, new = tuple(images), list(images.values())
        kept = self._images.get(roles)
        if kept is None or not all(map(torch.equal, kept[0], new)):
            on_device = {role: image.to(self._device) for role, image in images.items()}
            kept = (new, self.model.vlm.encode_images(on_device, first_camera))
            self._images[roles] = kept
        return kept[1]

    def _tokens(self, instruction: str) -> torch.Tensor:
        """(1, P) tokens of the prompt from its first image on."""
        if instruction not in self._instructions:
            ids = self.prompt.prompt_ids(instruction)
            longest = self.model.config.max_reasoning_tokens
            context = self.model.config.vlm.context_length
            if len(ids) + longest > context:
                raise UserError(
                    f"the instruction makes a prompt of {len(ids)} tokens, the model's context "
                    f"vlm.text.max_position_embeddings of {context} leaves room for {context - longest} "
                    f"beside max_reasoning_tokens of {longest}: shorten it."
                )
            if len(self._instructions) >= _REMEMBERED_INSTRUCTIONS:
                self._instructions.clear()
            self._instructions[instruction] = torch.tensor([ids[self._fixed :]], device=self._device)
        return self._instructions[instruction]

    def _make_room(self, length: int) -> None:
        """Cache, rotary tables and the prompt's fixed head, for prompts of `length` tokens."""
        needed = self._decoder.room(length)
        if self._cache is not None and self._cache.capacity >= needed:
            return
        capacity = -(-needed // 64) * 64
        vlm = self.model.vlm
        self._cache = KeyValueCache(capacity)
        self._rotary = vlm.rotary(self.prompt.position_ids(capacity).to(self._device))
        head = torch.tensor([self.prompt.head_ids[: self._fixed]], dtype=torch.long, device=self._device)
        if not self._fixed:
            self._head_states = vlm.embed(head)
            return
        rotary = tuple(table[:, : self._fixed] for table in self._rotary)
        self._head_states = vlm.hidden_states(vlm.embed(head), rotary, self._cache)
        self._cache.advance(self._fixed)
