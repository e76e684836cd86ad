"""Greedy decoding of the sub-step, sped up by a draft without changing its outcome.

The sub-step rarely changes from one cycle to the next. So the last one's tokens are appended to the prompt,
and one forward pass says for all of them at once what greedy decoding would have said (Leviathan et al. 2023,
speculative decoding, for the greedy case). Where the draft agrees to its end, that pass is all there is, and
its hidden states are those of the condition too. Where it does not, the model's own token replaces the
draft's, and the rest of the draft is tried behind it: a number that changed costs one more pass, not one for
every token after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from dexvla_model.vlm.backbone import Backbone


@dataclass(frozen=True)
class Reasoning:
    """A decoded sub-step.

    Attributes:
        ids: its tokens, without the end of the turn.
        hidden_states: (1, L, D) last hidden states of prompt and tokens.
        prompt_length: how many of the L belong to the prompt.
        passes: forward passes of the language model that it took.
    """

    ids: list[int]
    hidden_states: torch.Tensor
    prompt_length: int
    passes: int


def decode_with_draft(
    backbone: Backbone,
    embedded_prompt: torch.Tensor,
    position_ids: torch.Tensor,
    draft: Sequence[int],
    *,
    end_id: int,
    max_tokens: int,
) -> Reasoning:
    """Decode greedily until `end_id` or `max_tokens`; the tokens do not depend on the draft.

    Args:
        embedded_prompt: (1, P, D) input embeddings of the prompt, images in place.
        position_ids: (3, 1, at least P + max_tokens).
        draft: tokens that the answer is expected to have, without `end_id`; may be empty.
    """
    prompt_length = embedded_prompt.shape[1]
    cache = DynamicCache(config=backbone.qwen.config.text_config)
    embed = backbone.qwen.model.language_model.embed_tokens
    device = embedded_prompt.device
    accepted: list[int] = []
    hidden_parts: list[torch.Tensor] = []
    guess = [token for token in draft if token != end_id][:max_tokens]
    pending = embedded_prompt
    passes = 0
    while True:
        # `pending` is decided, `guess` is not; both go through in one pass.
        decided = pending.shape[1]
        inputs = (
            pending if not guess else torch.cat([pending, embed(torch.tensor([guess], device=device))], dim=1)
        )
        start = cache.get_seq_length()
        positions = position_ids[:, :, start : start + inputs.shape[1]]
        hidden = backbone.hidden_states(inputs, positions, cache)
        passes += 1
        predicted = backbone.logits(hidden[:, decided - 1 :]).float().argmax(dim=-1)[0].tolist()
        agreed = 0
        while agreed < len(guess) and predicted[agreed] == guess[agreed]:
            agreed += 1
        accepted += guess[:agreed]
        hidden_parts.append(hidden[:, : decided + agreed])
        following = predicted[agreed]
        if following == end_id or len(accepted) == max_tokens:
            return Reasoning(accepted, torch.cat(hidden_parts, dim=1), prompt_length, passes)
        rejected = len(guess) - agreed
        if rejected:
            cache.crop(-rejected)
        accepted.append(following)
        pending = embed(torch.tensor([[following]], device=device))
        guess = guess[agreed + 1 :][: max_tokens - len(accepted)]
