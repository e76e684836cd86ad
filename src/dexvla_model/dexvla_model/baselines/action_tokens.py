"""A vision-language-action model that says its actions as tokens, in the manner of OpenVLA.

The backbone of DexVLA without fusion and expert: behind images and instruction it writes one token for each
number of a chunk's knots (`dexvla_model.baselines.bins`). The tokens are the last ones of its vocabulary, as
in OpenVLA (Kim et al. 2024, section 3.2), which overwrites the 256 least used tokens of Llama's tokenizer;
the published Qwen tokenizers leave their last ids free, and to a small tokenizer's vocabulary the model adds
them.

OpenVLA sees images alone. Here the measured state comes too, as every other policy here gets it: projected to
one token between prompt and actions, as pi0 (Black et al. 2024) does. Sub-steps are not told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from dexvla_model.baselines.bins import from_bins, knot_rows, to_bins
from dexvla_model.batch import Batch
from dexvla_model.dexvla import grounding_error
from dexvla_model.embodiment import Embodiment, embodiment_named, embodiments_from_json
from dexvla_model.errors import UserError
from dexvla_model.json_fields import take_fields
from dexvla_model.vlm.backbone import Backbone, ImageTokens
from dexvla_model.vlm.config import BackboneConfig
from dexvla_model.vlm.numbers import number_features
from dexvla_model.vlm.prompt import IGNORED, Prompt

# Length scales, in bins, between which the starting embeddings tell actions apart.
_SHORTEST, _LONGEST = 2.0, 128.0


@dataclass(frozen=True)
class ActionTokensConfig:
    """Everything that determines the shape of the model; JSON-serialisable by `to_json` and `from_json`.

    Attributes:
        vlm: the backbone; the last `bins` tokens of its vocabulary are those of actions.
        embodiments: by name.
        system: system text of the prompt; none when empty.
        bins: tokens for a number.
        row_stride: of the rows of a chunk every so many-th is said.
    """

    vlm: BackboneConfig
    embodiments: dict[str, Embodiment] = field(default_factory=dict)
    system: str = ""
    bins: int = 256
    row_stride: int = 4

    def __post_init__(self) -> None:
        for name, least in (("bins", 2), ("row_stride", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UserError(f"{name} is {value!r}, it must be a whole number of at least {least}.")
        taken = max((v for k, v in self.vlm.special_tokens.items() if k != "vocab_size"), default=0)
        if taken >= self.vocabulary_size - self.bins:
            raise UserError(
                f"bins is {self.bins}, but of the vocabulary vlm.special_tokens.vocab_size "
                f"{self.vocabulary_size} only {self.vocabulary_size - 1 - taken} stand behind the special "
                "tokens: make the vocabulary larger, or bins fewer."
            )

    @property
    def vocabulary_size(self) -> int:
        """Tokens of the backbone, those of actions included."""
        return self.vlm.special_tokens.get("vocab_size", self.vlm.text["vocab_size"])

    def knots(self, embodiment: str) -> list[int]:
        """Which rows of an embodiment's chunks are said."""
        return knot_rows(self.embodiments[embodiment].head.horizon, self.row_stride)

    def to_json(self) -> dict[str, Any]:
        """As plain dictionaries and numbers."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str) -> "ActionTokensConfig":
        """The inverse of `to_json`; `where` names the file in errors. Raises UserError naming the key."""
        top = take_fields(cls, values, where)
        top["vlm"] = BackboneConfig(**take_fields(BackboneConfig, top["vlm"], f"{where}: vlm"))
        top["embodiments"] = embodiments_from_json(top.get("embodiments", {}), f"{where}: embodiments")
        return cls(**top)


def with_action_tokens(special_tokens: Mapping[str, int], bins: int = 256) -> dict[str, int]:
    """A tokenizer's `special_token_ids`, with room for the tokens of actions behind all of its own."""
    return dict(special_tokens) | {"vocab_size": special_tokens["vocab_size"] + bins}


