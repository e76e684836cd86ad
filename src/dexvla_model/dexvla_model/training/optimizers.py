"""The optimizers: Muon for the matrices of hidden layers, AdamW for everything else."""

import torch
from torch import nn

from dexvla_model.training.optimization_config import OptimizationConfig
from dexvla_model.training.parts import part_of

# Weights that are tables or first and last layers rather than maps between hidden states; Muon is not meant
# for them.
_TABLES = (
    "embed_tokens",
    "word_embeddings",
    "position_embeddings",
    "patch_positions",
    "pos_embed",
    "action_in",
    "action_out",
    "state_in",
    "read_out",
    "lm_head",
)


def build_optimizers(model: nn.Module, config: OptimizationConfig) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon where the training file gives it a rate, over the weights that learn.

    Muon (Jordan et al. 2024) orthogonalises the update of a hidden matrix, so that all of its directions
    learn. With AdamW alone a backbone that is trained from nothing stays for tens of thousands of samples on
    the plateau where it knows how sub-steps are worded but not where things are; with Muon it leaves it after
    some thousand. `muon_learning_rate` 0 gives AdamW alone.

    Each group of weights has its `peak_lr`; a part with a rate of its own has groups of its own.

    Raises:
        ValueError: nothing learns.
    """
    groups: dict[tuple[str, float, float], list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        own = config.part_learning_rates.get(part_of(name.removeprefix("model.")), config.learning_rate)
        table = any(part in name for part in _TABLES)
        if weight.dim() == 2 and not table and config.muon_learning_rate > 0.0:
            rate = config.muon_learning_rate * own / config.learning_rate
            key = ("muon", rate, config.weight_decay)
        else:
            key = ("adamw", own, config.weight_decay if weight.dim() >= 2 and not table else 0.0)
        groups.setdefault(key, []).append(weight)
    if not groups:
        raise ValueError("no weight of the model learns")
    optimizers: list[torch.optim.Optimizer] = []
    adamw, muon = (
        [
            {"params": weights, "lr": rate, "weight_decay": decay}
            for (kind, rate, decay), weights in groups.items()
            if kind == wanted
        ]
        for wanted in ("adamw", "muon")
    )
    if adamw:
        optimizers.append(torch.optim.AdamW(adamw, betas=(0.9, config.adam_beta2), eps=config.adam_epsilon))
    if muon:
        optimizers.append(torch.optim.Muon(muon, momentum=0.95))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers
