"""The model of stage 1: the action expert behind image and sentence encoders, before any vision-language
model.

Stage 1 of the embodied curriculum (Wen et al. 2025, DexVLA) trains the expert alone on all robots; with the
U-Net expert, instructions only and one robot the same model is Diffusion Policy (Chi et al. 2023) conditioned
on language.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from dexvla_model.batch import Batch, TaskText
from dexvla_model.conditioning.conditioner import Conditioner
from dexvla_model.conditioning.config import ImageEncoderConfig, SentenceEncoderConfig
from dexvla_model.conditioning.sentence_encoder import sentence_of
from dexvla_model.embodiment import Embodiment, embodiment_named, embodiments_from_json
from dexvla_model.errors import UserError
from dexvla_model.expert import (
    ExpertConfig,
    SamplingConfig,
    check_solver,
    expert_config_from_json,
    expert_from_config,
    mixed_diffusion_loss,
    read_sampling,
)
from dexvla_model.json_fields import take_fields
from dexvla_model.policy import DONE_TEXT


@dataclass(frozen=True)
class Stage1Config:
    """Everything that determines the shape of a stage-1 model; JSON-serialisable by `to_json` and
    `from_json`.

    Attributes:
        image, text: the encoders.
        expert: the expert's trunk. With the backbone's width as its `condition_width`, stage 2 takes all of
            it over.
        embodiments: one for each head, by name.
        hidden_width: of the MLP behind the encoders.
        says_done: whether the model has a classifier that says when the instruction is carried out; a policy
            without it goes on until its time is up.
        sampling: how chunks are drawn from the expert.
    """

    image: ImageEncoderConfig
    text: SentenceEncoderConfig
    expert: ExpertConfig
    embodiments: dict[str, Embodiment] = field(default_factory=dict)
    hidden_width: int = 1024
    says_done: bool = True
    sampling: SamplingConfig = SamplingConfig()

    def __post_init__(self) -> None:
        if (
            isinstance(self.hidden_width, bool)
            or not isinstance(self.hidden_width, int)
            or self.hidden_width < 1
        ):
            raise UserError(
                f"hidden_width is {self.hidden_width!r}, it must be a whole number of at least 1."
            )
        if not isinstance(self.says_done, bool):
            raise UserError(f"says_done is {self.says_done!r}, allowed are true and false.")
        check_solver(self.sampling, self.expert.objective)
        for name, embodiment in self.embodiments.items():
            if not embodiment.cameras:
                raise UserError(f"embodiments.{name}.cameras is empty: the model needs at least one camera.")
            for role in embodiment.cameras:
                if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", role):
                    raise UserError(
                        f"embodiments.{name}.cameras: the role {role!r} must be letters, digits, underscores "
                        "and hyphens, a letter first: rename it."
                    )

    def to_json(self) -> dict[str, Any]:
        """As plain dictionaries and numbers."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str) -> "Stage1Config":
        """The inverse of `to_json`; `where` names the file in errors. Raises UserError naming the key."""
        top = take_fields(cls, read_sampling(values, where), where)
        top["image"] = ImageEncoderConfig.from_json(top["image"], f"{where}: image")
        top["text"] = SentenceEncoderConfig.from_json(top["text"], f"{where}: text")
        top["expert"] = expert_config_from_json(top["expert"], f"{where}: expert")
        top["embodiments"] = embodiments_from_json(top.get("embodiments", {}), f"{where}: embodiments")
        return cls(**top)


