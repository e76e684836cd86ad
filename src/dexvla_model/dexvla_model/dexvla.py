"""DexVLA: the backbone reasons in words, the fusion makes a condition of it, the expert acts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from dexvla_model.batch import Batch, TaskText
from dexvla_model.embodiment import Embodiment, embodiment_named, embodiments_from_json
from dexvla_model.errors import UserError
from dexvla_model.expert import (
    ExpertConfig,
    SamplingConfig,
    check_solver,
    expert_config_from_json,
    expert_from_config,
    mean_over_rows,
    mixed_diffusion_losses,
    read_sampling,
)
from dexvla_model.fusion import Fusion
from dexvla_model.json_fields import take_fields
from dexvla_model.vlm.backbone import Backbone, ImageTokens
from dexvla_model.vlm.config import BackboneConfig
from dexvla_model.vlm.prompt import IGNORED, Prompt

__all__ = ["Batch", "DexVLA", "DexVLAConfig", "Embodiment", "TaskText"]


@dataclass(frozen=True)
class DexVLAConfig:
    """Everything that determines the shape of a DexVLA; JSON-serialisable by `to_json` and `from_json`.

    Attributes:
        vlm: the backbone.
        expert: the expert's trunk; its `condition_width` must equal the backbone's width.
        embodiments: one for each head, by name.
        system: system text of the prompt; none when empty.
        reasoning_includes_end: the `<|im_end|>` behind the reasoning counts as reasoning for the fusion, as
            in the published training code; see `dexvla_model.vlm.prompt`.
        max_reasoning_tokens: longest sub-step that is generated.
        sampling: how chunks are drawn from the expert.
    """

    vlm: BackboneConfig
    expert: ExpertConfig
    embodiments: dict[str, Embodiment] = field(default_factory=dict)
    system: str = ""
    reasoning_includes_end: bool = True
    max_reasoning_tokens: int = 64
    sampling: SamplingConfig = SamplingConfig()

    def __post_init__(self) -> None:
        if self.expert.condition_width != self.vlm.width:
            raise UserError(
                f"expert.condition_width is {self.expert.condition_width}, it must equal the "
                f"backbone's width vlm.text.hidden_size, which is {self.vlm.width}."
            )
        check_solver(self.sampling, self.expert.objective)
        for name, embodiment in self.embodiments.items():
            self._check_cameras(name, embodiment)
        if self.max_reasoning_tokens < 1:
            raise UserError(f"max_reasoning_tokens is {self.max_reasoning_tokens}, it must be at least 1.")

    def _check_cameras(self, name: str, embodiment: Embodiment) -> None:
        unit = self.vlm.geometry().unit
        for role, size in embodiment.cameras.items():
            if size.width % unit or size.height % unit or min(size.width, size.height) < unit:
                raise UserError(
                    f"embodiments.{name}.cameras.{role} (model_size in the robot file) is {size.width} x "
                    f"{size.height} pixels, both must be multiples of {unit} for the family "
                    f"{self.vlm.family}: change model_size or take another family."
                )

    def to_json(self) -> dict[str, Any]:
        """As plain dictionaries and numbers."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str) -> "DexVLAConfig":
        """The inverse of `to_json`; `where` names the file in errors. Raises UserError naming the key."""
        top = take_fields(cls, read_sampling(values, where), where)
        embodiments = embodiments_from_json(top.get("embodiments", {}), f"{where}: embodiments")
        top["vlm"] = BackboneConfig(**take_fields(BackboneConfig, top["vlm"], f"{where}: vlm"))
        top["expert"] = expert_config_from_json(top["expert"], f"{where}: expert")
        return cls(**(top | {"embodiments": embodiments}))


