"""Which model a checkpoint holds, by the `kind` in its config.json."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import nn

from dexvla_model.errors import UserError

DEXVLA, STAGE1, EXPERT, ACTION_TOKENS = "dexvla", "stage1", "expert", "action_tokens"
# Module, configuration and model of each kind; imported when one is met.
_KINDS = {
    DEXVLA: ("dexvla_model.dexvla", "DexVLAConfig", "DexVLA"),
    STAGE1: ("dexvla_model.conditioning.stage1", "Stage1Config", "Stage1Model"),
    EXPERT: ("dexvla_model.checkpoint.expert_only", "ExpertOnlyConfig", "ExpertOnly"),
    ACTION_TOKENS: ("dexvla_model.baselines.action_tokens", "ActionTokensConfig", "ActionTokens"),
}
# Module and class of the policy of each kind.
_POLICIES = {
    DEXVLA: ("dexvla_model.dexvla_policy", "DexVLAPolicy"),
    STAGE1: ("dexvla_model.conditioning.stage1_policy", "Stage1Policy"),
    ACTION_TOKENS: ("dexvla_model.baselines.action_tokens_policy", "ActionTokensPolicy"),
}


def config_from_json(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    """The configuration of a model of that kind; `where` names the file and key. Raises UserError."""
    if kind not in _KINDS:
        raise UserError(f"{where}: kind is {kind!r}, allowed are {', '.join(_KINDS)}.")
    module, config, _ = _KINDS[kind]
    return getattr(import_module(module), config).from_json(values, where)


def model_of(config: Any) -> nn.Module:
    """The model that a configuration describes, freshly initialised."""
    module, _, model = _KINDS[kind_of(config)]
    return getattr(import_module(module), model)(config)


def kind_of(config: Any) -> str:
    """The kind whose configuration this is."""
    return next(kind for kind, (_, name, _) in _KINDS.items() if type(config).__name__ == name)


def policy_class_of(config: Any) -> type:
    """The policy that runs a model of this configuration."""
    module, policy = _POLICIES[kind_of(config)]
    return getattr(import_module(module), policy)
