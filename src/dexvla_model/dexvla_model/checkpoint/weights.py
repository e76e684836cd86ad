"""Weights as safetensors, with every tensor accounted for."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from dexvla_model.errors import UserError


def own_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of a module's state dict, a shared one (tied embeddings) under its first name only."""
    tensors, seen = {}, set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            tensors[name] = tensor.detach()
    return tensors


def save_weights(path: Path, module: nn.Module, dtype: torch.dtype) -> None:
    """Write all tensors of a module in `dtype`."""
    tensors = {name: tensor.to("cpu", dtype).contiguous() for name, tensor in own_tensors(module).items()}
    save_file(tensors, path, metadata={"format": "pt"})
    # safetensors writes a private file; weights are as readable as what stands beside them.
    path.chmod(0o644)


def load_weights(path: Path, module: nn.Module) -> None:
    """Fill a module from a file, converting to the module's types.

    Raises:
        UserError: the file is missing or damaged, or a tensor is missing, unknown, misshapen or not finite.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: the folder is not a complete checkpoint.")
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read ({error}): restore the checkpoint.") from error
    expected = own_tensors(module)
    for name, tensor in expected.items():
        if name not in found:
            raise UserError(f"{path}: tensor {name!r} is missing: restore the checkpoint.")
        if found[name].shape != tensor.shape:
            raise UserError(
                f"{path}: tensor {name!r} has shape {tuple(found[name].shape)}, config.json asks for "
                f"{tuple(tensor.shape)}: restore the checkpoint."
            )
        if not torch.isfinite(found[name]).all():
            raise UserError(
                f"{path}: tensor {name!r} holds values that are not finite: restore the checkpoint."
            )
    unknown = sorted(set(found) - set(expected))
    if unknown:
        raise UserError(
            f"{path}: tensor {unknown[0]!r} is not part of the model in config.json: restore the checkpoint."
        )
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(found[name])
