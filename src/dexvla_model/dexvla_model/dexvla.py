"""DexVLA: the backbone reasons in words, the fusion makes a condition of it, the expert acts."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from dexvla_model.errors import UserError
from dexvla_model.expert import EmbodimentConfig, ScaleDP, ScaleDPConfig, diffusion_loss
from dexvla_model.fusion import Fusion
from dexvla_model.vlm.backbone import Backbone
from dexvla_model.vlm.config import BackboneConfig
from dexvla_model.vlm.images import ImageSize
from dexvla_model.vlm.prompt import IGNORED, Prompt, PromptTokens


@dataclass(frozen=True)
class Embodiment:
    """What the model has to know of one embodiment: its head's shape and its cameras.

    Attributes:
        head: sizes of state, action and chunk.
        cameras: size at which the model sees each camera by role, in the order of the prompt.
    """

    head: EmbodimentConfig
    cameras: dict[str, ImageSize]


@dataclass(frozen=True)
class DexVLAConfig:
    """Everything that determines the shape of a DexVLA; JSON-serialisable by `to_json` and `from_json`.

    Attributes:
        vlm: the backbone.
        expert: the expert's trunk; its `condition_width` must equal the backbone's width.
        embodiments: one for each head, by name.
        system: system text of the prompt; none when empty.
        max_reasoning_tokens: longest sub-step that is generated.
        sampling_noise: standard deviation of the noise that sampling starts from. 1 draws a chunk as the diffusion was
            trained; towards 0 it gives the chunk in the middle, steadier where demonstrations agree with each other.
    """

    vlm: BackboneConfig
    expert: ScaleDPConfig
    embodiments: dict[str, Embodiment] = field(default_factory=dict)
    system: str = ""
    max_reasoning_tokens: int = 64
    sampling_noise: float = 1.0

    def __post_init__(self) -> None:
        if self.expert.condition_width != self.vlm.width:
            raise UserError(
                f"expert.condition_width is {self.expert.condition_width}, it must equal the "
                f"backbone's width vlm.text.hidden_size, which is {self.vlm.width}."
            )
        if not 0.0 <= self.sampling_noise <= 1.0:
            raise UserError(f"sampling_noise is {self.sampling_noise}, it must lie in [0, 1].")
        if self.max_reasoning_tokens < 1:
            raise UserError(f"max_reasoning_tokens is {self.max_reasoning_tokens}, it must be at least 1.")

    def to_json(self) -> dict[str, Any]:
        """As plain dictionaries and numbers."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str) -> "DexVLAConfig":
        """The inverse of `to_json`; `where` names the file in errors. Raises UserError naming the key."""
        top = _take(cls, values, where)
        embodiments = {}
        for name, entry in _table(top.get("embodiments", {}), f"{where}: embodiments").items():
            key = f"{where}: embodiments.{name}"
            parts = _take(Embodiment, entry, key)
            cameras = {
                role: ImageSize(**_take(ImageSize, size, f"{key}.cameras.{role}"))
                for role, size in _table(parts["cameras"], f"{key}.cameras").items()
            }
            head = EmbodimentConfig(**_take(EmbodimentConfig, parts["head"], f"{key}.head"))
            embodiments[name] = Embodiment(head, cameras)
        top["vlm"] = BackboneConfig(**_take(BackboneConfig, top["vlm"], f"{where}: vlm"))
        top["expert"] = ScaleDPConfig(**_take(ScaleDPConfig, top["expert"], f"{where}: expert"))
        return cls(**(top | {"embodiments": embodiments}))


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"{where} is {value!r}, needed is a table.")
    return value


