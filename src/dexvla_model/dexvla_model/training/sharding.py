"""Tensors that several processes share between them (FSDP), as whole ones and back."""

from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor

from dexvla_model.checkpoint.weights import own_tensors


def whole(value: Any) -> Any:
    """`value` with every sharded tensor in it put together on the CPU; every process has to ask.

    Tables and lists are gone through; whole tensors stay as they are.
    """
    if isinstance(value, DTensor):
        return value.detach().full_tensor().cpu()
    if isinstance(value, dict):
        return {key: whole(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(whole(each) for each in value)
    return value


def like(tensor: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """A whole tensor, sharded as the reference is. Raises ValueError for another shape."""
    if tensor.shape != reference.shape:
        raise ValueError(f"the shape is {tuple(tensor.shape)}, needed is {tuple(reference.shape)}")
    if not isinstance(reference, DTensor):
        return tensor
    return distribute_tensor(tensor.to(reference.device), reference.device_mesh, reference.placements)


def whole_weights(module: nn.Module) -> dict[str, torch.Tensor]:
    """All tensors of a module's state, tied ones once; every process has to ask."""
    return {name: whole(tensor.detach()) for name, tensor in own_tensors(module).items()}


@torch.no_grad()
def fill(module: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Give a module the weights that `whole_weights` took. Raises ValueError where names or shapes differ."""
    own = own_tensors(module)
    if set(own) != set(tensors):
        odd = sorted(set(own) ^ set(tensors))
        raise ValueError(f"the tensor {odd[0]!r} is in one of them only")
    for name, tensor in own.items():
        tensor.copy_(like(tensors[name], tensor.detach()))


def fill_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Restore an optimizer from its whole state. Raises ValueError for that of another."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    if sum(len(group["params"]) for group in state["param_groups"]) != len(weights):
        raise ValueError("the optimizer has another number of weights")
    shared = {
        index: {
            name: like(value, weights[index])
            if torch.is_tensor(value) and value.shape == weights[index].shape
            else value
            for name, value in values.items()
        }
        for index, values in state["state"].items()
    }
    optimizer.load_state_dict(state | {"state": shared})
