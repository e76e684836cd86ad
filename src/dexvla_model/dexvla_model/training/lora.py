"""Low-rank adapters (Hu et al. 2021) on the language model, through peft; merged in what is kept."""

import torch
from peft import LoraConfig as PeftConfig
from peft import inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from dexvla_model.errors import UserError
from dexvla_model.training.optimization_config import LoraConfig

_ADAPTER = "default"


def add_lora(model: nn.Module, config: LoraConfig) -> None:
    """Put adapters on every linear layer of the language model, and freeze what they stand on.

    Embedding, norms and output layer stay as they are, too.

    Raises:
        UserError: the model has no language model.
    """
    if not hasattr(model, "vlm"):
        raise UserError("train.language_model is lora, but the model has no language model: leave it out.")
    language = model.vlm.qwen.model.language_model
    names = [name for name, module in language.named_modules() if isinstance(module, nn.Linear)]
    peft = PeftConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=names
    )
    inject_adapter_in_model(peft, language, adapter_name=_ADAPTER)
    model.vlm.qwen.lm_head.weight.requires_grad_(False)


@torch.no_grad()
def merged(model: nn.Module, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors of a model by name, with those of adapters added to what they stand on.

    Args:
        tensors: of the model with adapters, whole ones; not changed.

    Returns:
        the tensors of the same model without adapters.
    """
    tensors = dict(tensors)
    for name, module in model.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        down = tensors.pop(f"{name}.lora_A.{_ADAPTER}.weight").float()
        up = tensors.pop(f"{name}.lora_B.{_ADAPTER}.weight").float()
        base = tensors.pop(f"{name}.base_layer.weight")
        tensors[f"{name}.weight"] = (base.float() + module.scaling[_ADAPTER] * up @ down).to(base.dtype)
        if f"{name}.base_layer.bias" in tensors:
            tensors[f"{name}.bias"] = tensors.pop(f"{name}.base_layer.bias")
    return tensors
