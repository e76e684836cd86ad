"""Linear layers whose weights lie in memory in the order in which oneDNN multiplies them.

A plain product brings the weight into that order on every call, or uses another kernel that does without; for
the few rows of a robot's inference this costs as much as the product. Packing does it once. Only inference
gains: packed weights are no parameters any more, they are neither trained nor saved.
"""

import torch
from torch import nn

# By type, the number of weights below which a layer gains less than the 10 us by which the call of a packed product
# is longer. In bfloat16 plain calls take as long.
SMALLEST = {torch.float32: 512 * 512, torch.bfloat16: 64 * 64}


def can_pack(weight: torch.Tensor) -> bool:
    """Whether this machine has packed products for a weight's device and type."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if weight.dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return weight.dtype == torch.float32


class PackedLinear(nn.Module):
    """What `linear` computes, (..., in) -> (..., out), from packed weights; differentiable in its input
    alone.

    Args:
        rows: rows of the product that it is packed for; others work too.
    """

    def __init__(self, linear: nn.Linear, rows: int) -> None:
        super().__init__()
        self.in_features, self.out_features, self.rows = linear.in_features, linear.out_features, rows
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), rows)
        self._bias = None if linear.bias is None else linear.bias.detach()
        self._transposed: torch.Tensor | None = None

    @property
    def weight(self) -> torch.Tensor:
        """The packed weight, of which only type, device and shape are of use outside."""
        return self._weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.requires_grad and torch.is_grad_enabled():
            return _PackedProduct.apply(x, self)
        return self.product(x)

    def product(self, x: torch.Tensor, activation: str = "none", form: str = "") -> torch.Tensor:
        """Without gradient; with `activation` (such as "gelu", of the form "tanh") of what comes out in the
        same pass."""
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, activation, [], form)

    def back(self, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient with respect to the input (..., in) from that of the output (..., out)."""
        if self._transposed is None:
            # Packed when it is first needed: a second copy of the weight.
            transposed = self._weight.to_dense().t().contiguous()
            self._transposed = torch.ops.mkldnn._reorder_linear_weight(transposed, self.rows)
        return torch.ops.mkldnn._linear_pointwise(gradient, self._transposed, None, "none", [], "")


class _PackedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: torch.Tensor, linear: PackedLinear) -> torch.Tensor:
        ctx.linear = linear
        return linear.product(x)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        return ctx.linear.back(gradient), None


def pack_linears(module: nn.Module, rows: int) -> int:
    """Put a PackedLinear in the place of every large Linear below `module`, which only infers from then on.

    Args:
        rows: rows of the usual product, batch times sequence.

    Returns:
        How many were replaced; 0 where the machine has no packed products.
    """
    count = 0
    for name, child in module.named_children():
        # Not subclasses: who makes one may read its weight.
        if type(child) is not nn.Linear:
            count += pack_linears(child, rows)
        elif can_pack(child.weight) and child.weight.numel() >= SMALLEST[child.weight.dtype]:
            setattr(module, name, PackedLinear(child, rows))
            count += 1
    return count
