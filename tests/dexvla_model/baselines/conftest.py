"""A model that says actions, small enough to build in milliseconds."""

import pytest
import torch

from dexvla_model.baselines.action_tokens import ActionTokens, ActionTokensConfig, with_action_tokens
from dexvla_model.vlm import backbone_preset, special_token_ids


@pytest.fixture(scope="session")
def action_tokens_config(model_config, tokenizer) -> ActionTokensConfig:
    vlm = backbone_preset("nano", with_action_tokens(special_token_ids(tokenizer)))
    return ActionTokensConfig(vlm, model_config.embodiments)


@pytest.fixture
def make_action_tokens(action_tokens_config):
    def make(seed: int = 0) -> ActionTokens:
        torch.manual_seed(seed)
        model = ActionTokens(action_tokens_config)
        model.initialise_actions()
        return model.eval()

    return make
