"""Tensors that an expert is given, checked with their names."""

import torch

from dexvla_model.errors import UserError


def require_shape(name: str, tensor: torch.Tensor | None, shape: tuple[int, ...]) -> None:
    """Raises UserError where the tensor has another shape; None passes."""
    if tensor is not None and tuple(tensor.shape) != tuple(shape):
        raise UserError(f"{name} has shape {tuple(tensor.shape)}, expected is {tuple(shape)}.")


def require_finite(**tensors: torch.Tensor | None) -> None:
    """Raises UserError naming the first tensor that is not finite, and the place; None passes."""
    for name, tensor in tensors.items():
        if tensor is None or torch.isfinite(tensor).all():
            continue
        place = (~torch.isfinite(tensor)).nonzero()[0].tolist()
        raise UserError(f"{name} holds {tensor[tuple(place)].item()} at {place}: give finite values.")