class DexVLA(nn.Module):
    """Backbone, fusion and expert."""

    def __init__(self, config: DexVLAConfig) -> None:
        super().__init__()
        self.config = config
        self.vlm = Backbone(config.vlm)
        self.fusion = Fusion(config.vlm.width)
        heads = {name: embodiment.head for name, embodiment in config.embodiments.items()}
        self.expert = expert_from_config(config.expert, heads)

    def embodiment(self, name: str) -> Embodiment:
        """The embodiment of that name. Raises UserError when the model has none."""
        return embodiment_named(name, self.config.embodiments)

    def add_embodiment(self, name: str, embodiment: Embodiment) -> None:
        """Add a robot: a fresh head and its entry in `config`; no other weight or robot's output changes.

        Raises:
            UserError: bad or taken name.
        """
        self.config._check_cameras(name, embodiment)
        self.expert.add_embodiment(name, embodiment.head)
        self.config = replace(self.config, embodiments=self.config.embodiments | {name: embodiment})

    def prompt(self, tokenizer, embodiment: str) -> Prompt:
        """The prompt builder for an embodiment's cameras."""
        return Prompt(
            tokenizer,
            self.embodiment(embodiment).cameras,
            self.config.vlm.geometry(),
            self.config.system,
            self.config.reasoning_includes_end,
        )

    def look(self, batch: Batch) -> ImageTokens:
        """Image tokens of all cameras of the batch's embodiment."""
        if batch.image_tokens is not None:
            return batch.image_tokens
        roles = self.embodiment(batch.embodiment).cameras
        return self.vlm.encode_images({role: batch.images[role] for role in roles})

    def read(self, batch: Batch, prompt: Prompt, image_tokens: ImageTokens | None = None) -> torch.Tensor:
        """Last hidden states (B, L, D) of the backbone over images, prompts and reasoning.

        `image_tokens`: what `look` gave for this batch, if it is there already.

        Raises:
            UserError: the longest prompt with its reasoning does not fit into the model's context.
        """
        tokens = batch.tokens
        length, context = tokens.input_ids.shape[1], self.config.vlm.context_length
        if length > context:
            raise UserError(
                f"the longest prompt with its reasoning has {length} tokens, the model's context "
                f"vlm.text.max_position_embeddings has {context}: shorten the texts or use smaller images."
            )
        image_tokens = self.look(batch) if image_tokens is None else image_tokens
        where = prompt.place(tokens)
        return self.vlm.read(
            tokens.input_ids, image_tokens, where.image_slots, where.position_ids, where.mask
        )

    def forward(
        self,
        batch: Batch | Sequence[Batch],
        prompt: Prompt | Sequence[Prompt],
        *,
        language_weight: float = 1.0,
        repeats: int = 4,
        generator: torch.Generator | None = None,
        grounding_head: nn.Module | None = None,
        grounding_weight: float = 0.0,
    ) -> dict[str, torch.Tensor]:
        """Losses of a training batch, each a scalar.

        The parts of a batch that mixes embodiments go through the backbone one after the other, as their
        cameras differ, and through the expert's trunk together.

        Args:
            batch: of one embodiment, or one batch for each part of a mixed one.
            prompt: the builder that made the batch's tokens; for a mixed batch one for each part.
            language_weight: weight of the language loss in `loss`.
            repeats: noise and time-step samples for each chunk.
            generator: source of noise and time steps.
            grounding_head: image tokens (B, N, D) -> logits (B, O, N) of which object each token shows, for
                batches with grounding; it serves training only.
            grounding_weight: weight of the grounding loss in `loss`.

        Returns:
            `loss` (to minimise), `action_loss` (mean over all rows of all parts, see `mixed_diffusion_loss`),
            `action_loss.EMBODIMENT` of each part,
            `language_loss` (mean over reasoning tokens, in nats), `grounding_loss` (0 without a head) and
            `language_accuracy` (share of reasoning tokens that are the most likely one).

        Raises:
            UserError: unknown embodiment, or states or actions that its head does not fit.
        """
        parts = [batch] if isinstance(batch, Batch) else list(batch)
        prompts = [prompt] if isinstance(prompt, Prompt) else list(prompt)
        images = [self.look(part) for part in parts]
        hidden = [self.read(*each) for each in zip(parts, prompts, images, strict=True)]
        chunks = [
            part.chunks(self.fusion(states, part.tokens.prompt_mask, part.tokens.reasoning_mask))
            for part, states in zip(parts, hidden, strict=True)
        ]
        action_losses = mixed_diffusion_losses(self.expert, chunks, repeats=repeats, generator=generator)
        action_loss = mean_over_rows(action_losses, chunks)
        logits, targets = self._reasoning_logits(parts, hidden)
        language_loss = functional.cross_entropy(logits, targets)
        grounding_loss = grounding_error(grounding_head, parts, images)
        return {
            "loss": action_loss + language_weight * language_loss + grounding_weight * grounding_loss,
            "grounding_loss": grounding_loss.detach(),
            "action_loss": action_loss.detach(),
            **{f"action_loss.{part.embodiment}": loss.detach() for part, loss in zip(parts, action_losses)},
            "language_loss": language_loss.detach(),
            "language_accuracy": (logits.detach().argmax(dim=-1) == targets).float().mean(),
        }

    def _reasoning_logits(
        self, parts: Sequence[Batch], hidden: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (M, V) float32 and targets (M,) of the M reasoning tokens of all parts."""
        # A token is predicted from the position before it; only reasoning tokens need logits.
        targets = [part.tokens.labels[:, 1:] for part in parts]
        chosen = [target != IGNORED for target in targets]
        states = [each[:, :-1][mask] for each, mask in zip(hidden, chosen, strict=True)]
        logits = self.vlm.logits(torch.cat(states)).float()
        return logits, torch.cat([target[mask] for target, mask in zip(targets, chosen, strict=True)])

    def training_loss(
        self, batch: Batch | Sequence[Batch], prompt: Prompt | Sequence[Prompt], **options
    ) -> dict[str, torch.Tensor]:
        """The same as calling the model, by a name that says what comes out."""
        return self(batch, prompt, **options)


def grounding_error(
    head: nn.Module | None, parts: Sequence[Batch], images: Sequence[ImageTokens]
) -> torch.Tensor:
    """Binary cross-entropy of a grounding head: a mean over tokens and objects of the parts with grounding.

    `images`: image tokens of each part. 0 without a head or a part with grounding.
    """
    grounded = [
        (part, seen.tokens) for part, seen in zip(parts, images, strict=True) if part.grounding is not None
    ]
    if head is None or not grounded:
        return torch.zeros((), device=images[0].tokens.device)
    logits = torch.cat([head(tokens).float().flatten() for _, tokens in grounded])
    targets = torch.cat([part.grounding.flatten() for part, _ in grounded])
    return functional.binary_cross_entropy_with_logits(logits, targets)
