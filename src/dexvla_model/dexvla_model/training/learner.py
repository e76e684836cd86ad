"""What the trainer drives: a model, and how batches become losses.

Every kind of model takes part through a `Learner`; the trainer knows nothing else of it. To train another
kind, write its learner and name it in `learner_of`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from dexvla_model.batch import Batch
from dexvla_model.checkpoint import Checkpoint
from dexvla_model.checkpoint.kinds import ACTION_TOKENS, DEXVLA, STAGE1, kind_of
from dexvla_model.errors import UserError
from dexvla_model.training.grounding import GroundingHead
from dexvla_model.training.optimization_config import OptimizationConfig
from dexvla_model.vlm.prompt import Prompt


class Learner(nn.Module, ABC):
    """A model and what learns beside it.

    Attributes:
        model: what a checkpoint keeps.
        prompts: by embodiment, the builder of its batches' tokens; None for a model that reads no prompts.
    """

    def __init__(self, model: nn.Module, prompts: Mapping[str, Prompt | None]) -> None:
        super().__init__()
        self.model = model
        self.prompts = dict(prompts)

    @abstractmethod
    def forward(
        self, batches: Sequence[Batch], generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """Losses of a training batch, one part for each embodiment; all scalars.

        Args:
            generator: source of everything random, so that a step can be repeated.

        Returns:
            `loss` (to minimise) and whatever else is worth a line in the log, detached.
        """

    def extras(self) -> dict[str, nn.Module]:
        """What learns beside the model and serves training only, by name."""
        return {}


class Stage1Learner(Learner):
    """The expert behind image and sentence encoders."""

    def __init__(self, start: Checkpoint, embodiments: Sequence[str], options: OptimizationConfig) -> None:
        super().__init__(start.model, dict.fromkeys(embodiments))
        self._tokenizer = start.tokenizer
        self._options = options

    def forward(
        self, batches: Sequence[Batch], generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        return self.model(
            batches,
            self._tokenizer,
            sub_step_dropout=self._options.sub_step_dropout,
            done_weight=self._options.done_weight,
            repeats=self._options.action_samples,
            generator=generator,
        )


class DexVLALearner(Learner):
    """Backbone, fusion and expert, and a grounding head where the vision tower learns and objects are
    known."""

    def __init__(
        self, start: Checkpoint, embodiments: Sequence[str], objects: int, options: OptimizationConfig
    ) -> None:
        model = start.model
        super().__init__(model, {name: model.prompt(start.tokenizer, name) for name in embodiments})
        self._options = options
        grounded = objects and options.grounding_weight and _learns(model.vlm.qwen.model.visual)
        self.head = GroundingHead(model.config.vlm.width, objects) if grounded else None

    def forward(
        self, batches: Sequence[Batch], generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        losses = self.model(
            batches,
            [self.prompts[part.embodiment] for part in batches],
            language_weight=self._options.language_weight,
            repeats=self._options.action_samples,
            generator=generator,
            grounding_head=self.head,
            grounding_weight=self._options.grounding_weight,
        )
        if self.head is None:
            losses.pop("grounding_loss")
        return losses

    def extras(self) -> dict[str, nn.Module]:
        return {} if self.head is None else {"grounding": self.head}


class ActionTokensLearner(Learner):
    """A language model that says the actions; its vision tower is grounded as that of a DexVLA."""

    def __init__(
        self, start: Checkpoint, embodiments: Sequence[str], objects: int, options: OptimizationConfig
    ) -> None:
        model = start.model
        super().__init__(model, {name: model.prompt(start.tokenizer, name) for name in embodiments})
        self._weight = options.grounding_weight
        grounded = objects and self._weight and _learns(model.vlm.qwen.model.visual)
        self.head = GroundingHead(model.config.vlm.width, objects) if grounded else None

    def forward(
        self, batches: Sequence[Batch], generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        prompts = [self.prompts[part.embodiment] for part in batches]
        losses = self.model(batches, prompts, grounding_head=self.head, grounding_weight=self._weight)
        if self.head is None:
            losses.pop("grounding_loss")
        return losses

    def extras(self) -> dict[str, nn.Module]:
        return {} if self.head is None else {"grounding": self.head}


def learner_of(
    start: Checkpoint, embodiments: Sequence[str], objects: int, options: OptimizationConfig
) -> Learner:
    """The learner of a model.

    Args:
        embodiments: that the run has frames of.
        objects: how many the frames' grounding knows of.

    Raises:
        UserError: the checkpoint holds a model that cannot be trained as it is.
    """
    kind = kind_of(start.model.config)
    learners: dict[str, Callable[[], Learner]] = {
        STAGE1: lambda: Stage1Learner(start, embodiments, options),
        DEXVLA: lambda: DexVLALearner(start, embodiments, objects, options),
        ACTION_TOKENS: lambda: ActionTokensLearner(start, embodiments, objects, options),
    }
    if kind not in learners:
        raise UserError(
            f"a checkpoint of kind {kind!r} cannot be trained alone, allowed are {', '.join(learners)}."
        )
    return learners[kind]()


def _learns(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