class Stage1Model(nn.Module):
    """Image and sentence encoders, and the expert."""

    def __init__(self, config: Stage1Config) -> None:
        super().__init__()
        self.config = config
        roles = [role for embodiment in config.embodiments.values() for role in embodiment.cameras]
        width = config.expert.condition_width
        self.conditioner = Conditioner(config.image, config.text, roles, config.hidden_width, width)
        self.done = nn.Linear(width, 1) if config.says_done else None
        heads = {name: embodiment.head for name, embodiment in config.embodiments.items()}
        self.expert = expert_from_config(config.expert, heads)

    def embodiment(self, name: str) -> Embodiment:
        """The embodiment of that name. Raises UserError when the model has none."""
        return embodiment_named(name, self.config.embodiments)

    def add_embodiment(self, name: str, embodiment: Embodiment) -> None:
        """Add a robot: a head, and a part for each camera role that is new; nothing else changes.

        Raises:
            UserError: bad or taken name, no camera, or a camera role that is no name.
        """
        config = replace(self.config, embodiments=self.config.embodiments | {name: embodiment})
        self.expert.add_embodiment(name, embodiment.head)
        for role in embodiment.cameras:
            self.conditioner.add_camera(role)
        self.config = config

    def sentences(self, texts: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
        """Sentence vectors (B, D) of B texts, as `sentence_of` writes them."""
        return self.conditioner.sentence_encoder(texts, tokenizer)

    def condition(
        self, embodiment: str, images: Mapping[str, torch.Tensor], sentences: torch.Tensor
    ) -> torch.Tensor:
        """Images (B, H, W, 3) uint8 RGB by role and sentence vectors (B, D) -> conditions (B, 1, C)."""
        roles = self.embodiment(embodiment).cameras
        return self.conditioner({role: images[role] for role in roles}, sentences)

    def forward(
        self,
        batch: Batch | Sequence[Batch],
        tokenizer: PreTrainedTokenizerFast,
        *,
        sub_step_dropout: float = 0.5,
        done_weight: float = 0.1,
        repeats: int = 4,
        generator: torch.Generator | None = None,
    ) -> dict[str, torch.Tensor]:
        """Losses of a training batch, each a scalar.

        Args:
            batch: with texts; one of each embodiment in a mixed batch.
            sub_step_dropout: share of the observations whose sub-step is not told. At run time nobody tells
                it, unless an instruction is a sub-step itself; 1 trains on instructions alone.
            done_weight: weight of the done classifier's loss in `loss`. It learns from those observations
                alone whose sub-step was not told, as the words would give it away.
            repeats: noise and time-step samples for each chunk.
            generator: source of noise, time steps and dropped sub-steps.

        Returns:
            `loss` (to minimise), `action_loss` (mean over all rows of all parts), `done_loss` and
            `done_accuracy` (both 0 without a classifier or without an observation for it).
        """
        parts = [batch] if isinstance(batch, Batch) else list(batch)
        conditions, labels = [], []
        for part in parts:
            told = told_sub_steps(part, sub_step_dropout, generator)
            texts = [sentence_of(text.instruction, text.sub_step) for text in told]
            conditions.append(self.condition(part.embodiment, part.images, self.sentences(texts, tokenizer)))
            labels.append(done_labels(part.texts, told))
        chunks = [part.chunks(condition) for part, condition in zip(parts, conditions, strict=True)]
        action_loss = mixed_diffusion_loss(self.expert, chunks, repeats=repeats, generator=generator)
        done_loss, accuracy = self._done_loss(conditions, labels)
        return {
            "loss": action_loss + done_weight * done_loss,
            "action_loss": action_loss.detach(),
            "done_loss": done_loss.detach(),
            "done_accuracy": accuracy,
        }

    def training_loss(
        self, batch: Batch | Sequence[Batch], tokenizer: PreTrainedTokenizerFast, **options
    ) -> dict[str, torch.Tensor]:
        """The same as calling the model, by a name that says what comes out."""
        return self(batch, tokenizer, **options)

    def _done_loss(
        self, conditions: Sequence[torch.Tensor], labels: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        condition = torch.cat([each.squeeze(1) for each in conditions])
        label = torch.cat(list(labels)).to(condition.device)
        chosen = label >= 0
        if self.done is None or not chosen.any():
            return condition.new_zeros(()), condition.new_zeros(())
        logits = self.done(condition[chosen]).squeeze(1).float()
        label = label[chosen]
        loss = functional.binary_cross_entropy_with_logits(logits, label)
        return loss, ((logits.detach() > 0) == (label > 0.5)).float().mean()


def told_sub_steps(batch: Batch, dropout: float, generator: torch.Generator | None = None) -> list[TaskText]:
    """The batch's texts, a share `dropout` of them without their sub-step."""
    if batch.texts is None:
        raise ValueError(f"the batch of {batch.embodiment} has no texts, which a stage-1 model needs")
    device = None if generator is None else generator.device
    told = torch.rand(len(batch.texts), generator=generator, device=device).tolist()
    return [
        text if draw >= dropout else TaskText(text.instruction)
        for text, draw in zip(batch.texts, told, strict=True)
    ]


def done_labels(texts: Sequence[TaskText], told: Sequence[TaskText]) -> torch.Tensor:
    """(B,) float: 1 where the instruction is carried out, 0 where not, -1 where not known or told."""
    labels = [
        -1.0 if not text.sub_step or said.sub_step else float(text.sub_step.strip() == DONE_TEXT)
        for text, said in zip(texts, told, strict=True)
    ]
    return torch.tensor(labels)
