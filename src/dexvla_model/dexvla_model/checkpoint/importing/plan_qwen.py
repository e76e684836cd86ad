"""The plan for a plain Qwen-VL folder, alone or joined with the expert of stage 1."""

from pathlib import Path

from dexvla_model.checkpoint.folder import Description
from dexvla_model.checkpoint.importing.layouts import Layout
from dexvla_model.checkpoint.importing.plan import ImportPlan, ImportRequest, expected_shapes, settle
from dexvla_model.checkpoint.importing.plan_stage1 import MAY_BE_FRESH, Stage1Expert, stage1_expert
from dexvla_model.checkpoint.importing.published_config import PublishedConfig
from dexvla_model.checkpoint.importing.published_names import EXPERT, FUSION
from dexvla_model.checkpoint.importing.published_parts import (
    MAX_REASONING_TOKENS,
    SYSTEM,
    backbone_of,
    find_tokenizer,
    fresh_head,
    named_pieces,
    open_published,
    published_name_of,
    strangers,
)
from dexvla_model.dexvla import DexVLAConfig
from dexvla_model.expert import expert_preset


def plan_qwen(folder: Path, request: ImportRequest, stage1: Path | None = None) -> ImportPlan:
    """A Qwen-VL folder as the backbone; fusion and expert are new, or the expert is that of `stage1`."""
    files = open_published(folder)
    published = PublishedConfig.read(folder)
    tokenizer = find_tokenizer(folder, request)
    pieces = named_pieces(files)
    backbone, left_over = backbone_of(published, files, pieces, tokenizer)
    if stage1 is None:
        trunk = expert_preset(request.expert, condition_width=backbone.width)
        expert = Stage1Expert(trunk, fresh_head(request), lambda names: {})
    else:
        expert = stage1_expert(stage1, request, backbone)
    config = DexVLAConfig(
        backbone,
        expert.trunk,
        expert.embodiments,
        system=SYSTEM,
        max_reasoning_tokens=MAX_REASONING_TOKENS,
    )
    shapes = expected_shapes(config)
    pieces |= {
        target: piece
        for target, piece in expert.pieces(shapes).items()
        if piece.shape == shapes[target] or not target.startswith(MAY_BE_FRESH)
    }
    may_be_fresh = (FUSION, EXPERT) if stage1 is None else (FUSION, *MAY_BE_FRESH)
    chosen, fresh = settle(
        shapes, pieces, folder, lambda name: name.startswith(may_be_fresh), published_name_of
    )
    robots, notes = expert.robots, expert.notes
    if not expert.embodiments:
        notes.append("The model has no head yet: training adds one for each robot, or give --robot.")
    if request.robot is not None:
        robots = robots | {request.head_name: request.robot}
    left_over += strangers(chosen, files, left_over)
    for extra in {id(piece.source): piece.source for piece in chosen.values()}.values():
        if extra is not files:
            left_over += strangers(chosen, extra, [])
    description = Description(config, tokenizer, expert.statistics, robots)
    return ImportPlan(Layout.QWEN, description, chosen, fresh, left_over, notes, shapes)
