"""Vision-language models that other models take over: published ones, and those of own checkpoints."""

from pathlib import Path

import torch

from dexvla_model.checkpoint import Checkpoint, load_checkpoint
from dexvla_model.checkpoint.empty_modules import parameters_on_meta
from dexvla_model.checkpoint.importing.importer import make_plan
from dexvla_model.checkpoint.importing.layouts import Layout, detect_layout
from dexvla_model.checkpoint.importing.plan import ImportRequest
from dexvla_model.checkpoint.kinds import DEXVLA, kind_of, model_of
from dexvla_model.checkpoint.weights import own_tensors
from dexvla_model.errors import UserError

_BACKBONE = "vlm."


def load_backbone(folder: Path) -> Checkpoint:
    """A checkpoint whose backbone and tokenizer another model takes; nothing else of it is to be used.

    Args:
        folder: a checkpoint, or a published Qwen-VL in the layout of the Hugging Face hub.

    Raises:
        UserError: the folder holds no vision-language model, or a damaged one.
    """
    layout, folder = detect_layout(folder)
    if layout is Layout.QWEN:
        return _published(folder)
    if layout is not Layout.OWN:
        raise UserError(
            f"model.vlm_checkpoint {folder} is a {layout}: give a {Layout.QWEN} or a {Layout.OWN}, which "
            "`dexvla checkpoint import` makes of it."
        )
    loaded = load_checkpoint(folder)
    if not hasattr(loaded.model, "vlm"):
        raise UserError(
            f"model.vlm_checkpoint {folder} is a checkpoint of kind {kind_of(loaded.model.config)!r} without "
            f"a vision-language model: give one of kind {DEXVLA!r}, or a folder of a published Qwen-VL."
        )
    return loaded


@torch.no_grad()
def _published(folder: Path) -> Checkpoint:
    """The backbone of a Qwen-VL folder in float32; the expert behind it stays without weights."""
    plan = make_plan(ImportRequest(folder, out=folder / "nowhere", expert="scaledp-nano"))
    with parameters_on_meta():
        model = model_of(plan.description.config)
    # Which leaves rotary frequencies as they are (`Backbone._apply`), and parts what is tied.
    model.vlm.to_empty(device="cpu")
    model.vlm.qwen.tie_weights()
    for name, tensor in own_tensors(model).items():
        if name.startswith(_BACKBONE):
            tensor.copy_(plan.pieces[name].read())
    return Checkpoint(model, plan.description.tokenizer, {}, {}, {})
