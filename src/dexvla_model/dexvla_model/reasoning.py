"""Greedy decoding of the sub-step, sped up by a draft without changing its outcome.

The sub-step rarely changes from one cycle to the next. So the last one's tokens are appended to the prompt,
and one forward pass says for all of them at once what greedy decoding would have said (Leviathan et al. 2023,
speculative decoding, for the greedy case). Where the draft agrees to its end, that pass is all there is, and
its hidden states are those of the condition too. Where it does not, the model's own token replaces the
draft's, and the rest of the draft is tried behind it: a number that changed costs one more pass, not one for
every token after it.

*The outcome* is by definition that of decoding without a draft: the prompt in one pass, then token by token.
transformers' own `generate` says the same in float32; in half precision it rounds in other ways, and may say
something else where two tokens tie.

A pass over several tokens rounds differently from a pass over one, so that two tokens whose logits are almost
equal could change places. How that is kept out depends on the type:

- float32: rounding is about 1e-6 of a logit. Where the best two are closer than `_TIE_EPSILONS` steps of
  rounding, the cycle is decoded again without the draft. Random weights do that in about one cycle of a
  hundred.
- bfloat16, float16 and TF32: rounding is about 1e-2 of a logit, nearly every cycle has a tie, and so the
  *rounding itself* is made independent of the draft. Behind the prompt, every pass takes the same number of
  rows, filled up with padding, over a cache of fixed length. A row's arithmetic does not depend on what
  stands in the other rows, so that hidden states with and without a draft are equal bit for bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dexvla_model.vlm.backbone import Backbone, ImageTokens, Rotary
from dexvla_model.vlm.kv_cache import KeyValueCache

# Rows of every pass behind the prompt, where rounding must not depend on the draft. As many as cost no more
# than one, because reading the weights takes longer than the arithmetic: on a GPU a sub-step of some twenty
# tokens fits into one pass.
_BLOCK_ROWS = {"cpu": 8}
_BLOCK_ROWS_ELSEWHERE = 24
_TIE_EPSILONS = 256


@dataclass(frozen=True)
class Reasoning:
    """A decoded sub-step.

    Attributes:
        ids: its tokens, without the end of the turn.
        hidden_states: (1, L, D) last hidden states of prompt and tokens, and of the end of the turn if it
            counts.
        prompt_length: how many of the L belong to the prompt.
        passes: forward passes of the language model that it took.
    """

    ids: list[int]
    hidden_states: torch.Tensor
    prompt_length: int
    passes: int


@dataclass(frozen=True)
class ReadablePrompt:
    """A prompt behind what the cache holds of it.

    Attributes:
        embedded: (1, P, D) input embeddings of the tokens that are not in the cache, images in place.
        rotary: tables of all positions of the prompt and of what may follow, (1, L, head size).
        image_tokens, image_slots: of its images, the slots (N,) counted in `embedded`; None without images.
        head_states: (1, H, D) last hidden states of the H tokens that are in the cache.
    """

    embedded: torch.Tensor
    rotary: Rotary
    image_tokens: ImageTokens | None
    image_slots: torch.Tensor | None
    head_states: torch.Tensor

    @property
    def length(self) -> int:
        return self.head_states.shape[1] + self.embedded.shape[1]


def block_rows(dtype: torch.dtype, device: torch.device) -> int | None:
    """Rows of a pass for weights of `dtype` on `device`; None where passes may have any number of them."""
    exact = dtype == torch.float64 or (
        dtype == torch.float32 and torch.get_float32_matmul_precision() == "highest"
    )
    return None if exact else _BLOCK_ROWS.get(device.type, _BLOCK_ROWS_ELSEWHERE)


class DraftedDecoder:
    """Decodes sub-steps with one backbone. Not thread-safe; no gradients.

    Args:
        end_id: the token that ends the turn.
        max_tokens: longest sub-step.
        includes_end: the hidden state of the end of the turn is wanted too.
    """

    def __init__(
        self, backbone: Backbone, *, end_id: int, max_tokens: int, includes_end: bool = False
    ) -> None:
        self.backbone = backbone
        self.end_id = end_id
        self.max_tokens = max_tokens
        self.includes_end = includes_end
        weight = backbone.qwen.model.language_model.embed_tokens.weight
        self.rows = block_rows(weight.dtype, weight.device)
        self._device = weight.device
        self._tie = _TIE_EPSILONS * torch.finfo(weight.dtype).eps
        self._causal = weight.new_zeros(0, 0)

    def room(self, prompt_length: int) -> int:
        """Tokens that the cache and the rotary tables need for a prompt of that length."""
        # The end of the turn, and in blocks padding behind it, follow the longest sub-step.
        return prompt_length + self.max_tokens + 1 + (self.rows or 0)

    @torch.no_grad()
    def decode(self, prompt: ReadablePrompt, cache: KeyValueCache, draft: Sequence[int] = ()) -> Reasoning:
        """Decode greedily until the end of the turn or `max_tokens`; the tokens do not depend on the draft.

        Args:
            cache: it holds the prompt's head, and has room for `room(prompt.length)`.
            draft: tokens that the answer is expected to have; may be empty.
        """
        guess = [token for token in draft if token != self.end_id][: self.max_tokens]
        if self.includes_end and guess:
            guess.append(self.end_id)
        run = _Run(self, prompt, cache, guess)
        while not run.finished:
            if not run.step():
                plain = _Run(self, prompt, cache, [])
                while not plain.finished:
                    plain.step()
                plain.passes += run.passes
                run = plain
        return Reasoning(run.ids, torch.cat(run.states, dim=1), prompt.length, run.passes)

    def mask(self, start: int, rows: int, seen: int) -> torch.Tensor:
        """(1, 1, rows, seen), added to scores: token `start` + i attends to all up to itself."""
        if len(self._causal) < max(start + rows, seen):
            side = -(-max(start + rows, seen) // 256) * 256
            self._causal = self._causal.new_full((side, side), float("-inf")).triu(1)
        return self._causal[start : start + rows, :seen][None, None]


class _Run:
    """One decoding of one sub-step."""

    def __init__(
        self, decoder: DraftedDecoder, prompt: ReadablePrompt, cache: KeyValueCache, guess: list[int]
    ) -> None:
        self.decoder, self.prompt, self.cache = decoder, prompt, cache
        self.ids: list[int] = []
        self.states = [prompt.head_states]
        self.passes = 0
        self.finished = False
        self._draft, self._next = guess, 0
        # How much of the draft is worth a try; only where its rows cost something.
        self._trust = len(guess)
        self._guarded = bool(guess) and decoder.rows is None
        self._decided: list[int] = []
        self._went_back: set[int] = set()
        cache.rewind(prompt.head_states.shape[1])

    def step(self) -> bool:
        """One pass; False when a tie makes its outcome uncertain."""
        decoder = self.decoder
        if not self.passes:
            tried = self._draft if decoder.rows is None else []
            hidden = self._read_prompt(tried)
            decided = self.prompt.embedded.shape[1]
        else:
            tried = self._rest_of_draft()
            hidden = self._read_tokens(self._decided + tried)
            decided = len(self._decided)
        self.passes += 1
        asked = hidden[:, decided - 1 :]
        logits = decoder.backbone.logits(asked)[0, : len(tried) + 1 if decoder.rows is None else None]
        predicted = logits.argmax(dim=-1).tolist()
        agreed = 0
        while agreed < len(tried) and predicted[agreed] == tried[agreed]:
            agreed += 1
        if self._guarded and self._is_tie(logits[: agreed + 1]):
            return False
        self.states.append(hidden[:, : decided + agreed])
        self.cache.advance(decided + agreed)
        accepted, following = tried[:agreed], predicted[agreed]
        self.ids += [token for token in accepted if token != decoder.end_id]
        if decoder.end_id in accepted or self._decided == [decoder.end_id]:
            self.finished = True
        elif following == decoder.end_id:
            self.finished = not decoder.includes_end
        elif len(self.ids) >= decoder.max_tokens:
            self.finished = True
        if not self.finished:
            self._decide(following, agreed)
        return True

    def _rest_of_draft(self) -> list[int]:
        """What is tried behind the token that was decided last."""
        most = self._trust if self.decoder.rows is None else self.decoder.rows - 1
        left = self.decoder.max_tokens - len(self.ids)
        rest = self._draft[self._next : self._next + most]
        # The end of the turn may follow the longest sub-step.
        return rest[:left] + [token for token in rest[left : left + 1] if token == self.decoder.end_id]

    def _decide(self, token: int, agreed: int) -> None:
        """Take a token that the draft did not give, and find where the draft may go on behind it."""
        self._decided = [token]
        if token == self.decoder.end_id:
            self._next = len(self._draft)
            return
        self.ids.append(token)
        at = self._next + agreed
        self._trust = 2 * agreed
        self._next = at + 1
        # The token itself may stand nearby in the draft: then words were left out, or put in, before it. What
        # was put in is looked for once at each place, because going back may lead here again.
        nearby = [at + distance for distance in range(4)]
        if at not in self._went_back:
            nearby += [at - distance for distance in range(1, 4)]
        for place in nearby:
            if 0 <= place < len(self._draft) and self._draft[place] == token:
                if place < at:
                    self._went_back.add(at)
                self._next, self._trust = place + 1, max(4, self._trust)
                return

    def _is_tie(self, logits: torch.Tensor) -> bool:
        best = logits.topk(2, dim=-1).values
        return bool((best[:, 0] - best[:, 1] <= self.decoder._tie * logits.abs().amax(dim=-1)).any())

    def _read_prompt(self, tried: list[int]) -> torch.Tensor:
        """Hidden states (1, P + tried, D)."""
        prompt, cache = self.prompt, self.cache
        embedded = prompt.embedded
        if tried:
            embedded = torch.cat([embedded, self._embed(tried)], dim=1)
        cache.visible = None
        start, rows = cache.length, embedded.shape[1]
        mask = self.decoder.mask(start, rows, start + rows) if start else None
        return self.decoder.backbone.hidden_states(
            embedded,
            self._rotary(start, rows),
            cache,
            mask=mask,
            image_tokens=prompt.image_tokens,
            image_slots=prompt.image_slots,
        )

    def _read_tokens(self, tokens: list[int]) -> torch.Tensor:
        """Hidden states (1, tokens or the block's rows, D)."""
        decoder, cache = self.decoder, self.cache
        start, rows, mask = cache.length, len(tokens), None
        if decoder.rows is not None:
            tokens = tokens + [decoder.end_id] * (decoder.rows - rows)
            rows = decoder.rows
            cache.visible = decoder.room(self.prompt.length)
            mask = decoder.mask(start, rows, cache.visible)
        elif rows > 1:
            mask = decoder.mask(start, rows, start + rows)
        rotary = self._rotary(start, rows)
        return decoder.backbone.hidden_states(self._embed(tokens), rotary, cache, mask=mask)

    def _rotary(self, start: int, rows: int) -> Rotary:
        cos, sin = self.prompt.rotary
        return cos[:, start : start + rows], sin[:, start : start + rows]

    def _embed(self, tokens: list[int]) -> torch.Tensor:
        return self.decoder.backbone.embed(torch.tensor([tokens], device=self.decoder._device))
