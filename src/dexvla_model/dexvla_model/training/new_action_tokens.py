"""A model that says its actions as tokens, to be trained."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from dexvla_model.baselines.action_tokens import ActionTokens, ActionTokensConfig, with_action_tokens
from dexvla_model.checkpoint import Checkpoint
from dexvla_model.json_fields import take_fields
from dexvla_model.training.model_config import ModelConfig
from dexvla_model.training.new_model import embodiments_of, fitted_tokenizer, measured
from dexvla_model.training.robots import TrainedRobot
from dexvla_model.vlm import initialise_number_embeddings
from dexvla_model.vlm.backbone import Backbone
from dexvla_model.vlm.config import backbone_preset
from dexvla_model.vlm.tokenizer import special_token_ids


def new_action_tokens(
    model_config: ModelConfig, robots: Sequence[TrainedRobot], backbone: Checkpoint | None = None
) -> Checkpoint:
    """The baseline that says its actions, for all robots.

    Args:
        backbone: a checkpoint whose backbone and tokenizer it takes, with tokens of actions added where too
            few are free; otherwise the preset's, with random weights, and a tokenizer fitted to the texts.

    Raises:
        UserError: the preset's changes do not fit, or a robot's frames cannot be measured.
    """
    fields = {"vlm": None, "embodiments": embodiments_of(robots)} | model_config.action_tokens
    take_fields(ActionTokensConfig, fields, "model.action_tokens")
    bins = fields.get("bins", ActionTokensConfig.bins)
    if backbone is None:
        tokenizer = fitted_tokenizer(robots, model_config.vocabulary_size)
        ids = with_action_tokens(special_token_ids(tokenizer), bins)
        vlm = backbone_preset(model_config.vlm, ids, vision=model_config.vision, text=model_config.text)
    else:
        tokenizer, vlm = backbone.tokenizer, backbone.model.config.vlm
        known = vlm.special_tokens.get("vocab_size", vlm.text["vocab_size"])
        ids = special_token_ids(tokenizer) | {"vocab_size": known}
        # A published vocabulary has more rows than its tokenizer has tokens.
        if known - len(tokenizer) < bins:
            ids = with_action_tokens(ids, bins)
        vlm = replace(vlm, special_tokens=ids)
    model = ActionTokens(ActionTokensConfig(**(fields | {"vlm": vlm})))
    if backbone is None:
        initialise_number_embeddings(model.vlm, tokenizer)
    else:
        _fill(model.vlm, backbone.model.vlm)
    model.initialise_actions()
    descriptions = {robot.embodiment: robot.description for robot in robots}
    return Checkpoint(model, tokenizer, measured(robots, {}), descriptions, {})


@torch.no_grad()
def _fill(new: Backbone, old: Backbone) -> None:
    """The weights of `old`; tables of tokens may have more rows."""
    weights = old.state_dict()
    for name, tensor in new.state_dict().items():
        tensor[: len(weights[name])] = weights[name]
