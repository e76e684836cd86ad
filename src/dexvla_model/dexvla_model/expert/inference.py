"""An expert that only infers from now on: packed weights, and fewer passes over the rows in between."""

import torch
from torch import nn
from torch.nn import functional

from dexvla_model.expert.blocks import Block
from dexvla_model.expert.interface import ActionExpert
from dexvla_model.packed_linear import PackedLinear, pack_linears


class InferenceMlp(nn.Module):
    """`Mlp` from packed weights, the activation computed where its input comes out."""

    def __init__(self, fc1: PackedLinear, fc2: PackedLinear) -> None:
        super().__init__()
        self.fc1 = fc1
        self.fc2 = fc2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.requires_grad and torch.is_grad_enabled():
            return self.fc2(functional.gelu(self.fc1(x), approximate="tanh"))
        return self.fc2(self.fc1.product(x, "gelu", "tanh"))


class InferenceBlock(nn.Module):
    """`Block`, with the 1 of its scales added once for all steps, and norm and modulation of a single sample
    in one."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.attn = block.attn
        self.adaLN_modulation = block.adaLN_modulation
        self.mlp = block.mlp
        if isinstance(block.mlp.fc1, PackedLinear):
            self.mlp = InferenceMlp(block.mlp.fc1, block.mlp.fc2)
        self._eps = block.norm1.eps

    def modulation(self, c: torch.Tensor) -> torch.Tensor:
        """c (N, W) -> (N, 6 W): shift, scale and gate twice; 1 is added to the scales already."""
        six = self.adaLN_modulation(c).unflatten(1, (6, -1))
        six[:, 1::3] += 1.0
        return six.flatten(1)

    def forward(
        self, x: torch.Tensor, modulation: torch.Tensor, keys: torch.Tensor | None = None
    ) -> torch.Tensor:
        """As `Block`."""
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.unsqueeze(1).chunk(6, dim=2)
        x = torch.addcmul(x, gate1, self.attn(self._modulated(x, shift1, scale1), keys))
        return torch.addcmul(x, gate2, self.mlp(self._modulated(x, shift2, scale2)))

    def _modulated(self, x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        width = x.shape[-1:]
        if len(shift) == 1:
            return functional.layer_norm(x, width, scale.flatten(), shift.flatten(), self._eps)
        return torch.addcmul(shift, functional.layer_norm(x, width, eps=self._eps), scale)


def prepare_for_inference(expert: ActionExpert, embodiment: str, batch: int = 1) -> None:
    """Make `expert`, in place, as fast as it gets for chunks of an embodiment.

    What it computes stays the same but for rounding. It can be neither trained nor saved afterwards.

    Args:
        batch: chunks that are usually drawn at once.
    """
    expert.requires_grad_(False)
    pack_linears(expert, batch * expert.head(embodiment).config.horizon)
    for parent in list(expert.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Block):
                setattr(parent, name, InferenceBlock(child))
