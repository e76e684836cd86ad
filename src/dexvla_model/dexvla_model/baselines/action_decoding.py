"""Saying the tokens of a chunk, one after the other, each the most likely one."""

from collections.abc import Mapping

import torch
from torch.nn import functional

from dexvla_model.baselines.action_tokens import ActionTokens
from dexvla_model.baselines.bins import from_bins
from dexvla_model.vlm.inference import pack_backbone
from dexvla_model.vlm.kv_cache import KeyValueCache
from dexvla_model.vlm.prompt import Prompt


class ActionDecoder:
    """Decodes the knots of one robot's chunks greedily, among the tokens of actions alone. Not thread-safe.

    The prompt takes one pass, and each token behind it another one over keys and values that are kept.
    """

    def __init__(self, model: ActionTokens, prompt: Prompt, embodiment: str) -> None:
        self.model, self.prompt, self.embodiment = model, prompt, embodiment
        # Copied before anything packs the output layer.
        self._rows = model.action_rows().detach().clone()
        self._tokens = len(model.config.knots(embodiment)) * model.embodiment(embodiment).head.action_size
        self._device = self._rows.device
        self._slots = prompt.image_slots.to(self._device)
        self._packed = False

    def pack(self) -> None:
        """Bring the weights into the order in which a CPU multiplies them fastest, once."""
        if not self._packed:
            pack_backbone(self.model.vlm)
            self._packed = True

    @torch.no_grad()
    def decode(
        self, images: Mapping[str, torch.Tensor], instruction: str, state: torch.Tensor
    ) -> torch.Tensor:
        """Knots (M, A), normalised, float32 on the CPU.

        Args:
            images: (1, H, W, 3) uint8 by role, in the prompt's order, on the model's device.
            state: (1, S), normalised.

        Raises:
            UserError: the instruction is too long for the model's context or holds a special token.
        """
        model, vlm = self.model, self.model.vlm
        ids = self.prompt.prompt_ids(instruction)
        model.check_length(len(ids) + self._tokens)
        seen = vlm.encode_images(images)
        prompt = vlm.embed(torch.tensor([ids], device=self._device), seen, self._slots)
        state = model.state_token(state.to(self._device), self.embodiment).unsqueeze(1)
        embedded = torch.cat([prompt, state.to(prompt.dtype)], dim=1)
        positions = self.prompt.position_ids(len(ids) + self._tokens).to(self._device)
        cos, sin = vlm.rotary(positions)
        cache = KeyValueCache(len(ids) + self._tokens)
        said: list[torch.Tensor] = []
        while True:
            start, count = cache.length, embedded.shape[1]
            first = not said
            hidden = vlm.hidden_states(
                embedded,
                (cos[:, start : start + count], sin[:, start : start + count]),
                cache,
                image_tokens=seen if first else None,
                image_slots=self._slots if first else None,
            )
            cache.advance(count)
            said.append(functional.linear(hidden[:, -1], self._rows).float().argmax(dim=-1))
            if len(said) == self._tokens:
                break
            embedded = vlm.embed((model.first_action_id + said[-1]).unsqueeze(1))
        knots = from_bins(torch.cat(said).cpu(), model.config.bins)
        return knots.view(-1, model.embodiment(self.embodiment).head.action_size)
