"""A backbone that only infers from now on: its weights in the order in which they are multiplied."""

from dexvla_model.packed_linear import pack_linears
from dexvla_model.vlm.backbone import Backbone

# Of the rows that one weight meets, from a few tokens to some hundred patches: the order is the same for all.
_ROWS = 256


def pack_backbone(backbone: Backbone) -> None:
    """Make the backbone, in place, as fast as it gets on a CPU; elsewhere nothing changes.

    What it computes stays the same but for rounding. It can be neither trained nor saved afterwards. The
    table of embeddings stays beside the output layer that shares its weights.
    """
    backbone.requires_grad_(False)
    pack_linears(backbone.qwen, _ROWS)
