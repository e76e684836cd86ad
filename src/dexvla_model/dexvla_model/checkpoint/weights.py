"""The weights of a model in a checkpoint folder, with every tensor accounted for."""

from pathlib import Path

import torch
from torch import nn

from dexvla_model.checkpoint.tensor_files import ALIGNMENT, TensorFiles, is_finite
from dexvla_model.checkpoint.tensor_writer import MAX_SHARD_BYTES, TensorWriter
from dexvla_model.errors import UserError


def own_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of a module's state dict, a shared one (tied embeddings) under its first name only."""
    tensors, seen = {}, set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            tensors[name] = tensor
    return tensors


def save_weights(
    folder: Path, module: nn.Module, dtype: torch.dtype, max_shard_bytes: int = MAX_SHARD_BYTES
) -> None:
    """Write all tensors of a module, the floating-point ones in `dtype`. Raises UserError when the disk is
    full."""
    with TensorWriter(folder, dtype, max_shard_bytes) as writer:
        for name, tensor in own_tensors(module).items():
            writer.add(name, tensor)


def load_weights(
    folder: Path, module: nn.Module, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> None:
    """Give a module the weights of a folder, which become its parameters.

    A tensor that has the wanted type and device already is used as it lies in the mapped file, without a copy
    (one that lies unaligned is copied: it would round differently); any other is converted on its own, so
    that there never are two sets of weights in memory.

    Args:
        module: its parameters may be empty; see `parameters_on_meta`.

    Raises:
        UserError: a file is missing or damaged, or a tensor is missing, unknown, misshapen or not finite.
    """
    files = TensorFiles(folder)
    expected = own_tensors(module)
    for name, tensor in expected.items():
        if name not in files.entries:
            raise UserError(f"{_files_of(files)}: tensor {name!r} is missing: restore the checkpoint.")
        entry = files.entries[name]
        if entry.shape != tensor.shape:
            raise UserError(
                f"{entry.file}: tensor {name!r} has shape {entry.shape}, config.json asks for "
                f"{tuple(tensor.shape)}: restore the checkpoint."
            )
    unknown = sorted(set(files.entries) - set(expected))
    if unknown:
        raise UserError(
            f"{files.entries[unknown[0]].file}: tensor {unknown[0]!r} is not part of the model in "
            "config.json: "
            "restore the checkpoint."
        )
    owners = _owners(module)
    for name, entry in files.entries.items():
        found = files.read(name)
        if not is_finite(found):
            raise UserError(
                f"{entry.file}: tensor {name!r} holds values that are not finite: restore the checkpoint."
            )
        target = expected[name]
        if not isinstance(target, nn.Parameter):
            target.copy_(found)
            continue
        used = found.to(device, dtype)
        if used.data_ptr() == found.data_ptr() and used.data_ptr() % ALIGNMENT:
            used = used.clone()
        weight = nn.Parameter(used, requires_grad=target.requires_grad)
        for owner, attribute in owners[id(target)]:
            owner._parameters[attribute] = weight
    files.release()


def _owners(module: nn.Module) -> dict[int, list[tuple[nn.Module, str]]]:
    """Where each parameter hangs, by its identity; a tied one in several places."""
    owners: dict[int, list[tuple[nn.Module, str]]] = {}
    for part in module.modules():
        for attribute, parameter in part._parameters.items():
            if parameter is not None:
                owners.setdefault(id(parameter), []).append((part, attribute))
    return owners


def _files_of(files: TensorFiles) -> str:
    """The one file, or the folder of several, for messages."""
    paths = sorted({entry.file for entry in files.entries.values()})
    return str(paths[0]) if len(paths) == 1 else str(paths[0].parent)