class ActionTokens(nn.Module):
    """Backbone, and what brings the state of each robot into it.

    Shapes: B observations, K chunks for each, P tokens of a prompt, n tokens of a chunk, D the width.
    """

    def __init__(self, config: ActionTokensConfig) -> None:
        super().__init__()
        self.config = config
        self.vlm = Backbone(config.vlm)
        self.state_in = nn.ModuleDict()
        for name, embodiment in config.embodiments.items():
            self.state_in[name] = nn.Linear(embodiment.head.state_size, config.vlm.width)

    def embodiment(self, name: str) -> Embodiment:
        """The embodiment of that name. Raises UserError when the model has none."""
        return embodiment_named(name, self.config.embodiments)

    def add_embodiment(self, name: str, embodiment: Embodiment) -> None:
        """Add a robot: what reads its state; nothing else changes. Raises UserError for a taken name."""
        if name in self.state_in:
            raise UserError(f"embodiment {name!r} is there already: choose another name.")
        added = nn.Linear(embodiment.head.state_size, self.config.vlm.width)
        like = next(self.parameters())
        self.state_in[name] = added.to(device=like.device, dtype=like.dtype)
        self.config = replace(self.config, embodiments=self.config.embodiments | {name: embodiment})

    def prompt(self, tokenizer, embodiment: str) -> Prompt:
        """The prompt builder for an embodiment's cameras."""
        cameras = self.embodiment(embodiment).cameras
        return Prompt(tokenizer, cameras, self.config.vlm.geometry(), self.config.system)

    @property
    def first_action_id(self) -> int:
        """Token of bin 0."""
        return self.config.vocabulary_size - self.config.bins

    def action_rows(self) -> torch.Tensor:
        """The output layer's rows (bins, D) of the action tokens: the others are never said."""
        return self.vlm.qwen.lm_head.weight[-self.config.bins :]

    @torch.no_grad()
    def initialise_actions(self, seed: int = 0) -> None:
        """Start with embeddings that are close where actions are; see `vlm.numbers`."""
        weights = {self.vlm.qwen.model.language_model.embed_tokens.weight, self.vlm.qwen.lm_head.weight}
        bins = torch.arange(self.config.bins, dtype=torch.float32)
        for weight in weights:
            features = number_features(bins, weight.shape[1], _SHORTEST, _LONGEST, seed)
            weight[-self.config.bins :] = weight.std() * features.to(weight)

    def forward(
        self,
        batch: Batch | Sequence[Batch],
        prompt: Prompt | Sequence[Prompt],
        *,
        grounding_head: nn.Module | None = None,
        grounding_weight: float = 0.0,
    ) -> dict[str, torch.Tensor]:
        """Losses of a training batch, each a scalar.

        Args:
            batch: of one embodiment, or one batch for each part of a mixed one. Its tokens are read up to
                where the reasoning begins.
            prompt: the builder that made the batch's tokens; for a mixed batch one for each part.
            grounding_head, grounding_weight: as for `DexVLA`.

        Returns:
            `loss` (to minimise), `action_loss` (cross entropy of an action token among the action tokens, in
            nats, mean over all that are not behind the end of an episode), `action_accuracy` (share of them
            that are the most likely one), `action_error` (mean distance of the most likely ones, in
            normalised actions) and `grounding_loss` (0 without a head).

        Raises:
            UserError: unknown embodiment, or a prompt that does not fit into the model's context.
        """
        parts = [batch] if isinstance(batch, Batch) else list(batch)
        prompts = [prompt] if isinstance(prompt, Prompt) else list(prompt)
        images = [self.look(part) for part in parts]
        said = [self._part(*each) for each in zip(parts, prompts, images, strict=True)]
        logits, bins = torch.cat([each[0] for each in said]), torch.cat([each[1] for each in said])
        action_loss = functional.cross_entropy(logits, bins, ignore_index=IGNORED)
        grounding_loss = grounding_error(grounding_head, parts, images)
        with torch.no_grad():
            valid = bins != IGNORED
            best = logits.argmax(dim=-1)[valid]
            error = (from_bins(best, self.config.bins) - from_bins(bins[valid], self.config.bins)).abs()
        return {
            "loss": action_loss + grounding_weight * grounding_loss,
            "action_loss": action_loss.detach(),
            "action_accuracy": (best == bins[valid]).float().mean(),
            "action_error": error.mean(),
            "grounding_loss": grounding_loss.detach(),
        }

    def training_loss(
        self, batch: Batch | Sequence[Batch], prompt: Prompt | Sequence[Prompt], **options
    ) -> dict[str, torch.Tensor]:
        """The same as calling the model, by a name that says what comes out."""
        return self(batch, prompt, **options)

    def look(self, batch: Batch) -> ImageTokens:
        """Image tokens of all cameras of the batch's embodiment."""
        if batch.image_tokens is not None:
            return batch.image_tokens
        roles = self.embodiment(batch.embodiment).cameras
        return self.vlm.encode_images({role: batch.images[role] for role in roles})

    def _part(self, batch: Batch, prompt: Prompt, seen: ImageTokens) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B K n, bins) float32 and bins (B K n,) of one embodiment's part."""
        bins = self._bins(batch)
        count, chunks, tokens = bins.shape
        state = batch.state if batch.state.dim() == 3 else batch.state.unsqueeze(1)
        lengths = batch.tokens.prompt_mask.sum(dim=1)
        # Padding stands on the right, so prompts end where the reasoning would begin.
        input_ids = batch.tokens.input_ids[:, : int(lengths.max())]
        length = input_ids.shape[1]
        self.check_length(length + tokens)
        slots = prompt.image_slots.to(input_ids.device)
        # The last token of a chunk is said, and never read.
        read = self.vlm.embed(self.first_action_id + bins[..., :-1].clamp(min=0))
        blocks = torch.cat([self.state_token(state, batch.embodiment).unsqueeze(2), read], dim=2)
        embedded = torch.cat([self.vlm.embed(input_ids, seen, slots), blocks.flatten(1, 2)], dim=1)
        table = prompt.position_ids(length + tokens)[:, 0].to(input_ids.device)
        places = _places(lengths, length, chunks, tokens)
        hidden = self.vlm.hidden_states(
            embedded,
            self.vlm.rotary(table[:, places]),
            mask=_mask(lengths, length, chunks, tokens),
            image_tokens=seen,
            image_slots=slots,
        )
        logits = functional.linear(hidden[:, length:].flatten(0, 1), self.action_rows())
        return logits.float(), bins.flatten()

    def state_token(self, state: torch.Tensor, embodiment: str) -> torch.Tensor:
        """Normalised states (..., S) -> input embeddings (..., D)."""
        linear = self.state_in[embodiment]
        return linear(state.to(linear.weight.dtype))

    def _bins(self, batch: Batch) -> torch.Tensor:
        """(B, K, n) int64 bins of the knots, IGNORED where they are behind the end of an episode."""
        rows = self.config.knots(batch.embodiment)
        actions = batch.actions if batch.actions.dim() == 4 else batch.actions.unsqueeze(1)
        bins = to_bins(actions[:, :, rows], self.config.bins)
        if batch.is_pad is not None:
            is_pad = batch.is_pad if batch.is_pad.dim() == 3 else batch.is_pad.unsqueeze(1)
            bins = bins.masked_fill(is_pad[:, :, rows].unsqueeze(-1), IGNORED)
        return bins.flatten(2)

    def check_length(self, length: int) -> None:
        """Raises UserError where so many tokens do not fit into the model's context."""
        if length > self.config.vlm.context_length:
            raise UserError(
                f"the longest prompt with its actions has {length} tokens, the model's context "
                f"vlm.text.max_position_embeddings has {self.config.vlm.context_length}: shorten the "
                "instruction, use smaller images or a larger row_stride."
            )


def _places(lengths: torch.Tensor, length: int, chunks: int, tokens: int) -> torch.Tensor:
    """Which position each column has: (B, P + K n); the chunks of a prompt all follow its own end."""
    device = lengths.device
    prompt = torch.arange(length, device=device).expand(len(lengths), -1)
    behind = lengths.unsqueeze(1) + torch.arange(tokens, device=device).repeat(chunks)
    return torch.cat([prompt, behind], dim=1)


def _mask(lengths: torch.Tensor, length: int, chunks: int, tokens: int) -> torch.Tensor:
    """What each column attends to, (B, 1, P + K n, P + K n) bool: what stands before it in its own prompt and
    chunk, as if each chunk stood alone behind the prompt."""
    device = lengths.device
    column = torch.arange(length + chunks * tokens, device=device)
    # Chunk -1 is the prompt.
    chunk = torch.div(column - length, tokens, rounding_mode="floor").clamp(min=-1)
    before = column.unsqueeze(1) >= column
    own = (chunk.unsqueeze(1) == chunk) & before
    of_prompt = (column < lengths.unsqueeze(1)) & (column < length)
    return (own | (of_prompt.unsqueeze(1) & before)).unsqueeze(1)
