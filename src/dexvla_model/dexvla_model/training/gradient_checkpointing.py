"""Computing hidden states again in the backward pass, for models that do not fit into memory otherwise."""

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint


def checkpoint_gradients(model: nn.Module) -> int:
    """Let every block of the vision tower, the language model and a ScaleDP expert keep only its input.

    Names of weights stay as they are.

    Returns:
        how many blocks do.
    """
    blocks: list[nn.Module] = []
    if hasattr(model, "vlm"):
        qwen = model.vlm.qwen.model
        blocks += [*qwen.visual.blocks, *qwen.language_model.layers]
    if hasattr(model, "expert"):
        blocks += getattr(model.expert, "blocks", [])
    for block in blocks:
        # Not through transformers' own switch, which works in a `forward` that is not used here.
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    return len(blocks)
