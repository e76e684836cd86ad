"""Keys and values of the tokens that the language model has read, in memory that is used again."""

import torch


class KeyValueCache:
    """A cache of fixed capacity that can be taken back to an earlier length; no gradients.

    The language model's layers call `update`; whoever runs the model calls `advance` when all layers have
    been through. Memory is allocated once, at the first update.

    Attributes:
        length: tokens that are decided.
        capacity: the most tokens.
        visible: how many tokens of the memory a pass sees; None for those that are there. With a fixed
            number, shapes do not depend on the length: a mask has to hide the rest.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self.visible: int | None = None
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer: int, *_args, **_kwargs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store keys and values (B, H, L, d) behind `length`; returns those that the pass sees."""
        if layer not in self._layers:
            batch, heads, _, size = key.shape
            self._layers[layer] = tuple(
                torch.zeros(batch, heads, self.capacity, size, dtype=key.dtype, device=key.device)
                for _ in range(2)
            )
        end = self.length + key.shape[2]
        seen = end if self.visible is None else self.visible
        keys, values = self._layers[layer]
        keys[:, :, self.length : end] = key
        values[:, :, self.length : end] = value
        return keys[:, :, :seen], values[:, :, :seen]

    def advance(self, tokens: int) -> None:
        """Count the first `tokens` of the last pass as decided; the rest of it is forgotten."""
        self.length += tokens

    def rewind(self, length: int) -> None:
        """Forget all tokens from `length` on."""
        if length > self.length:
            raise ValueError(f"the cache holds {self.length} tokens and cannot go on to {length}")
        self.length = length
