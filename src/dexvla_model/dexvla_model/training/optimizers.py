"""The optimizers: Muon for the matrices of hidden layers, AdamW for everything else."""

import torch
from torch import nn

from dexvla_model.training.config import OptimizationConfig

# Weights that are tables or first and last layers rather than maps between hidden states; Muon is not meant for them.
_TABLES = (
    "embed_tokens", "word_embeddings", "position_embeddings", "patch_positions", "pos_embed", "action_in", "action_out",
    "state_in", "read_out", "lm_head",
)


def build_optimizers(model: nn.Module, config: OptimizationConfig) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) orthogonalises the update of a hidden matrix, so that all of its directions learn.

    With AdamW alone a backbone that is trained from nothing stays for tens of thousands of samples on the
    plateau where it knows how sub-steps are worded but not where things are; with Muon it leaves it after
    some thousand. `muon_learning_rate` 0 gives AdamW alone.
    """
    matrices, decayed, others = [], [], []
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        table = any(part in name for part in _TABLES)
        if weight.dim() == 2 and not table and config.muon_learning_rate > 0.0:
            matrices.append(weight)
        elif weight.dim() >= 2 and not table:
            decayed.append(weight)
        else:
            others.append(weight)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW([group for group in groups if group["params"]], lr=config.learning_rate, betas=(0.9, 0.95))
    ]
    if matrices:
        optimizers.append(
            torch.optim.Muon(matrices, lr=config.muon_learning_rate, momentum=0.95, weight_decay=config.weight_decay)
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers
