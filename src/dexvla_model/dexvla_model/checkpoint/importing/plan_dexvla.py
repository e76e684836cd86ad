"""The plan for a published DexVLA folder."""

from pathlib import Path

from dexvla_model.checkpoint.folder import Description
from dexvla_model.checkpoint.importing.layouts import Layout
from dexvla_model.checkpoint.importing.plan import (
    ImportPlan,
    ImportRequest,
    check_robot_fits,
    expected_shapes,
    settle,
)
from dexvla_model.checkpoint.importing.published_config import PublishedConfig
from dexvla_model.checkpoint.importing.published_expert import PublishedExpert
from dexvla_model.checkpoint.importing.published_names import EXPERT, POLICY_HEAD
from dexvla_model.checkpoint.importing.published_parts import (
    MAX_REASONING_TOKENS,
    SYSTEM,
    backbone_of,
    cameras_of,
    find_statistics,
    find_tokenizer,
    named_pieces,
    open_published,
    published_name_of,
    strangers,
)
from dexvla_model.dexvla import DexVLAConfig, Embodiment
from dexvla_model.errors import UserError


def plan_dexvla(folder: Path, request: ImportRequest) -> ImportPlan:
    """A published DexVLA folder, all of it. Raises UserError for what is missing or does not fit."""
    files = open_published(folder)
    published = PublishedConfig.read(folder)
    if published.head_type != "scale_dp_policy":
        raise UserError(
            f"{published.path}: policy_head_type is {published.head_type!r}, the only one that can be "
            "imported is "
            "'scale_dp_policy'."
        )
    tokenizer = find_tokenizer(folder, request)
    pieces = named_pieces(files)
    backbone, left_over = backbone_of(published, files, pieces, tokenizer)
    expert = PublishedExpert(files, POLICY_HEAD)
    heads = request.attention_heads or published.attention_heads(expert.depth, expert.width)
    trunk, head = expert.trunk(heads), expert.head()
    if head is None:
        raise UserError(
            f"{folder}: tensors of the action head are missing below {POLICY_HEAD} (x_embedder, final_layer, "
            "pos_embed "
            f"or combine): copy the whole folder again."
        )
    published.check_head(
        {
            "input_dim": (head.action_size, f"{POLICY_HEAD}x_embedder.weight"),
            "state_dim": (head.state_size, f"{POLICY_HEAD}combine.0.weight"),
            "prediction_horizon": (head.horizon, f"{POLICY_HEAD}pos_embed"),
            "cond_dim": (trunk.condition_width, f"{POLICY_HEAD}combine.4.weight"),
        }
    )
    if trunk.condition_width != backbone.width:
        raise UserError(
            f"{folder}: tensor {POLICY_HEAD + 'combine.4.weight'!r} shows a condition of width "
            f"{trunk.condition_width}, expected is the backbone's hidden_size {backbone.width}."
        )
    name = request.head_name
    config = DexVLAConfig(
        backbone,
        trunk,
        {name: Embodiment(head, cameras_of(request.robot))},
        system=SYSTEM,
        max_reasoning_tokens=MAX_REASONING_TOKENS,
    )
    shapes = expected_shapes(config)
    pieces |= expert.pieces((n for n in shapes if n.startswith(EXPERT)), name, trunk.condition_width)
    chosen, fresh = settle(shapes, pieces, folder, published_name=published_name_of)
    statistics, notes = find_statistics(folder, request, head)
    if request.robot is not None:
        check_robot_fits(
            request.robot, head.state_size, head.action_size, folder, relative=statistics is None
        )
    else:
        notes.append(f"The head {name!r} has no robot file and cannot drive until one is given.")
    description = Description(
        config,
        tokenizer,
        {} if statistics is None else {name: statistics},
        {} if request.robot is None else {name: request.robot},
    )
    left_over += strangers(chosen, files, left_over)
    return ImportPlan(Layout.DEXVLA, description, chosen, fresh, left_over, notes, shapes)
