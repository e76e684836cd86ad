"""Modules without weights: the shapes are there, the memory and the random initialisation are not."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import torch
from torch import nn

_LOCK = RLock()


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Within this context, modules are made with their parameters on the meta device and their buffers as
    they are.

    Buffers stay real because what is computed once (rotary frequencies) is not in a checkpoint. One thread at
    a time: others that make modules meanwhile would get empty ones too.
    """
    register = nn.Module.register_parameter

    def register_empty(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        # One that is empty already stays the same object, so that tied weights remain tied.
        if parameter is not None and not parameter.is_meta:
            parameter = nn.Parameter(
                torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad
            )
        register(module, name, parameter)

    with _LOCK:
        nn.Module.register_parameter = register_empty
        try:
            yield
        finally:
            nn.Module.register_parameter = register