def _take(kind: type, values: Any, where: str) -> dict[str, Any]:
    """The fields of the dataclass `kind` in a table, with unknown and missing keys refused."""
    table = _table(values, where)
    allowed = {f.name: f for f in fields(kind)}
    unknown = sorted(set(table) - set(allowed))
    if unknown:
        raise UserError(f"{where}: key {unknown[0]!r} is unknown, allowed are {', '.join(allowed)}.")
    missing = [
        name
        for name, f in allowed.items()
        if name not in table and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        raise UserError(f"{where}: key {missing[0]!r} is missing.")
    return dict(table)


@dataclass(frozen=True)
class Batch:
    """A training batch of one embodiment.

    B observations; K chunks may share one observation, which is how a chunk that starts after its observation
    was taken (inference takes time) trains cheaply.

    Attributes:
        embodiment: whose head.
        images: by camera role, (B, H, W, 3) uint8 RGB at the model's size.
        tokens: prompts and reasoning, (B, L).
        state: (B, S) or (B, K, S), normalised: at each chunk's stamp.
        actions: (B, T, A) or (B, K, T, A), normalised.
        is_pad: (B, T) or (B, K, T) bool, rows behind the end of the episode; None when there are none.
        grounding: (B, O, N) in [0, 1], how much of each of the N image tokens shows each of O objects; None
            where it is not known.
    """

    embodiment: str
    images: Mapping[str, torch.Tensor]
    tokens: PromptTokens
    state: torch.Tensor
    actions: torch.Tensor
    is_pad: torch.Tensor | None = None
    grounding: torch.Tensor | None = None

    def to(self, device: torch.device | str) -> "Batch":
        return Batch(
            self.embodiment,
            {role: batch.to(device) for role, batch in self.images.items()},
            self.tokens.to(device),
            self.state.to(device),
            self.actions.to(device),
            None if self.is_pad is None else self.is_pad.to(device),
            None if self.grounding is None else self.grounding.to(device),
        )


class DexVLA(nn.Module):
    """Backbone, fusion and expert."""

    def __init__(self, config: DexVLAConfig) -> None:
        super().__init__()
        self.config = config
        self.vlm = Backbone(config.vlm)
        self.fusion = Fusion(config.vlm.width)
        heads = {name: embodiment.head for name, embodiment in config.embodiments.items()}
        self.expert = ScaleDP(config.expert, heads)

    def embodiment(self, name: str) -> Embodiment:
        """The embodiment of that name. Raises UserError when the model has none."""
        if name not in self.config.embodiments:
            known = ", ".join(sorted(self.config.embodiments)) or "none"
            raise UserError(f"the policy has no embodiment {name!r}, it has: {known}.")
        return self.config.embodiments[name]

    def prompt(self, tokenizer, embodiment: str) -> Prompt:
        """The prompt builder for an embodiment's cameras."""
        cameras = self.embodiment(embodiment).cameras
        return Prompt(tokenizer, cameras, self.config.vlm.geometry(), self.config.system)

    def look(self, batch: Batch) -> torch.Tensor:
        """Image tokens (B, N, D) of all cameras of the batch's embodiment."""
        roles = self.embodiment(batch.embodiment).cameras
        return self.vlm.encode_images({role: batch.images[role] for role in roles})

    def read(self, batch: Batch, prompt: Prompt, image_tokens: torch.Tensor | None = None) -> torch.Tensor:
        """Last hidden states (B, L, D) of the backbone over images, prompts and reasoning.

        `image_tokens`: what `look` gave for this batch, if it is there already.
        """
        device = batch.tokens.input_ids.device
        image_tokens = self.look(batch) if image_tokens is None else image_tokens
        embedded = self.vlm.embed(batch.tokens.input_ids, image_tokens, prompt.image_slots.to(device))
        return self.vlm.hidden_states(embedded, prompt.position_ids(embedded.shape[1]).to(device))

    def forward(
        self,
        batch: Batch,
        prompt: Prompt,
        *,
        language_weight: float = 1.0,
        repeats: int = 4,
        generator: torch.Generator | None = None,
        grounding_head: nn.Module | None = None,
        grounding_weight: float = 0.0,
    ) -> dict[str, torch.Tensor]:
        """Losses of a training batch, each a scalar.

        Args:
            prompt: the builder that made the batch's tokens.
            language_weight: weight of the language loss in `loss`.
            repeats: noise and time-step samples for each chunk.
            generator: source of noise and time steps.
            grounding_head: image tokens (B, N, D) -> logits (B, O, N) of which object each token shows, for
                batches with grounding; it serves training only.
            grounding_weight: weight of the grounding loss in `loss`.

        Returns:
            `loss` (to minimise), `action_loss`, `language_loss` (mean over reasoning tokens, in nats),
            `grounding_loss` (0 without a head) and `language_accuracy` (share of reasoning tokens that are
            the most likely one).
        """
        image_tokens = self.look(batch)
        hidden = self.read(batch, prompt, image_tokens)
        condition = self.fusion(hidden, batch.tokens.prompt_mask, batch.tokens.reasoning_mask)
        action_loss = diffusion_loss(
            self.expert,
            batch.actions,
            condition,
            batch.state,
            batch.embodiment,
            is_pad=batch.is_pad,
            repeats=repeats,
            generator=generator,
        )
        # A token is predicted from the position before it; only reasoning tokens need logits.
        targets = batch.tokens.labels[:, 1:]
        chosen = targets != IGNORED
        logits = self.vlm.logits(hidden[:, :-1][chosen]).float()
        targets = targets[chosen]
        language_loss = functional.cross_entropy(logits, targets)
        grounding_loss = torch.zeros((), device=hidden.device)
        if grounding_head is not None and batch.grounding is not None:
            logits_of_objects = grounding_head(image_tokens).float()
            grounding_loss = functional.binary_cross_entropy_with_logits(logits_of_objects, batch.grounding)
        return {
            "loss": action_loss + language_weight * language_loss + grounding_weight * grounding_loss,
            "grounding_loss": grounding_loss.detach(),
            "action_loss": action_loss.detach(),
            "language_loss": language_loss.detach(),
            "language_accuracy": (logits.detach().argmax(dim=-1) == targets).float().mean(),
        }

    def training_loss(self, batch: Batch, prompt: Prompt, **options) -> dict[str, torch.Tensor]:
        """The same as calling the model, by a name that says what comes out."""
        return self(batch, prompt, **options)
