"""Tensors that an import has to initialise, made part by part."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from dexvla_model.checkpoint.importing.published_names import EXPERT, FUSION
from dexvla_model.checkpoint.weights import own_tensors
from dexvla_model.expert import ScaleDPConfig, expert_from_config
from dexvla_model.fusion import Fusion


def fresh_tensors(config: Any, names: Sequence[str], seed: int) -> Iterator[tuple[str, torch.Tensor]]:
    """The named tensors of the model that `config` describes, as a new model has them; the same for the same
    seed."""
    for prefix in (FUSION, EXPERT):
        wanted = [name for name in names if name.startswith(prefix)]
        if not wanted:
            continue
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            tensors = own_tensors(_part(config, prefix, wanted))
        for name in wanted:
            yield name, tensors[name.removeprefix(prefix)].detach()


def _part(config: Any, prefix: str, wanted: Sequence[str]) -> nn.Module:
    if prefix == FUSION:
        return Fusion(config.vlm.width)
    trunk = config.expert
    if isinstance(trunk, ScaleDPConfig) and not any(name.startswith(f"{EXPERT}blocks.") for name in wanted):
        # Nothing outside the blocks depends on how many there are.
        trunk = replace(trunk, depth=1)
    return expert_from_config(
        trunk, {name: embodiment.head for name, embodiment in config.embodiments.items()}
    )
