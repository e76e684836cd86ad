"""What is done to every block of a model alike: keeping only its input, and compiling it."""

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint


def repeated_blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks of the vision tower, the language model and a ScaleDP expert."""
    blocks: list[nn.Module] = []
    if hasattr(model, "vlm"):
        qwen = model.vlm.qwen.model
        blocks += [*qwen.visual.blocks, *qwen.language_model.layers]
    if hasattr(model, "expert"):
        blocks += getattr(model.expert, "blocks", [])
    return blocks


def checkpoint_gradients(model: nn.Module) -> int:
    """Let every block compute its hidden states again in the backward pass, for models that do not fit into
    memory otherwise.

    Names of weights stay as they are.

    Returns:
        how many blocks do.
    """
    blocks = repeated_blocks(model)
    for block in blocks:
        # Not through transformers' own switch, which works in a `forward` that is not used here.
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    return len(blocks)


def compile_blocks(model: nn.Module) -> int:
    """Have torch.compile fuse what every block does, forwards and backwards, from its first call on.

    Block by block, because blocks alike share what was compiled, and what stands between them (losses, prompts of
    changing length) stays as it is. Names of weights stay as they are.

    Returns:
        how many blocks are.
    """
    blocks = repeated_blocks(model)
    for block in blocks:
        block.compile()
    return len(blocks)
